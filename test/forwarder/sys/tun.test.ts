/** The TUN device and the raw socket, in a namespace of their own. */
import { test } from 'tap'
import { runInNamespace } from '../namespace.ts'

test('a TUN device and a raw IP socket', async (t) => {
  runInNamespace(t, new URL('tun-in-namespace.ts', import.meta.url))
})
