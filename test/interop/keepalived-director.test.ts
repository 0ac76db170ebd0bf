/** The whole program `director node` and a keepalived hand virtual addresses over, for each reason that an operator can configure. */
import { test } from 'tap'
import { runInNamespace } from '../forwarder/namespace.ts'
import { missingKeepalived } from './keepalived-process.ts'

test('a director beside a keepalived', { skip: missingKeepalived() ?? false }, async (t) => {
  runInNamespace(t, new URL('./keepalived-director-in-namespace.ts', import.meta.url))
})
