/**
 * The cluster port itself, over TCP: what a stranger says before and in the handshake, and what a peer of the pool says below its messages,
 * through noise, yamux and gossipsub, to a director that has another peer, who is a good one.
 */
import { Libp2pTransport } from '../../../node/director/cluster/libp2p-transport.ts'
import type { Topic } from '../../../node/director/cluster/transport.ts'
import { createMembers, optionsOf } from '../../node/director/cluster/libp2p-pool.ts'
import type { Random } from '../../random.ts'
import { connectTo, Intruder, nextBytes } from '../../support/cluster-intruder.ts'
import { until } from '../../until.ts'
import { attempts, type Counted, type Target } from './cluster-port-attempts.ts'
import { count, demand, oneOf, type Wire } from './wire.ts'

const TOPICS = ['connections', 'presence', 'config', 'health', 'sync', 'digest', 'vip'] as const
const COUNTERS = ['failedHandshakes', 'refusedStrangers', 'malformedMessages'] as const
const GOOD = Uint8Array.of(1, 2, 3)

interface Scene extends Target {
  readonly director: Libp2pTransport
  readonly good: Libp2pTransport
}

export class ClusterPortWire implements Wire {
  readonly outcomes = new Map<string, number>()
  #scene: Scene | undefined
  /** What sound gossip the intruder has said, in hexadecimal. */
  readonly #sound = new Set<string>()
  #soundHeard = 0
  #goodHeard = new Set<Topic>()
  #foreign: string[] = []
  #isForeseen = true

  async bring(random: Random): Promise<number> {
    this.#scene ??= await this.#set()
    const { director } = this.#scene
    const name = oneOf(random, Object.keys(attempts)) as keyof typeof attempts
    const before = { ...director.counters }
    const { messages, counted, connection } = await attempts[name](this.#scene, random)
    const grown = (counter: keyof Counted) => director.counters[counter] - before[counter]
    // That it is too little is said below.
    await until(() => COUNTERS.every((counter) => grown(counter) >= (counted?.[counter] ?? 0))).catch(() => {})
    await connection?.close()
    for (const counter of counted ? COUNTERS : []) {
      const wanted = counted?.[counter] ?? 0
      // What was said before may only now have been looked at, if it cannot be foreseen.
      const isSo = this.#isForeseen ? grown(counter) === wanted : grown(counter) >= wanted
      demand(isSo, `after ${name} ${counter} has grown by ${grown(counter)}, not by ${wanted}`)
    }
    this.#isForeseen = counted !== undefined
    for (let n = 0; n < messages; n++) count(this.outcomes, name)
    demand(director.connectedPeers().includes('d2'), `after ${name} the good peer was lost`)
    demand(this.#foreign.length === 0, `after ${name} a handler heard ${this.#foreign}`)
    demand(director.counters.failedHandlers === 0, 'a handler threw')
    return messages
  }

  async close(): Promise<void> {
    const scene = this.#scene
    if (!scene) return
    this.#scene = undefined
    const { director, good } = scene
    for (const counter of COUNTERS) this.outcomes.set(`counted: ${counter}`, director.counters[counter])
    try {
      await until(() => director.connectedPeers().includes('d2') && good.connectedPeers().includes('d1'))
      await good.send('d1', 'sync', GOOD)
      let saidMs = 0
      await until(() => {
        if (performance.now() - saidMs > 100) {
          good.broadcast('presence', GOOD)
          saidMs = performance.now()
        }
        return this.#goodHeard.has('sync') && this.#goodHeard.has('presence')
      })
      demand(this.#soundHeard === this.#sound.size, 'sound gossip was not heard once')
      demand(director.counters.failedHandlers === 0, 'a handler threw')
    } finally {
      await Promise.all([director.stop(), good.stop()])
    }
  }

  async #set(): Promise<Scene> {
    const members = await createMembers(['d1', 'd2', 'd3', 'stranger'])
    const director = new Libp2pTransport(optionsOf(members, 'd1', ['d2', 'd3']))
    const good = new Libp2pTransport(optionsOf(members, 'd2', ['d1']))
    for (const topic of TOPICS)
      director.onMessage(topic, (from, message) => this.#hear(topic, from, Buffer.from(message).toString('hex')))
    await Promise.all([director.start(), good.start()])
    await until(() => director.connectedPeers().includes('d2') && good.connectedPeers().includes('d1'))
    const [peer, stranger] = ['d3', 'stranger'].map((name) => new Intruder(members.get(name)?.privateKey as Uint8Array))
    const endpoint = members.get('d1')?.address as string
    return {
      director,
      good,
      endpoint,
      peer,
      stranger,
      transcript: await transcriptOf(endpoint, peer),
      onSound: (data) => this.#sound.add(Buffer.from(data).toString('hex')),
    }
  }

  #hear(topic: Topic, from: string, message: string): void {
    if (from === 'd2' && message === Buffer.from(GOOD).toString('hex')) this.#goodHeard.add(topic)
    else if (from === 'd3' && topic === 'config' && this.#sound.has(message)) this.#soundHeard++
    else this.#foreign.push(`${topic} ${from} ${message}`)
  }
}

/** What a peer sends for a handshake. */
async function transcriptOf(endpoint: string, peer: Intruder): Promise<Uint8Array[]> {
  const connection = await connectTo(endpoint, '127.0.0.1')
  const { send } = connection
  const said: Uint8Array[] = []
  connection.send = (data) => {
    said.push(Uint8Array.from(data.subarray()))
    return send.call(connection, data)
  }
  const secured = await peer.secure(connection)
  await nextBytes(secured)
  await connection.close()
  return said
}
