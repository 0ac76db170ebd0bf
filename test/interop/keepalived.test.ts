/** keepalived as VRRP peer: each obeys the other's advertisements, with every checksum that keepalived can be told to use. */
import { test } from 'tap'
import { runInNamespace } from '../forwarder/namespace.ts'
import { missingKeepalived } from './keepalived-process.ts'

test('keepalived is a peer', { skip: missingKeepalived() ?? false }, async (t) => {
  runInNamespace(t, new URL('./keepalived-in-namespace.ts', import.meta.url))
})
