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
 * with more than some ten thousand a round takes longer than a second. A peer that connects is told everything at once, by stream: it
 * may be about to take addresses, and must know before which servers are dead. The clock is the caller's.
 */
import { MAX_MESSAGE_BYTES, type PeerName, type Transport } from '../cluster/transport.ts'
import { isLoopback } from '../host/local-servers.ts'
import { paced, startPace } from '../pace.ts'
import { decodeOpinions, encodeOpinions, SERVERS_PER_MESSAGE } from './opinion-message.ts'
import type { HealthState } from './rise-fall.ts'

export type HealthTransport = Pick<Transport, 'broadcast' | 'send' | 'onMessage' | 'onPeer'>

export interface PoolHealthOptions {
  transport: HealthTransport
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
  /** Servers that the round under way has told of so far. */
  #roundTold = 0
  /** Peers that, since they connected, have told all they know of servers that are configured here. */
  readonly #heardOut = new Set<PeerName>()
  #unknownServers = 0
  #unreadableMessages = 0

  constructor(options: PoolHealthOptions) {
    this.#options = options
    this.#sequence = options.wallClockMs
    options.transport.onMessage('health', (from, message) => this.#hear(from, message))
    options.transport.onPeer((peer, connected) => {
      this.#heardOut.delete(peer)
      if (connected) void this.#tellEverything(peer)
    })
  }

  /** Whether all that these peers know of the servers is known here, or of each server there is a verdict anyway. */
  isInformed(peers: readonly PeerName[]): boolean {
    return this.#unknownServers === 0 || peers.every((peer) => this.#heardOut.has(peer))
  }

  /** Messages of peers that could not be decoded, such as of another version. */
  get unreadableMessages(): number {
    return this.#unreadableMessages
  }

  /** Does nothing about a server that is known. */
  add(key: string): void {
    if (this.#servers.has(key)) return
    this.#servers.set(key, { own: 'unknown', lastKnown: 'unknown', peers: new Map(), verdict: 'unknown' })
    this.#unknownServers++
  }

  /** It is 'unknown' from now on: others than those that wanted it checked may use it. */
  remove(key: string): void {
    const server = this.#servers.get(key)
    this.#servers.delete(key)
    this.#changed.delete(key)
    if (server?.verdict === 'unknown') this.#unknownServers--
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
    this.#heardOut.delete(peer)
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
      this.#roundTold = 0
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
    this.#roundTold += opinions.length
    const isOver = next.done === true
    if (isOver && this.#roundTold > 0) this.#say(opinions, this.#roundTold)
    else if (opinions.length > 0) this.#say(opinions)
    return isOver
  }

  #say(opinions: [string, HealthState][], known?: number): void {
    this.#options.transport.broadcast('health', encodeOpinions({ sequence: this.#sequence++, opinions, known }))
  }

  async #tellEverything(peer: PeerName): Promise<void> {
    const { transport } = this.#options
    let opinions: [string, HealthState][] = []
    // Taken before the first opinion of a message is: what changes while the rest is put together is later.
    let sequence = this.#sequence++
    let told = 0
    try {
      for await (const opinion of paced(this.#ownOpinions())) {
        opinions.push(opinion)
        told++
        if (opinions.length < SERVERS_PER_MESSAGE) continue
        await transport.send(peer, 'health', encodeOpinions({ sequence, opinions }))
        opinions = []
        sequence = this.#sequence++
      }
      await transport.send(peer, 'health', encodeOpinions({ sequence, opinions, known: told }))
    } catch {
      // It is gone, or does not keep up: the rounds tell it.
    }
  }

  *#ownOpinions(): Generator<[string, HealthState] | undefined> {
    for (const [key, { own }] of this.#servers) yield own === 'unknown' ? undefined : [key, own]
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
    if (heard.known !== undefined && !this.#heardOut.has(from) && this.#opinionsOf(from) >= heard.known)
      this.#heardOut.add(from)
  }

  #opinionsOf(peer: PeerName): number {
    let opinions = 0
    for (const { peers } of this.#servers.values()) if (peers.has(peer)) opinions++
    return opinions
  }

  #judge(key: string, server: Server): void {
    // Each director's 127.0.0.1 is another server, of which the others know nothing.
    const others = isLoopback(key) ? [] : Array.from(server.peers.values(), ({ state }) => state)
    const agreed = verdictOf(server.own, others)
    const verdict = agreed === 'unknown' ? server.lastKnown : agreed
    if (verdict === server.verdict) return
    const before = server.verdict
    server.verdict = verdict
    if (before === 'unknown') this.#unknownServers--
    else if (verdict === 'unknown') this.#unknownServers++
    this.#options.onChange(key, verdict, before)
  }
}
