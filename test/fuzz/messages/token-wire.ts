/** The cluster network, from a stranger: tokens that are not his, are over, were changed, or were signed by somebody else's key. */
import { Admission, TOKEN_REFUSALS } from '../../../node/director/cluster/admission.ts'
import { peerIdOfPublicKey } from '../../../node/director/cluster/identity.ts'
import type { JoinToken } from '../../../protocol/wire/join-token.ts'
import type { Random } from '../../random.ts'
import { createTestPoolKey } from '../../support/join-tokens.ts'
import { count, demand, mutated, oneOf, randomBytes, type Wire } from './wire.ts'

const NOW_MS = 1_760_000_000_000
const [key, otherKey] = [createTestPoolKey(), createTestPoolKey()]
const [own, another] = [1, 2].map((byte) => peerIdOfPublicKey(Buffer.alloc(32, byte)))
const claim: JoinToken = {
  peer: own,
  name: 'd3',
  address: '10.1.0.13:7946',
  issuedMs: NOW_MS - 1000,
  expiresMs: NOW_MS + 1000,
}
const genuine = key.sign(claim)
const others = [key.sign({ ...claim, peer: another }), key.sign({ ...claim, expiresMs: NOW_MS - 1 })]

export class TokenWire implements Wire {
  readonly outcomes = new Map<string, number>()
  #admitted = 0
  readonly #admission = new Admission({
    keys: [key.publicKey],
    wallClockMs: () => NOW_MS,
    isPeer: () => false,
    admit: async () => {
      this.#admitted++
      return undefined
    },
    onRefused: () => {},
  })

  async bring(random: Random): Promise<number> {
    const attempt = oneOf(random, ['mutation', 'forgery', 'stolen', 'over', 'future', 'noise'] as const)
    const token = this.#attempt(random, attempt)
    // As the same bytes it is the genuine one.
    if (Buffer.compare(token, genuine) === 0) return 0
    await this.#admission.show(token, own)
    count(this.outcomes, attempt)
    demand(this.#admitted === 0, `${attempt} was let in`, token)
    return 1
  }

  async close(): Promise<void> {
    for (const reason of TOKEN_REFUSALS) {
      const times = this.#admission.refused[reason]
      if (times > 0) this.outcomes.set(`refused: ${reason}`, times)
    }
    await this.#admission.show(genuine, own)
    demand(this.#admitted === 1, 'the genuine token was not let in')
  }

  #attempt(random: Random, attempt: string): Uint8Array {
    switch (attempt) {
      case 'mutation':
        return mutated(random, genuine, others)
      case 'forgery':
        return otherKey.sign({ ...claim, issuedMs: NOW_MS - random.below(1000) })
      case 'stolen':
        return others[0]
      case 'over':
        return others[1]
      case 'future':
        return key.sign({ ...claim, issuedMs: NOW_MS + 600_001 + random.below(1000), expiresMs: NOW_MS * 2 })
      default:
        return Buffer.concat([Uint8Array.of(random.below(3)), randomBytes(random, random.below(700))])
    }
  }
}
