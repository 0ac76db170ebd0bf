/**
 * What a pool promises (docs/operations.md, divergence.md), as checks of a simulated one: after every step, or when they are due. Each
 * has a name by which a failure is reported.
 */

import { forgottenChange, otherwise } from './changes.ts'
import type { Conversation } from './conversation.ts'
import type { Plane } from './networks.ts'
import { LAST_WORD_S } from './outsider.ts'
import type { SimulatedDirector } from './simulated-director.ts'
import { macOf, SERVICES, type SimulatedService } from './site.ts'
import { difference, entryName, leadsToServer } from './tables.ts'
import type { World } from './world.ts'

export interface Breach {
  readonly promise: PromiseName
  readonly what: string
  readonly atMs: number
}

export type PromiseName =
  | 'the pool comes up'
  | 'no established connection is lost'
  | 'a standby knows every connection'
  | 'a standby that can confirm is waited for'
  | 'nobody is reset or sent to another server'
  | 'one master per virtual address'
  | 'a sync group moves together'
  | 'the master announces the address'
  | 'nobody preempts out of sync'
  | 'nobody with a fault holds a virtual address'
  | 'nobody takes a virtual address from a better one that it could hear'
  | 'nobody preempts sooner than it may'
  | 'everybody comes into sync'
  | 'presence ends at 0'
  | 'tables are the same'
  | 'configuration converges'
  | 'no change is lost in silence'
  | 'nobody hears who is shut out'
  | 'everybody else stays in the pool'
  | 'no handler fails'
  | 'nothing throws'

/** A director's state of a virtual service as of the last look, and since when. */
interface Holding {
  state: string
  sinceMs: number
}

/** Messages on their way, and the step of the looks. */
const SLACK_MS = 25
/** A master that hears of a rival's end announces its addresses within a second and an interval; of one it cannot hear, it need not know. */
const ANNOUNCED_MS = 1000
const REFRESHED_MS = 5000
const LOOK_AT_TABLES_MS = 100
const ON_ITS_WAY_MS = 5
/**
 * If nothing disturbs them, records have reached a standby that is in sync by then, and what went before between the same ports has made
 * way for them.
 */
const TOLD_AFTER_MS = 500
/** What a director told before it was lost is missed, where it did not come, a second after the way is open; then a table is copied. */
const ABSENT_TOLD_AFTER_MS = 2000
/** In sync or not: it takes a moment to be seen on another thread. */
const SYNC_SEEN_MS = 300

export class Promises {
  breach: Breach | undefined
  readonly #world: World
  readonly #holdings = new Map<string, Holding>()
  readonly #outOfSyncSince = new Map<SimulatedDirector, number>()
  /** When directors were in sync first. */
  readonly #inSyncMs = new Map<SimulatedDirector, number>()
  /** By service: since when there has not been exactly one master, and since when the one that there is. */
  readonly #notOneSince = new Map<SimulatedService, number>()
  readonly #masters = new Map<SimulatedService, { master: SimulatedDirector; sinceMs: number }>()
  /** Of a sync group: since when not all are held by the same. */
  #apartSinceMs: number | undefined
  /** When directors were lost. */
  readonly #lossesMs: number[] = []
  /** Since when records have had an undisturbed way, and somewhere to go; and since when they have not. */
  #toldSinceMs: number | undefined
  #untoldSinceMs = 0
  /** Conversations whose record was lost with all that had it, and when. */
  readonly #excused = new Map<Conversation, number>()
  /** By director, how many connections it has served without a confirmation. */
  readonly #unconfirmedAt = new Map<SimulatedDirector, number>()
  /** Conversations that may be such. */
  readonly #unconfirmed = new Set<Conversation>()
  /** As of the last look. */
  #heardMs: ReadonlyMap<string, number> = new Map()
  #tablesSeenMs = 0

  constructor(world: World) {
    this.#world = world
    world.onReset = (conversation, what) => this.#judgeReset(conversation, what)
    world.onLoss = (director) => {
      this.#excuse(director)
      this.#lookAtHandlers(director)
      // Whom its successors have heard last may not have been seen as the only master.
      for (const [index, service] of SERVICES.entries())
        if (director.stateOf(index) === 'active') this.#notOneSince.delete(service)
    }
  }

