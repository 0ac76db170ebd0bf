/** No secret is ever shown: not in a log, an error, a status, or the list of processes. */
import { randomBytes } from 'node:crypto'
import { test } from 'tap'
import { runInNamespace } from '../forwarder/namespace.ts'
import { formsOf } from './secret-forms.ts'

test('of a known identity and known keys nothing is to be found in all that directors and agents say', (t) => {
  runInNamespace(t, new URL('secrets-in-namespace.ts', import.meta.url))
  t.end()
})

test('a secret would be found in whatever form it is shown', async (t) => {
  const secret = randomBytes(32)
  const bytes = new Uint8Array(secret)
  const shown = [
    secret.toString('hex'),
    secret.toString('hex').toUpperCase(),
    secret.toString('base64'),
    secret.toString('base64url'),
    secret.toString('latin1'),
    JSON.stringify(bytes),
    JSON.stringify({ key: secret }),
    JSON.stringify([...bytes]),
    `${Buffer.concat([randomBytes(3), secret]).toString('base64')}`,
  ]
  for (const text of shown)
    t.ok(
      formsOf(secret).some((form) => `log: ${text}`.includes(form)),
      text,
    )
})
