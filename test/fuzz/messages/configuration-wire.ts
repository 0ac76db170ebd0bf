/** The cluster network: the pool's configuration and the opinions on servers' health, from a peer that is one. */
import { deflateRawSync, inflateRawSync } from 'node:zlib'
import type { MessageHandler } from '../../../node/director/cluster/transport.ts'
import { encodeOpinions } from '../../../node/director/health/opinion-message.ts'
import { PoolHealth } from '../../../node/director/health/pool-health.ts'
import { PoolOfDirectors } from '../../node/director/pool/pool-of-directors.ts'
import type { Random } from '../../random.ts'
import { sharedReferences } from '../../support/shared-references.ts'
import { count, demand, mutated, oneOf, randomBytes, type Wire } from './wire.ts'

const ROUND = 25
/** What a peer says becomes configuration: now and then a pool is begun anew, or its configuration would grow to its bound. */
const ROUNDS_A_POOL = 40
/** Levels of lists; who walked them all would never end. */
const REFERENCES_MAX = 200
const SERVER = '10.0.0.1:80'

export class ConfigurationWire implements Wire {
  readonly outcomes = new Map<string, number>()
  #pool = new PoolOfDirectors(['a', 'b'])
  #said: Uint8Array[] = []
  #rounds = 0
  #hearHealth: MessageHandler = () => {}
  readonly #health = new PoolHealth({
    transport: {
      broadcast: () => {},
      send: async () => {},
      onPeer: () => {},
      onMessage: (_, handler) => (this.#hearHealth = handler),
    },
    wallClockMs: 1,
    monotonicMs: () => 0,
    onChange: () => {},
  })

  constructor() {
    this.#health.add(SERVER)
    // No opinion of its own, which would stand. Two peers', so that the verdict is another when one of them is believed to have changed.
    for (const peer of ['b', 'd']) {
      this.#hearHealth(peer, encodeOpinions({ sequence: 2 ** 50, opinions: [[SERVER, 'up']] }))
    }
  }

  async bring(random: Random): Promise<number> {
    const round = this.#rounds++ % ROUNDS_A_POOL
    if (round === 0) await this.#begin()
    const isWild = round > ROUNDS_A_POOL / 2
    const before = this.#state()
    for (let message = 0; message < ROUND; message++) {
      const said = oneOf(random, this.#said)
      const attempt = isWild ? 'wild' : oneOf(random, ['replay', 'cut', 'version', 'noise', 'references'] as const)
      count(this.outcomes, attempt)
      this.#pool.network.member('a')?.deliver('config', 'b', this.#attempt(random, attempt, said))
      this.#opinion(random)
    }
    await this.#pool.clock.advance(10)
    if (!isWild) demand(this.#state() === before, 'replays and noise had an effect')
    const a = this.#pool.directors.get('a')
    demand(a?.transport.counters.failedHandlers === 0 && a.storeFailures.length === 0, 'something was thrown')
    return 2 * ROUND
  }

  async close(): Promise<void> {
    demand(this.#health.verdict(SERVER) === 'up', 'an old opinion counted')
  }

  async #begin(): Promise<void> {
    for (const name of [...this.#pool.directors.keys()]) await this.#pool.stop(name)
    this.#pool = new PoolOfDirectors(['a', 'b'])
    const [, b] = [await this.#pool.start('a'), await this.#pool.start('b')]
    await this.#pool.settle(1)
    const member = this.#pool.network.member('a')
    const deliver = member?.deliver.bind(member)
    if (!member || !deliver) throw new Error('a is not there')
    const said: Uint8Array[] = []
    member.deliver = (topic, from, message) => {
      if (topic === 'config') said.push(Uint8Array.from(message))
      deliver(topic, from, message)
    }
    for (const [index, address] of ['10.0.0.100', '2001:db8::100'].entries()) {
      const service = { protocol: 'tcp', address, port: 80 } as const
      await b.configuration.addService({ ...service, scheduler: 'wlc' })
      const servers = [1, 2, 3].map((host) => (index === 0 ? `10.0.0.${host}` : `2001:db8::${host}`))
      for (const server of servers)
        await b.configuration.addServer({ service, address: server, port: 80, weight: 1, method: 'dr' })
    }
    await b.configuration.setSettings({ drop_entry: 1 })
    await b.configuration.removeService({ protocol: 'tcp', address: '2001:db8::100', port: 80 })
    await this.#pool.settle(1)
    member.deliver = deliver
    this.#said = said
    demand(this.#pool.directors.get('a')?.configuration.services().length === 1, 'the pool agrees')
  }

  #attempt(random: Random, attempt: string, said: Uint8Array): Uint8Array {
    switch (attempt) {
      case 'replay':
        return said
      case 'cut':
        return said.subarray(0, random.below(said.length))
      case 'version':
        return said.map((byte, at) => (at === 0 ? 2 + random.below(254) : byte))
      case 'noise':
        return Uint8Array.of(1, 1, ...randomBytes(random, random.below(300)))
      case 'references':
        return Buffer.concat([Uint8Array.of(1, 1), deflateRawSync(sharedReferences(1 + random.below(REFERENCES_MAX)))])
      default:
        return random.oneIn(3) || said[1] !== 1
          ? mutated(random, said, this.#said)
          : Buffer.concat([said.subarray(0, 2), deflateRawSync(mutated(random, inflateRawSync(said.subarray(2))))])
    }
  }

  /** Older than what is known, or of servers that nobody has. */
  #opinion(random: Random): void {
    const isOld = random.oneIn(2)
    const server = isOld ? SERVER : `10.0.${random.below(256)}.${random.below(256)}:80`
    const message = encodeOpinions({ sequence: random.below(2 ** 31), opinions: [[server, 'down']] })
    const nonsense = () =>
      random.oneIn(8) ? sharedReferences(1 + random.below(REFERENCES_MAX)) : mutated(random, message)
    this.#hearHealth(isOld ? 'b' : 'c', isOld ? message : nonsense())
    count(this.outcomes, 'opinion')
  }

  #state(): string {
    const configuration = this.#pool.directors.get('a')?.configuration
    return JSON.stringify([configuration?.services(), configuration?.settings(), configuration?.marks()])
  }
}
