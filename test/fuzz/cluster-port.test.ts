/** 3,000 messages at every layer of a director's cluster port; `npm run fuzz` takes more. */
import { test } from 'tap'
import { seeds } from '../random.ts'
import { attempts } from './messages/cluster-port-attempts.ts'
import { ClusterPortWire } from './messages/cluster-port-wire.ts'
import { fuzzWire } from './messages/fuzz-messages.ts'

const MESSAGES = 3000

for (const seed of seeds(1)) {
  test(`a cluster port takes ${MESSAGES} messages that are none, counts them, and keeps its good peer (SEED=${seed})`, async (t) => {
    const { outcomes } = await fuzzWire(seed, 'cluster port', new ClusterPortWire(), MESSAGES)
    // They got everywhere.
    for (const name of Object.keys(attempts)) t.ok(outcomes[name] > 0, name)
    t.comment(JSON.stringify(outcomes))
  })
}
