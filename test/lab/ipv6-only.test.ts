/** `director node` on a host that has no IPv4 address. */
import { test } from 'tap'
import { runInNamespace } from '../forwarder/namespace.ts'

test('a director without IPv4', async (t) => {
  runInNamespace(t, new URL('./ipv6-only-in-namespace.ts', import.meta.url))
})