  /** Conversations that went on although no director had a record of them any more. */
  get resumed(): number {
    return [...this.#excused].filter(([{ answeredMs }, lostMs]) => answeredMs > lostMs + ON_ITS_WAY_MS).length
  }

  fail(promise: PromiseName, what: string): void {
    const atMs = this.#world.clock.now()
    this.breach ??= { promise, what, atMs }
  }

  /** @param undisturbedSinceMs by plane, when the last fault ended that does more than make directors fewer; not while there is one */
  look(undisturbedSinceMs: ReadonlyMap<Plane, number>): void {
    const now = this.#world.clock.now()
    for (const [index, service] of SERVICES.entries()) {
      this.#lookAtTakeovers(index, service, now)
      this.#lookAtMasters(index, service, now, undisturbedSinceMs.get('vrrp'))
    }
    this.#lookAtUplinks(now)
    this.#lookAtOutsider()
    if (this.#world.isGrouped) this.#lookAtGroup(now, undisturbedSinceMs.get('vrrp'))
    this.#remember(now)
    this.#lookAtWays(undisturbedSinceMs.get('gossip'), now)
    this.#lookAtConfirmations(now)
    if (now - this.#tablesSeenMs >= LOOK_AT_TABLES_MS) {
      this.#tablesSeenMs = now
      this.#lookAtRecords(now)
    }
  }

  /** Who finds whose table other than its own; undefined: nobody. */
  get difference(): string | undefined {
    for (const { name: director, replicator } of this.#world.directors) {
      const peer = replicator.status().peers.find(({ rangesDifferent }) => rangesDifferent !== 0)
      if (peer) return `${director} finds ${peer.rangesDifferent} parts of ${peer.name}'s other than its own`
    }
    return undefined
  }

  /** When faults have been over for long enough, and nothing has been said for a while. */
  async lookAtEnd(): Promise<void> {
    const { directors, clients, numbers } = this.#world
    if (directors.length !== numbers.length) throw new Error('the simulation left a director behind')
    for (const director of directors) {
      const { inSync, reason, peers } = director.replicator.status()
      if (!inSync) this.fail('everybody comes into sync', `${director.name}: ${reason}`)
      for (const { name, connected, recordsBehind, behindMs, peerRecordsBehind, peerBehindMs } of peers) {
        if (connected && recordsBehind + behindMs + peerRecordsBehind + peerBehindMs === 0) continue
        const figures = JSON.stringify({ connected, recordsBehind, behindMs, peerRecordsBehind, peerBehindMs })
        this.fail('presence ends at 0', `${director.name} of ${name}: ${figures}`)
      }
      this.#lookAtHandlers(director)
    }
    const [first, ...others] = directors
    const configuration = JSON.stringify(first.pool.services())
    for (const director of others) {
      const theirs = JSON.stringify(director.pool.services())
      if (theirs !== configuration)
        this.fail('configuration converges', `${first.name} has ${configuration}, ${director.name} has ${theirs}`)
      const [revision, theirRevision] = [first.pool.revision, director.pool.revision]
      if (revision !== theirRevision)
        this.fail('configuration converges', `${first.name} is at ${revision}, ${director.name} at ${theirRevision}`)
      const differs = difference(first, director)
      if (differs !== undefined) this.fail('tables are the same', differs)
    }
    for (const conversation of clients.open) this.#lookAtConversation(conversation)
    this.#lookAtMembers()
    await this.#lookAtChanges()
  }

  /** Whoever knows that it is shut out has no connection to it any more. */
  #lookAtOutsider(): void {
    const { outsider, directors } = this.#world
    if (!outsider) return
    for (const { name, revoked, threads, transport } of directors) {
      if (!revoked.has(outsider.id) || threads.cluster.stalls > 0) continue
      if (transport.connectedPeers().includes(outsider.name))
        this.fail('nobody hears who is shut out', `${name} is still connected to ${outsider.name}`)
    }
  }

  #lookAtMembers(): void {
    const { directors, outsider, outside } = this.#world
    for (const { name, membership, pool, revoked } of directors) {
      const others = directors.filter((other) => other.name !== name)
      const missing = others.find((other) => !membership.peers.some(({ id }) => id === other.id))
      if (missing) this.fail('everybody else stays in the pool', `${name} does not know ${missing.name} any more`)
      if (!outsider || !outside.isRevoked) continue
      if (!revoked.has(outsider.id)) this.fail('nobody hears who is shut out', `${name} does not know that it is`)
      if (pool.settings().timeoutUdpS === LAST_WORD_S)
        this.fail('nobody hears who is shut out', `${name} has taken a change of ${outsider.name}`)
    }
  }

