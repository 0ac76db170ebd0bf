/**
 * What the pool thinks of each real server: the majority of the directors' fresh opinions. On a tie a director goes by its own
 * opinion; where nobody knows anything, the verdict is 'unknown', and the server is used.
 *
 * A director whose inside cable is pulled finds every server dead; in a pool of three, the other two outvote it. Opinions come
 * at most once (gossip), so each director repeats all of its own every second, and says a change at once; one that has not been
 * repeated for five seconds no longer counts. The clock is the caller's.
 */

import { MAX_MESSAGE_BYTES, type PeerName, type Transport } from '../cluster/transport.ts'
import { isLoopback } from '../host/local-servers.ts'
import { decodeOpinions, encodeOpinions, SERVERS_PER_MESSAGE } from './opinion-message.ts'
import type { HealthState } from './rise-fall.ts'

export interface PoolHealthOptions {
  transport: Pick<Transport, 'broadcast' | 'onMessage'>
  /** Of this director, at its start, since 1970: where its sequence begins. */
  wallClockMs: number
  monotonicMs: () => number
  /** The pool's verdict is another than before. */
  onChange: (key: string, verdict: HealthState) => void
}

interface PeerOpinion {
  state: HealthState
  sequence: number
  heardAtMs: number
}

interface Server {
  own: HealthState
  readonly peers: Map<PeerName, PeerOpinion>
  verdict: HealthState
}

const REPEAT_EVERY_MS = 1000
const FRESH_MS = 5000

/** @param own breaks a tie and is counted too */
export function majority(own: HealthState, others: Iterable<HealthState>): HealthState {
  let balance = 0
  for (const state of [own, ...others]) {
    if (state === 'up') balance++
    else if (state === 'down') balance--
  }
  if (balance === 0) return own
  return balance > 0 ? 'up' : 'down'
}

export class PoolHealth {
  readonly #options: PoolHealthOptions
  /** Only servers that are configured here, so peers cannot make it grow. */
  readonly #servers = new Map<string, Server>()
  #sequence: number
  #repeatedAtMs = Number.NEGATIVE_INFINITY
  #unreadableMessages = 0

  constructor(options: PoolHealthOptions) {
    this.#options = options
    this.#sequence = options.wallClockMs
    options.transport.onMessage('health', (from, message) => this.#hear(from, message))
  }

  /** Messages of peers that could not be decoded, such as of another version. */
  get unreadableMessages(): number {
    return this.#unreadableMessages
  }

  /** The whole list, as "ADDRESS:PORT". */
  setServers(keys: Iterable<string>): void {
    const wanted = new Set(keys)
    for (const key of this.#servers.keys()) if (!wanted.has(key)) this.#servers.delete(key)
    for (const key of wanted) {
      if (!this.#servers.has(key)) this.#servers.set(key, { own: 'unknown', peers: new Map(), verdict: 'unknown' })
    }
  }

  verdict(key: string): HealthState {
    return this.#servers.get(key)?.verdict ?? 'unknown'
  }

  /** This director has changed its mind. */
  setOwn(key: string, state: HealthState): void {
    const server = this.#servers.get(key)
    if (!server || server.own === state) return
    server.own = state
    this.#say([[key, state]])
    this.#judge(key, server)
  }

  /** Repeats this director's opinions and lets go of stale ones. To be called a few times a second. */
  tick(): void {
    const nowMs = this.#options.monotonicMs()
    for (const [key, server] of this.#servers) {
      for (const [peer, { heardAtMs }] of server.peers) if (nowMs - heardAtMs > FRESH_MS) server.peers.delete(peer)
      this.#judge(key, server)
    }
    if (nowMs - this.#repeatedAtMs < REPEAT_EVERY_MS) return
    this.#repeatedAtMs = nowMs
    const known = [...this.#servers].map(([key, { own }]): [string, HealthState] => [key, own])
    const opinions = known.filter(([, state]) => state !== 'unknown')
    for (let at = 0; at < opinions.length; at += SERVERS_PER_MESSAGE) {
      this.#say(opinions.slice(at, at + SERVERS_PER_MESSAGE))
    }
  }

  #say(opinions: [string, HealthState][]): void {
    this.#options.transport.broadcast('health', encodeOpinions({ sequence: this.#sequence++, opinions }))
  }

  #hear(from: PeerName, message: Uint8Array): void {
    const heard = message.length <= MAX_MESSAGE_BYTES ? decodeOpinions(message) : undefined
    if (!heard) {
      this.#unreadableMessages++
      return
    }
    const heardAtMs = this.#options.monotonicMs()
    for (const [key, state] of heard.opinions) {
      const server = this.#servers.get(key)
      // Gossip may deliver an older message after a newer one.
      if (!server || (server.peers.get(from)?.sequence ?? -1) >= heard.sequence) continue
      server.peers.set(from, { state, sequence: heard.sequence, heardAtMs })
      this.#judge(key, server)
    }
  }

  #judge(key: string, server: Server): void {
    // Each director's 127.0.0.1 is another server, of which the others know nothing.
    const others = isLoopback(key) ? [] : Array.from(server.peers.values(), ({ state }) => state)
    const verdict = majority(server.own, others)
    if (verdict === server.verdict) return
    server.verdict = verdict
    this.#options.onChange(key, verdict)
  }
}
