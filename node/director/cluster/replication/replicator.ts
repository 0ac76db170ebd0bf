/**
 * Keeps the connection tables of the pool alike: gossips what the own forwarder writes, applies what the peers gossip, asks for
 * what is missing, gives and takes snapshots, and knows who is how far behind. DESIGN section 6; docs/protocol.md.
 *
 * Everything runs on one thread and is driven by three things only: messages, the clock, and recordsWritten().
 */
import type { RecordRing } from '../../../../forwarder/table/record-ring.ts'
import { encodePresence, type Position, parsePresence } from '../../../../protocol/wire/presence.ts'
import { type Epoch, parseBatch } from '../../../../protocol/wire/record-batch.ts'
import type { RecordBlock } from '../../../../protocol/wire/record-block.ts'
import { encodeSyncMessage, parseSyncMessage } from '../../../../protocol/wire/sync-message.ts'
import type { Clock } from '../../clock.ts'
import type { PeerStatus } from '../../control/api.ts'
import type { PeerName, Transport } from '../transport.ts'
import { AbsentSenders } from './absent-senders.ts'
import { createCounters } from './counters.ts'
import { EndedConnections } from './ended-connections.ts'
import { IncomingQueue } from './incoming-queue.ts'
import { decideJoin, type JoinDecision } from './join-decision.ts'
import { RecordSender } from './record-sender.ts'
import { ResendServer } from './resend-server.ts'
import { SenderView } from './sender-view.ts'
import { SnapshotClient } from './snapshot-client.ts'
import { type ConnectionSource, SnapshotServer } from './snapshot-server.ts'
import { judgeSync, START_GRACE_MS, SYNC_LIMIT_MS, type SyncState } from './sync-state.ts'
import { WantedTables } from './wanted-tables.ts'

export interface ReplicatorOptions {
  readonly transport: Transport
  /** Names of all configured peers. */
  readonly peers: readonly PeerName[]
  readonly clock: Clock
  /** A random number of 32 bits. */
  readonly random: () => number
  readonly outgoing: RecordRing
  readonly incoming: RecordRing
  readonly source: ConnectionSource
  /** Ends the forwarder's wait; called when records were written for it. */
  readonly wake: () => void
  readonly onStatus: (status: ReplicationStatus) => void
  /** Called with each record that the own forwarder has written; it may be read only then. */
  readonly onRecord?: (bytes: Uint8Array, offset: number) => void
  /** Memory for batches that peers may have missed. */
  readonly resendBytes?: number
}

export interface ReplicationStatus {
  readonly inSync: boolean
  /** Why, in words for an operator. */
  readonly reason: string
  readonly peers: PeerStatus[]
  readonly counters: Readonly<Record<string, number>>
}

/** A record waits at most this long for company. */
const GATHER_MS = 2
const ENDING_GATHER_MS = 25
const BATCH_BYTES = 16 * 1024
const DEFAULT_RESEND_BYTES = 64 * 1024 * 1024
const PRESENCE_MS = 200
/** How soon what is missing is looked after; and how often anyway. */
const TICK_SOON_MS = 15
const TICK_MS = 100
const STATUS_MS = 100
/** A tick later than this tells that the thread, or the whole host, stood still. */
const STALL_MS = 400
/** After that, what waits in the sockets is heard first. */
const STALL_GRACE_MS = 300
/** Batches are left to be asked for again when the forwarder has this much before it. */
const WAITING_LIMIT_BYTES = 4 * 1024 * 1024
const FAILED_SNAPSHOT_PAUSE_MS = 1000

