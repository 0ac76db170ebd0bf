/**
 * Throws forged, damaged, cut off and repeated messages at everything of a director that hears any. Each wire (wire.ts) says what its messages
 * must not do; besides that nothing may be thrown, and memory must stay where it was.
 */
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { seededRandom } from '../../random.ts'
import { AgentWire } from './agent-wire.ts'
import { ClusterPortWire } from './cluster-port-wire.ts'
import { ConfigurationWire } from './configuration-wire.ts'
import { ControlWire } from './control-wire.ts'
import { GossipWire } from './gossip-wire.ts'
import { TlsWire } from './tls-wire.ts'
import { TokenWire } from './token-wire.ts'
import { VrrpWire } from './vrrp-wire.ts'
import type { Wire } from './wire.ts'

/** Of a hundred messages. A control message costs a connection, one of TLS a handshake, and some of the cluster port's both. */
const wires: [name: string, share: number, make: () => Wire][] = [
  ['agents', 27, () => new AgentWire()],
  ['vrrp', 29, () => new VrrpWire()],
  ['gossip', 23, () => new GossipWire()],
  ['cluster port', 2, () => new ClusterPortWire()],
  ['configuration', 15, () => new ConfigurationWire()],
  ['tokens', 1, () => new TokenWire()],
  ['control', 2, () => new ControlWire()],
  ['tls', 1, () => new TlsWire()],
]
/** What is remembered of the past is bounded, and has reached its bound after some thousands; a leak of a million messages has not. */
const GROWTH_MAX_BYTES = 64 * 1024 * 1024

export interface WireResult {
  readonly messages: number
  readonly seconds: number
  readonly outcomes: Record<string, number>
}

export type MessageFuzzResult = Record<string, WireResult>

/** @throws Error with the seed, the wire, and what happened */
export async function fuzzMessages(
  seed: number,
  messages: number,
  onWire: (name: string) => void = () => {},
): Promise<MessageFuzzResult> {
  const result: MessageFuzzResult = {}
  for (const [name, share, make] of wires) {
    onWire(name)
    result[name] = await fuzzWire(seed, name, make(), Math.ceil((messages * share) / 100))
  }
  return result
}

/** As many messages at least. @throws as fuzzMessages() */
export async function fuzzWire(seed: number, name: string, wire: Wire, messages: number): Promise<WireResult> {
  const random = seededRandom(seed)
  const startedMs = performance.now()
  let brought = 0
  try {
    for (; brought < messages / 10; brought += await wire.bring(random));
    const before = usedBytes()
    for (; brought < messages; brought += await wire.bring(random));
    const grown = usedBytes() - before
    if (grown > GROWTH_MAX_BYTES) throw new Error(`memory has grown by ${grown} bytes`)
    await wire.close()
  } catch (error) {
    await wire.close().catch(() => {})
    const message = `seed ${seed}, ${name}, message ${brought}: ${(error as Error).message}`
    throw new Error(message, { cause: error })
  }
  const seconds = (performance.now() - startedMs) / 1000
  return { messages: brought, seconds, outcomes: Object.fromEntries(wire.outcomes) }
}

function usedBytes(): number {
  setFlagsFromString('--expose-gc')
  runInNewContext('gc')()
  const { heapUsed, external } = process.memoryUsage()
  return heapUsed + external
}
