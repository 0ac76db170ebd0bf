/**
 * What a director goes by, of each real server. One that it reaches itself is up, whatever the others find: it is this director
 * that forwards the packets, and others that are cut off from the servers must not take them from it. Of any other server the
 * majority of the directors' fresh opinions counts, its own included, which breaks a tie; where nobody knows anything, the verdict
 * is 'unknown', and the server is used. A director that can ask no longer does not vote, and goes by the others, or by what it knew
 * itself when they know nothing either.
 *
 * A director whose own checks fail refuses nobody for that, be it that its inside cable is pulled: in a pool of three, the other
 * two outvote it.
 *
 * Opinions come at most once (gossip), so each director says a change at once and repeats all of its own every second; one that
 * was not repeated five times in a row no longer counts. With more servers than fit into a message that is done in steps, and
 * with more than some ten thousand a round takes longer than a second. The clock is the caller's.
 */
import { MAX_MESSAGE_BYTES, type PeerName, type Transport } from '../cluster/transport.ts'
import { isLoopback } from '../host/local-servers.ts'
import { startPace } from '../pace.ts'
import { decodeOpinions, encodeOpinions, SERVERS_PER_MESSAGE } from './opinion-message.ts'
import type { HealthState } from './rise-fall.ts'

export interface PoolHealthOptions {
  transport: Pick<Transport, 'broadcast' | 'onMessage'>
  /** Of this director, at its start, since 1970: where its sequence begins. */
  wallClockMs: number
  monotonicMs: () => number
  /** The verdict is another than before. */
  onChange: (key: string, verdict: HealthState, before: HealthState) => void
}

interface PeerOpinion {
  state: HealthState
  sequence: number
  heardAtMs: number
}

interface Server {
  own: HealthState
  /** The last of its own that was not 'unknown'. */
  lastKnown: HealthState
  readonly peers: Map<PeerName, PeerOpinion>
  verdict: HealthState
}

const REPEAT_EVERY_MS = 1000
/** Between two messages of a round: this thread, and those of the peers, speak VRRP too. */
const STEP_EVERY_MS = 50
const MISSED_MAX = 5

/** How long it takes to repeat everything: the same at every director, since all have the same servers. */
export function roundMs(servers: number): number {
  return Math.max(REPEAT_EVERY_MS, Math.ceil(servers / SERVERS_PER_MESSAGE) * STEP_EVERY_MS)
}

/** @param own stands when it is 'up'; otherwise it is counted too, and breaks a tie */
export function verdictOf(own: HealthState, others: Iterable<HealthState>): HealthState {
  if (own === 'up') return own
  let balance = voteOf(own)
  for (const state of others) balance += voteOf(state)
  if (balance === 0) return own
  return balance > 0 ? 'up' : 'down'
}

function voteOf(state: HealthState): number {
  if (state === 'unknown') return 0
  return state === 'up' ? 1 : -1
}

export class PoolHealth {
  readonly #options: PoolHealthOptions
  /** Only servers that are configured here, so peers cannot make it grow. */
  readonly #servers = new Map<string, Server>()
  #sequence: number
  /** Own opinions that peers have not been told of. */
  readonly #changed = new Map<string, HealthState>()
  /** What is still to come of a round. */
  #round: Iterator<[string, Server]> | undefined
  #roundBeganMs = Number.NEGATIVE_INFINITY
  #nextStepMs = Number.NEGATIVE_INFINITY
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

  /** Does nothing about a server that is known. */
  add(key: string): void {
    if (this.#servers.has(key)) return
    this.#servers.set(key, { own: 'unknown', lastKnown: 'unknown', peers: new Map(), verdict: 'unknown' })
  }

  /** It is 'unknown' from now on: others than those that wanted it checked may use it. */
  remove(key: string): void {
    const server = this.#servers.get(key)
    this.#servers.delete(key)
    this.#changed.delete(key)
    if (server?.verdict === 'down') this.#options.onChange(key, 'unknown', 'down')
  }

  verdict(key: string): HealthState {
    return this.#servers.get(key)?.verdict ?? 'unknown'
  }

  /** This director has changed its mind. */
  setOwn(key: string, state: HealthState): void {
    const server = this.#servers.get(key)
    if (!server || server.own === state) return
    server.own = state
    if (state === 'unknown') this.#changed.delete(key)
    else {
      server.lastKnown = state
      this.#changed.set(key, state)
    }
    this.#judge(key, server)
  }

  /** A director is no peer any more: what it has said does not count. Resolves when that is so for every server. */
  async forget(peer: PeerName): Promise<void> {
    const pace = startPace()
    for (const [key, server] of this.#servers) {
      if (server.peers.delete(peer)) this.#judge(key, server)
      await pace()
    }
  }

  /** Tells peers what has changed and what is to be repeated, and lets go of stale opinions. To be called many times a second. */
  tick(): void {
    const nowMs = this.#options.monotonicMs()
    this.#sayChanges()
    if (nowMs < this.#nextStepMs) return
    if (this.#round === undefined) {
      this.#round = this.#servers.entries()
      this.#roundBeganMs = nowMs
    }
    const isOver = this.#step(this.#round, nowMs)
    this.#nextStepMs = nowMs + STEP_EVERY_MS
    if (!isOver) return
    this.#round = undefined
    this.#nextStepMs = Math.max(this.#nextStepMs, this.#roundBeganMs + REPEAT_EVERY_MS)
  }

  #sayChanges(): void {
    if (this.#changed.size === 0) return
    const opinions = [...this.#changed]
    this.#changed.clear()
    for (let at = 0; at < opinions.length; at += SERVERS_PER_MESSAGE) {
      this.#say(opinions.slice(at, at + SERVERS_PER_MESSAGE))
    }
  }

  /** One message's worth of servers. True: those were the last. */
  #step(round: Iterator<[string, Server]>, nowMs: number): boolean {
    const staleMs = nowMs - MISSED_MAX * roundMs(this.#servers.size)
    const opinions: [string, HealthState][] = []
    let next = round.next()
    for (let seen = 1; !next.done; seen++) {
      const [key, server] = next.value
      for (const [peer, { heardAtMs }] of server.peers) if (heardAtMs < staleMs) server.peers.delete(peer)
      this.#judge(key, server)
      if (server.own !== 'unknown') opinions.push([key, server.own])
      if (seen === SERVERS_PER_MESSAGE) break
      next = round.next()
    }
    if (opinions.length > 0) this.#say(opinions)
    return next.done === true
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
      const before = server?.peers.get(from)
      if (!server || (before && before.sequence >= heard.sequence)) continue
      if (before) Object.assign(before, { state, sequence: heard.sequence, heardAtMs })
      else server.peers.set(from, { state, sequence: heard.sequence, heardAtMs })
      this.#judge(key, server)
    }
  }

  #judge(key: string, server: Server): void {
    // Each director's 127.0.0.1 is another server, of which the others know nothing.
    const others = isLoopback(key) ? [] : Array.from(server.peers.values(), ({ state }) => state)
    const agreed = verdictOf(server.own, others)
    const verdict = agreed === 'unknown' ? server.lastKnown : agreed
    if (verdict === server.verdict) return
    const before = server.verdict
    server.verdict = verdict
    this.#options.onChange(key, verdict, before)
  }
}
