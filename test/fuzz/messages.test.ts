/** 40,000 messages that nobody should believe; `npm run fuzz` takes a million. */
import { test } from 'tap'
import { seeds } from '../random.ts'
import { fuzzMessages } from './messages/fuzz-messages.ts'

const MESSAGES = 40_000

for (const seed of seeds(1)) {
  test(`${MESSAGES} messages on every wire neither break anything nor are believed nor are kept (SEED=${seed})`, async (t) => {
    const result = await fuzzMessages(seed, MESSAGES)
    const total = Object.values(result).reduce((sum, { messages }) => sum + messages, 0)
    t.ok(total >= MESSAGES, `${total} messages`)
    // They got everywhere.
    const { agents, vrrp, gossip, configuration, tokens, control, tls } = result
    for (const reason of ['length', 'version', 'key', 'signature', 'body', 'address', 'clock', 'replay'])
      t.ok(agents.outcomes[`refused: ${reason}`] > 0, reason)
    for (const attempt of ['bit', 'cut', 'longer', 'far', 'elsewhere', 'vrid', 'own', 'wild', 'packet', 'sound'])
      t.ok(vrrp.outcomes[attempt] > 0, attempt)
    for (const attempt of ['stranger', 'signed-bit', 'old', 'replay']) t.ok(vrrp.outcomes[attempt] > 0, attempt)
    for (const attempt of ['told', 'told-mutated', 'told-references']) t.ok(vrrp.outcomes[attempt] > 0, attempt)
    for (const topic of ['connections', 'presence', 'sync', 'digest']) t.ok(gossip.outcomes[topic] > 100, topic)
    for (const attempt of ['replay', 'cut', 'wild', 'opinion']) t.ok(configuration.outcomes[attempt] > 100, attempt)
    for (const reason of ['length', 'version', 'body', 'signature', 'peer', 'clock', 'expired'])
      t.ok(tokens.outcomes[`refused: ${reason}`] > 0, reason)
    for (const status of ['200', '400']) t.ok(control.outcomes[status] > 0, status)
    for (const answer of ['alert', 'handshake']) t.ok(tls.outcomes[answer] > 0, answer)
  })
}
