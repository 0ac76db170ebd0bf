/** The packet ring link, over veth pairs in namespaces of its own. */
import { test } from 'tap'
import { runInNamespace } from '../namespace.ts'

test('a packet ring link over veth', async (t) => {
  runInNamespace(t, new URL('packet-ring-in-namespace.ts', import.meta.url))
})
