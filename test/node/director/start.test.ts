/** How a director begins, and what it hands to the programs that it starts: the program as people run it, in a network namespace. */
import { test } from 'tap'
import { runInNamespace } from '../../forwarder/namespace.ts'

test('a director starts', async (t) => {
  runInNamespace(t, new URL('./start-in-namespace.ts', import.meta.url))
})
