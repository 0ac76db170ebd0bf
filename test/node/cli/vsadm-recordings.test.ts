/** What the real ipvsadm 1.31 was recorded to answer, asked of vsadm and a running director. */
import { test } from 'tap'
import { runInNamespace } from '../../forwarder/namespace.ts'

test('vsadm, called ipvsadm, answers as ipvsadm was recorded to', (t) => {
  runInNamespace(t, new URL('vsadm-recordings-in-namespace.ts', import.meta.url))
  t.end()
})
