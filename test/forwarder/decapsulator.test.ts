/** The decapsulator, in a namespace of its own. */
import { test } from 'tap'
import { runInNamespace } from './namespace.ts'

test('a real server behind a tunnel', async (t) => {
  runInNamespace(t, new URL('decapsulator-in-namespace.ts', import.meta.url))
})

test('a real server behind a tunnel of IPv6, or around IPv6', async (t) => {
  runInNamespace(t, new URL('decapsulator-ipv6-in-namespace.ts', import.meta.url))
})