export class Replicator {
  readonly #options: ReplicatorOptions
  readonly #epoch: Epoch
  readonly #sender: RecordSender
  readonly #incoming: IncomingQueue
  readonly #resends: ResendServer
  readonly #server: SnapshotServer
  readonly #client: SnapshotClient
  readonly #views = new Map<PeerName, SenderView>()
  readonly #wanted = new WantedTables()
  readonly #absent = new AbsentSenders()
  readonly #ended: EndedConnections
  readonly #failedAt = new Map<PeerName, number>()
  readonly #counters = createCounters()
  #joined = false
  /** How many records the forwarder must have taken before the last snapshot is in its table. */
  #snapshotEnd = 0
  /** A peer has been connected once. */
  #hadPeers = false
  #startedAt = 0
  #lastInSync = false
  #tickAt = Number.POSITIVE_INFINITY
  /** When this director came to reach peers again, having reached none. */
  #regainedAt = Number.NEGATIVE_INFINITY
  readonly #timers = new Map<string, () => void>()

  constructor(options: ReplicatorOptions) {
    this.#options = options
    const { transport, clock, outgoing, incoming, wake, source } = options
    this.#epoch = [options.random(), options.random()].map((part) => part.toString(16).padStart(8, '0')).join('')
    this.#ended = new EndedConnections(() => clock.now())
    for (const name of options.peers) this.#views.set(name, new SenderView(name))
    this.#sender = new RecordSender({
      epoch: this.#epoch,
      ring: outgoing,
      clock,
      broadcast: (batch) => transport.broadcast('connections', batch),
      onRecord: (bytes, offset) => {
        this.#ended.note(bytes, offset)
        options.onRecord?.(bytes, offset)
      },
      gatherMs: GATHER_MS,
      endingGatherMs: ENDING_GATHER_MS,
      batchBytes: BATCH_BYTES,
      resendBytes: options.resendBytes ?? DEFAULT_RESEND_BYTES,
    })
    this.#incoming = new IncomingQueue({ ring: incoming, clock, wake, onEmpty: () => this.#client.resume() })
    const sendSync = (peer: PeerName, message: Uint8Array) => transport.send(peer, 'sync', message)
    this.#resends = new ResendServer({
      epoch: this.#epoch,
      sent: this.#sender.sent,
      send: (peer, topic, message) => transport.send(peer, topic, message),
    })
    this.#server = new SnapshotServer({
      source: this.#ended.behind(source),
      clock,
      send: sendSync,
      positions: () => (this.#joined ? this.#positions() : undefined),
      incoming: this.#incoming,
    })
    this.#client = new SnapshotClient({
      clock,
      nextId: options.random,
      send: (peer, message) => void sendSync(peer, message).catch(() => this.#client.peerLost(peer)),
      apply: (block) => this.#applySnapshot(block),
      isBusy: () => this.#incoming.waitingBytes > 0,
      finished: (peer, positions) => this.#snapshotFinished(peer, positions),
      failed: (peer) => this.#snapshotFailed(peer),
    })
    transport.onMessage('connections', (from, message) => this.#receiveBatch(from, message))
    transport.onMessage('presence', (from, message) => this.#receivePresence(from, message))
    transport.onMessage('sync', (from, message) => this.#receiveSync(from, message))
    transport.onPeer((peer, connected) => this.#peerChanged(peer, connected))
  }

  /** The transport may be started before or after. */
  start(): void {
    this.#startedAt = this.#options.clock.now()
    this.#every('presence', PRESENCE_MS, () => this.#broadcastPresence())
    this.#every('status', STATUS_MS, () => this.#options.onStatus(this.status()))
    this.#tick()
  }

  stop(): void {
    for (const cancel of this.#timers.values()) cancel()
    this.#timers.clear()
    this.#sender.stop()
    this.#incoming.stop()
  }

  /** There may be something in the outgoing ring. */
  recordsWritten(): void {
    this.#sender.collect()
  }

  /** Gives the own forwarder records that come from outside the pool. False, and they are lost, when it has enough before it. */
  apply(block: RecordBlock): boolean {
    if (this.#incoming.waitingBytes > WAITING_LIMIT_BYTES) return false
    this.#incoming.push(block)
    return true
  }

  status(): ReplicationStatus {
    const { inSync, reason } = this.#syncState()
    this.#counters.batchesSent = this.#sender.sequence
    this.#counters.recordsSent = this.#sender.records
    const { batchesResent } = this.#resends
    const counters = { ...this.#counters, batchesResent, lostRecords: this.#options.outgoing.lost }
    return { inSync, reason, counters, peers: [...this.#views.values()].map((view) => this.#peerStatus(view)) }
  }

  #receiveBatch(from: PeerName, message: Uint8Array): void {
    const view = this.#views.get(from)
    const batch = parseBatch(message)
    if (!view || !batch) {
      this.#counters.malformedMessages++
      return
    }
    const met = this.#meet(view, batch.epoch)
    if (met === 'old') return
    if (met === 'new') this.#startOver(view)
    if (this.#incoming.waitingBytes > WAITING_LIMIT_BYTES) {
      this.#counters.deferredBatches++
      return
    }
    const block = view.accept(batch, this.#options.clock.now())
    if (!block) {
      this.#counters.duplicateBatches++
      return
    }
    this.#counters.batchesApplied++
    this.#counters.recordsApplied += block.count
    this.#ended.noteAll(block)
    this.#incoming.push(block)
    if (view.missingSince !== undefined) this.#tickWithin(TICK_SOON_MS)
  }

  #receivePresence(from: PeerName, message: Uint8Array): void {
    const view = this.#views.get(from)
    const presence = parsePresence(message)
    if (!view || !presence) {
      this.#counters.malformedMessages++
      return
    }
    const met = this.#meet(view, presence.epoch)
    if (met === 'old') return
    const covered = met === 'new' && this.#startOver(view)
    const previous = view.presence
    if (previous && ((presence.sentAtMs - previous.sentAtMs) | 0) < 0) return
    view.announce(presence, this.#options.clock.now())
    if (!previous) {
      view.lostCovered = presence.lost
      // It was there before us: it may have said things that nobody will say again.
      const isStranger = !covered && view.applied?.sequence === 0
      if (this.#joined && presence.joined && isStranger)
        this.#wanted.want(from, `meets ${from}, which was in the pool before`)
    } else if (presence.lost !== view.lostCovered && !this.#wanted.reasons.has(from))
      this.#wanted.want(from, `${from} could not number all its records`)
    if (view.missingSince !== undefined) this.#tickWithin(TICK_SOON_MS)
    this.#act()
  }

  #receiveSync(from: PeerName, bytes: Uint8Array): void {
    const view = this.#views.get(from)
    const message = parseSyncMessage(bytes)
    if (!view || !message) {
      this.#counters.malformedMessages++
      return
    }
    switch (message.kind) {
      case 'resend-request':
        if (message.epoch === this.#epoch) this.#resends.request(from, message.ranges)
        break
      case 'resend-refused':
        if (message.epoch === view.epoch && (view.applied?.sequence ?? 0) + 1 < message.oldest)
          this.#wanted.want(from, `${from} no longer has what was missed`)
        this.#act()
        break
      case 'snapshot-request':
        this.#server.request(from, message)
        break
      default:
        this.#client.handle(from, message)
    }
  }

  #peerChanged(peer: PeerName, connected: boolean): void {
    const view = this.#views.get(peer)
    if (!view) return
    if (connected) {
      const now = this.#options.clock.now()
      if (this.#joined && this.#connected().length === 0) this.#regainedAt = now
      view.connected = true
      view.heardFrom = now
      this.#failedAt.delete(peer)
      // Gossip takes a moment to know a new connection.
      void this.#options.transport.send(peer, 'presence', this.#presence()).catch(() => {})
    } else {
      view.connected = false
      this.#hadPeers = true
      this.#client.peerLost(peer)
    }
    this.#act()
  }

  #tick(): void {
    this.#client.tick()
    const now = this.#options.clock.now()
    let isBusy = !this.#joined
    for (const view of this.#views.values()) {
      this.#askForMissing(view, now)
      if (view.connected && view.missingSince !== undefined) isBusy = true
    }
    this.#act()
    this.#tickWithin(isBusy ? TICK_SOON_MS : TICK_MS)
  }

  #tickWithin(delayMs: number): void {
    const { clock } = this.#options
    const at = clock.now() + delayMs
    if (this.#tickAt <= at) return
    this.#tickAt = at
    this.#timers.get('tick')?.()
    const cancel = clock.schedule(delayMs, () => {
      const now = clock.now()
      if (now - at > STALL_MS) for (const view of this.#views.values()) view.heardFrom = now + STALL_GRACE_MS
      this.#tickAt = Number.POSITIVE_INFINITY
      this.#tick()
    })
    this.#timers.set('tick', cancel)
  }

  #askForMissing(view: SenderView, now: number): void {
    // Before the first snapshot is in, nobody knows which numbers matter; while the forwarder is behind, more would not help.
    if (!this.#joined || this.#wanted.covers(view.name) || this.#incoming.waitingBytes > WAITING_LIMIT_BYTES / 2) return
    const ranges = view.ask(now)
    const epoch = view.epoch
    if (ranges.length === 0 || epoch === undefined) return
    this.#counters.resendRequests++
    const message = encodeSyncMessage({ kind: 'resend-request', epoch, ranges })
    void this.#options.transport.send(view.name, 'sync', message).catch(() => {})
  }

  /** Joins, starts the next snapshot, and tells when this director comes into sync or falls out of it. */
  #act(): void {
    if (!this.#joined) this.#join()
    else if (!this.#client.running) {
      this.#lookForRescue()
      const next = [...this.#wanted.reasons.keys()].find(
        (peer) => this.#views.get(peer)?.connected && !this.#hasJustFailed(peer),
      )
      if (next !== undefined) this.#takeSnapshot(next)
    }
    const { inSync } = this.#syncState()
    if (inSync === this.#lastInSync) return
    this.#lastInSync = inSync
    this.#broadcastPresence()
    this.#options.onStatus(this.status())
  }

  #join(): void {
    if (this.#client.running) return
    const decision = this.#joinDecision()
    if (decision.kind === 'copy') this.#takeSnapshot(decision.from)
    else if (decision.kind === 'found') this.#joined = true
  }

  #joinDecision(): JoinDecision {
    const { transport, peers, clock } = this.#options
    const reachable = this.#connected().map((view) => ({
      name: view.name,
      state: view.presence && (view.presence.inSync ? 'in-sync' : view.presence.joined ? 'joined' : 'newcomer'),
      avoided: this.#hasJustFailed(view.name),
    })) as Parameters<typeof decideJoin>[1]
    return decideJoin(transport.self, reachable, peers.length, clock.now() - this.#startedAt >= START_GRACE_MS)
  }

  #takeSnapshot(peer: PeerName): void {
    const view = this.#views.get(peer)
    if (view?.presence) view.lostCovered = view.presence.lost
    this.#client.begin(peer)
  }

  #snapshotFinished(peer: PeerName, positions: readonly Position[]): void {
    this.#snapshotEnd = this.#incoming.accepted
    this.#counters.snapshotsTaken++
    const isFirst = !this.#joined
    const isOwn = this.#wanted.covers(peer)
    this.#wanted.delete(peer)
    if (isFirst) {
      this.#joined = true
      for (const view of this.#views.values()) {
        const isCovered = view.name === peer || positions.some((position) => position.epoch === view.epoch)
        if (view.presence?.joined && !isCovered)
          this.#wanted.want(view.name, `${peer} has not heard of ${view.name}, which was in the pool before`)
      }
    }
    for (const position of positions) {
      const view = [...this.#views.values()].find((candidate) => candidate.epoch === position.epoch)
      // Who can be asked sends again what is missing, ends of connections included; a table does not tell of those.
      if (view?.connected && !isFirst && !(isOwn && view.name === peer)) continue
      if (view) view.cover(position)
      else if (position.epoch !== this.#epoch) this.#absent.note(position)
    }
    this.#act()
  }

  #snapshotFailed(peer: PeerName): void {
    this.#failedAt.set(peer, this.#options.clock.now())
    this.#act()
  }

  #hasJustFailed(peer: PeerName): boolean {
    const failedAt = this.#failedAt.get(peer)
    return failedAt !== undefined && this.#options.clock.now() - failedAt < FAILED_SNAPSHOT_PAUSE_MS
  }

  #lookForRescue(): void {
    const rescuers = this.#absent.rescuers([...this.#views.values()], this.#epoch, this.#options.clock.now())
    for (const { peer, reason } of rescuers) this.#wanted.rescue(peer, reason)
  }

  #meet(view: SenderView, epoch: Epoch): 'same' | 'new' | 'old' {
    const before = view.applied
    const met = view.meet(epoch)
    if (met === 'new' && before) this.#absent.note(before)
    return met
  }

  /** A sender under a new epoch. Returns true if a snapshot has told where it stood. */
  #startOver(view: SenderView): boolean {
    this.#wanted.delete(view.name)
    const position = view.epoch === undefined ? undefined : this.#absent.take(view.epoch)
    if (!position) return false
    view.cover(position)
    return true
  }

  #applySnapshot(block: RecordBlock): void {
    this.#counters.snapshotRecords += block.count
    this.#incoming.push(this.#ended.takePiece(block))
  }

  #positions(): Position[] {
    const own = { epoch: this.#epoch, sequence: this.#sender.sequence, records: this.#sender.records }
    return [own, ...this.#appliedPositions()]
  }

  #appliedPositions() {
    const absent = this.#absent.positions().map((position) => ({ ...position, newestSentAtMs: 0 }))
    return [...this.#views.values()].flatMap((view) => view.applied ?? []).concat(absent)
  }

  #presence(): Uint8Array {
    return encodePresence({
      epoch: this.#epoch,
      sequence: this.#sender.sequence,
      records: this.#sender.records,
      joined: this.#joined,
      inSync: this.#syncState().inSync,
      lost: this.#options.outgoing.lost,
      sentAtMs: this.#options.clock.now(),
      applied: this.#appliedPositions(),
    })
  }

  #broadcastPresence(): void {
    this.#options.transport.broadcast('presence', this.#presence())
  }

  #syncState(): SyncState {
    return judgeSync({
      now: this.#options.clock.now(),
      isJoined: this.#joined,
      joining: () => this.#joinDecision(),
      snapshot: this.#client.running,
      wanted: this.#wanted.reasons,
      views: [...this.#views.values()],
      hadPeers: this.#hadPeers,
      regainedAt: this.#regainedAt,
      isForwarderBehind:
        this.#incoming.taken < this.#snapshotEnd || this.#incoming.waitingBytes > WAITING_LIMIT_BYTES / 2,
    })
  }

  #connected(): SenderView[] {
    return [...this.#views.values()].filter((view) => view.connected)
  }

  #peerStatus(view: SenderView): PeerStatus {
    const now = this.#options.clock.now()
    const since = view.missingSince
    return {
      name: view.name,
      connected: view.connected,
      recordsBehind: view.recordsBehind,
      behindMs: since === undefined ? 0 : Math.round(now - since),
      ...this.#unconfirmed(view, now),
    }
  }

  /**
   * Our records that the peer could have confirmed and has not. What went out since its last presence is not counted, unless
   * the peer has fallen silent.
   */
  #unconfirmed(view: SenderView, now: number): { peerRecordsBehind: number; peerBehindMs: number } {
    const nothing = { epoch: this.#epoch, sequence: 0, records: 0 }
    const confirmed = view.presence?.applied.find((position) => position.epoch === this.#epoch) ?? nothing
    const heardAt = view.presence ? view.presenceAt : 0
    const behind = this.#sender.unconfirmed(confirmed, Math.max(heardAt, now - 2 * PRESENCE_MS) - SYNC_LIMIT_MS)
    return { peerRecordsBehind: behind?.records ?? 0, peerBehindMs: behind ? Math.round(now - behind.oldestSentAt) : 0 }
  }

  #every(name: string, intervalMs: number, task: () => void): void {
    this.#timers.set(
      name,
      this.#options.clock.schedule(intervalMs, () => {
        this.#every(name, intervalMs, task)
        task()
      }),
    )
  }
}
