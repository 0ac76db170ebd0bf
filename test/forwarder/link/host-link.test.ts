/** The host's own stack as a link, in a namespace of its own. */
import { test } from 'tap'
import { runInNamespace } from '../namespace.ts'

test('the host’s own stack as a link', async (t) => {
  runInNamespace(t, new URL('./host-link-in-namespace.ts', import.meta.url))
})