  async #lookAtChanges(): Promise<void> {
    const { directors, overridden } = this.#world
    const [first] = directors
    for (const { name, store } of directors) {
      const differs = await otherwise(first.store, store)
      if (differs !== undefined)
        this.fail('configuration converges', `${first.name} and ${name} have stored ${differs}`)
      const forgotten = await forgottenChange(name, store, this.#world.written, overridden)
      if (forgotten) this.fail('no change is lost in silence', `${name} has made ${JSON.stringify(forgotten)}`)
    }
  }

  #lookAtHandlers({ name, transport }: SimulatedDirector): void {
    const { failedHandlers } = transport.counters
    if (failedHandlers > 0) this.fail('no handler fails', `${name}: ${failedHandlers} failed`)
  }

  #lookAtConversation(conversation: Conversation): void {
    if (!conversation.isUnderway || conversation.askedMs === undefined) return
    const isKnown = conversation.witnesses.size > 0 || this.#isConfirmed(conversation)
    if (this.#excused.has(conversation) || !isKnown) return
    const waits = Math.round(this.#world.clock.now() - conversation.askedMs)
    const holders = this.#holders(conversation).map(({ name }) => name)
    const where = `known to ${holders.join(', ') || 'nobody'}`
    this.fail('no established connection is lost', `${nameOf(conversation)} has waited for ${waits} ms, ${where}`)
  }

  #judgeReset(conversation: Conversation, what: string): void {
    if (this.#excused.has(conversation)) return
    // Where two directors have placed a SYN each, one of the two servers knows nothing of the rest: no record can be in time.
    if (conversation.synServers.size > 1 || (conversation.isReuse && !conversation.isCovered)) return
    this.fail('nobody is reset or sent to another server', `${nameOf(conversation)}: ${what}`)
  }

  /**
   * What only the lost director has ever known is lost with it, unless there was time to tell of it. With confirmed sync another one had
   * it before its client knew of it: that one must have been lost, too.
   */
  #excuse(lost: SimulatedDirector): void {
    const now = this.#world.clock.now()
    this.#witness(now)
    this.#lookAtConfirmations(now)
    const others = this.#world.directors.filter((director) => director !== lost)
    for (const conversation of this.#world.clients.open) {
      if (!conversation.isUnderway || others.some(({ boot }) => conversation.witnesses.has(boot))) continue
      const isFirstLoss = !this.#lossesMs.some((lossMs) => lossMs >= conversation.begunMs)
      if (this.#isTold(conversation, now) || (this.#isConfirmed(conversation) && isFirstLoss)) continue
      this.#excused.set(conversation, now)
    }
    this.#lossesMs.push(now)
  }

  /** Somewhere to go: a second director that is in sync. */
  #lookAtWays(undisturbedSinceMs: number | undefined, now: number): void {
    const inSync = this.#world.directors.filter((director) => !this.#outOfSyncSince.has(director))
    if (undisturbedSinceMs === undefined || inSync.length < 2) {
      if (this.#toldSinceMs !== undefined) this.#untoldSinceMs = now
      this.#toldSinceMs = undefined
    } else {
      const isSomebodyLost = this.#lossesMs.some((lossMs) => lossMs >= this.#untoldSinceMs)
      this.#toldSinceMs ??= isSomebodyLost ? now + ABSENT_TOLD_AFTER_MS : now
    }
  }

  #isTold({ establishedMs }: Conversation, now: number): boolean {
    return this.#isToldSince(establishedMs, now)
  }

  #isToldSince(sinceMs: number, now: number): boolean {
    return this.#toldSinceMs !== undefined && now - Math.max(sinceMs, this.#toldSinceMs) >= TOLD_AFTER_MS
  }

  /** Another director had it before its client knew of it. */
  #isConfirmed(conversation: Conversation): boolean {
    return this.#world.sync !== undefined && !this.#unconfirmed.has(conversation)
  }

  /** Without a confirmation a connection is served only where nobody can give one. Which ones were, is not said. */
  #lookAtConfirmations(now: number): void {
    for (const director of this.#world.directors) {
      const { unconfirmed } = director.forwarder.outgoing
      if (unconfirmed === (this.#unconfirmedAt.get(director) ?? 0)) continue
      this.#unconfirmedAt.set(director, unconfirmed)
      for (const conversation of this.#world.clients.open)
        if (conversation.state === 'opening' || conversation.establishedMs >= now - SLACK_MS)
          this.#unconfirmed.add(conversation)
      if (this.#isToldSince(0, now))
        this.fail('a standby that can confirm is waited for', `${director.name} serves a connection without it`)
    }
  }

  #witness(now: number): void {
    for (const conversation of this.#world.clients.open) {
      if (!conversation.isUnderway || (conversation.isReuse && !this.#isTold(conversation, now))) continue
      for (const { boot } of this.#holders(conversation)) conversation.witnesses.add(boot)
    }
  }

  #lookAtRecords(now: number): void {
    this.#witness(now)
    for (const conversation of this.#world.clients.open) {
      if (conversation.state !== 'established' || !this.#isTold(conversation, now)) continue
      const holders = this.#holders(conversation)
      if (holders.length !== 1 || this.#excused.has(conversation)) continue
      this.fail('a standby knows every connection', `${nameOf(conversation)} is known to ${holders[0].name} alone`)
    }
  }

  /** The directors whose tables lead the conversation to its server. */
  #holders(conversation: Conversation): SimulatedDirector[] {
    return this.#world.directors.filter((director) => leadsToServer(director, conversation))
  }

  /** A director that has just become master, while another was and could be heard. */
  #lookAtTakeovers(index: number, { vrid }: SimulatedService, now: number): void {
    const { directors, intervalMs, election } = this.#world
    for (const taker of directors) {
      if (taker.stateOf(index) !== 'active' || this.#holding(taker, index).state === 'active') continue
      const outSince = this.#outOfSyncSince.get(taker)
      const isOut = outSince !== undefined && now - outSince > SYNC_SEEN_MS
      const ableMs = now - Math.max(this.#holding(taker, index).sinceMs, this.#inSyncMs.get(taker) ?? now)
      for (const holder of directors) {
        const holding = this.#holding(holder, index)
        const told = holder.advertised.get(vrid)
        const heard = this.#heardMs.get(`${holder.address} ${taker.address} ${vrid}`) ?? Number.NEGATIVE_INFINITY
        const wasHeard = heard >= now - 2 * intervalMs
        const longAgo = now - 4 * intervalMs
        if (holder === taker || holding.state !== 'active' || !wasHeard || holding.sinceMs > longAgo) continue
        if (told === undefined || told.sinceMs > longAgo) continue
        const both = `${taker.name} (priority ${taker.priorityOf(index)}) takes vrid ${vrid} from ${holder.name} (${told.priority})`
        if (isOut) this.fail('nobody preempts out of sync', `${both}: ${taker.replicator.status().reason}`)
        else if (told.priority >= taker.priorityOf(index))
          this.fail('nobody takes a virtual address from a better one that it could hear', both)
        else if (!election.preempt || ableMs + SLACK_MS < election.preemptDelayMs)
          this.fail('nobody preempts sooner than it may', `${both}, in sync and a backup for ${Math.round(ableMs)} ms`)
      }
    }
  }

  #lookAtMasters(index: number, service: SimulatedService, now: number, undisturbedSinceMs: number | undefined): void {
    const { directors, intervalMs } = this.#world
    const masters = directors.filter((director) => director.stateOf(index) === 'active')
    if (masters.length === 1) this.#notOneSince.delete(service)
    else if (!this.#notOneSince.has(service)) this.#notOneSince.set(service, now)
    const [master] = masters
    if (masters.length !== 1) this.#masters.delete(service)
    else if (this.#masters.get(service)?.master !== master) this.#masters.set(service, { master, sinceMs: now })
    if (undisturbedSinceMs === undefined) return
    const since = this.#notOneSince.get(service)
    // None: a director out of sync waits for 4 intervals and its skew.
    const limitMs = (masters.length > 1 ? 1 : 5) * intervalMs + SLACK_MS
    if (since !== undefined && now - Math.max(since, undisturbedSinceMs) > limitMs) {
      const names = masters.map(({ name }) => name).join(' and ') || 'nobody'
      this.fail('one master per virtual address', `vrid ${service.vrid} is held by ${names} for ${limitMs} ms`)
    }
    const reign = this.#masters.get(service)
    if (!reign) return
    const isDuelOver = reign.sinceMs >= undisturbedSinceMs
    const announcedMs = (isDuelOver ? ANNOUNCED_MS : REFRESHED_MS) + intervalMs + SLACK_MS
    if (now - Math.max(reign.sinceMs, undisturbedSinceMs) > announcedMs) this.#lookAtNeighbours(service, reign.master)
  }

  #lookAtUplinks(now: number): void {
    for (const director of this.#world.directors) {
      const lostMs = this.#world.uplinkLostMs(director)
      if (lostMs === undefined || now - lostMs <= SLACK_MS || director.threads.main.stalls > 0) continue
      const held = SERVICES.filter((_, index) => director.stateOf(index) === 'active').map(({ vrid }) => vrid)
      if (held.length === 0) continue
      this.fail('nobody with a fault holds a virtual address', `${director.name} holds ${held.join(' and ')}`)
    }
  }

  #lookAtGroup(now: number, undisturbedSinceMs: number | undefined): void {
    const { directors, intervalMs } = this.#world
    const holders = SERVICES.map(({ vrid }, index) => {
      const active = directors.filter((director) => director.stateOf(index) === 'active')
      return { vrid, names: active.map(({ name }) => name).join(' and ') || 'nobody' }
    })
    if (holders.every(({ names }) => names === holders[0].names)) this.#apartSinceMs = undefined
    else this.#apartSinceMs ??= now
    if (this.#apartSinceMs === undefined || undisturbedSinceMs === undefined) return
    if (now - Math.max(this.#apartSinceMs, undisturbedSinceMs) <= intervalMs + SLACK_MS) return
    const held = holders.map(({ vrid, names }) => `vrid ${vrid} is held by ${names}`).join(', ')
    this.fail('a sync group moves together', held)
  }

  #lookAtNeighbours({ address, gateway, servers }: SimulatedService, master: SimulatedDirector): void {
    const wrong = (host: { address: string }, what: string, mac: string | undefined) =>
      this.fail('the master announces the address', `${host.address} has ${what} at ${mac}, held by ${master.name}`)
    for (const router of this.#world.routers) {
      const mac = router.neighbour(address)
      if (mac !== undefined && mac !== macOf(master.address)) wrong(router, address, mac)
    }
    for (const server of this.#world.servers) {
      if (gateway === undefined || !servers.includes(server.address)) continue
      const mac = server.neighbour(gateway)
      if (mac !== undefined && mac !== macOf(master.insideAddress)) wrong(server, gateway, mac)
    }
  }

  #remember(now: number): void {
    this.#heardMs = new Map(this.#world.heardMs)
    for (const director of this.#world.directors) {
      for (const index of SERVICES.keys()) {
        const holding = this.#holding(director, index)
        const state = director.stateOf(index)
        if (state !== holding.state) Object.assign(holding, { state, sinceMs: now })
      }
      if (director.replicator.status().inSync) {
        this.#outOfSyncSince.delete(director)
        if (!this.#inSyncMs.has(director)) this.#inSyncMs.set(director, now)
      } else if (!this.#outOfSyncSince.has(director)) this.#outOfSyncSince.set(director, now)
    }
  }

  #holding(director: SimulatedDirector, index: number): Holding {
    const key = `${director.boot} ${index}`
    let holding = this.#holdings.get(key)
    if (!holding) {
      holding = { state: 'init', sinceMs: this.#world.clock.now() }
      this.#holdings.set(key, holding)
    }
    return holding
  }
}

function nameOf({ clientAddress, clientPort, service, server, establishedMs }: Conversation): string {
  const name = entryName(clientAddress, clientPort, service.address, service.port)
  return `${name} at ${server}, established at ${Math.round(establishedMs)} ms`
}
