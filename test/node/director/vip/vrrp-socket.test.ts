/** The raw socket on real interfaces, between two processes in two network namespaces; tshark judges what they send. */
import { test } from 'tap'
import { runInNamespace } from '../../../forwarder/namespace.ts'

test('VRRP by raw socket', async (t) => {
  runInNamespace(t, new URL('./vrrp-socket-in-namespace.ts', import.meta.url))
})

test('VRRP by raw socket is a transport', async (t) => {
  runInNamespace(t, new URL('./vrrp-compliance-in-namespace.ts', import.meta.url))
})

test('where VRRP by raw socket comes from, and what the kernel refuses', async (t) => {
  runInNamespace(t, new URL('./vrrp-source-in-namespace.ts', import.meta.url))
})
