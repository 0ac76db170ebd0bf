/** Multicast sockets, in a namespace of their own. */
import { test } from 'tap'
import { runInNamespace } from '../namespace.ts'

test('multicast sockets', async (t) => {
  runInNamespace(t, new URL('multicast-in-namespace.ts', import.meta.url))
})
