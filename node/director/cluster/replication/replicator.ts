/**
 * Keeps the connection tables of the pool alike: gossips what the own forwarder writes, applies what the peers gossip, asks for
 * what is missing, gives and takes snapshots, and knows who is how far behind: docs/protocol.md, docs/decisions/replication.md.
 *
 * Everything runs on one thread and is driven by three things only: messages, the clock, and recordsWritten().
 */
import type { RecordRing } from '../../../../forwarder/table/record-ring.ts'
import { parseDigestMessage } from '../../../../protocol/wire/digest-message.ts'
import { knowsFinerDigests } from '../../../../protocol/wire/format-version.ts'
import { parsePresence } from '../../../../protocol/wire/presence.ts'
import { type Epoch, parseBatch } from '../../../../protocol/wire/record-batch.ts'
import type { RecordBlock } from '../../../../protocol/wire/record-block.ts'
import { encodeSyncMessage, parseSyncMessage } from '../../../../protocol/wire/sync-message.ts'
import type { Clock } from '../../clock.ts'
import type { PeerRecords } from '../../control/answers.ts'
import type { PeerName, Transport } from '../transport.ts'
import { BatchPath } from './batch-path.ts'
import { createCounters } from './counters.ts'
import { EndedConnections } from './ended-connections.ts'
import { IncomingQueue } from './incoming-queue.ts'
import { Placement } from './placement.ts'
import { RecordSender } from './record-sender.ts'
import { ResendServer } from './resend-server.ts'
import { SenderView } from './sender-view.ts'
import { type ConnectionSource, SnapshotServer } from './snapshot-server.ts'
import { Speakers } from './speakers.ts'
import { Standing } from './standing.ts'
import { TableComparison } from './table-comparison.ts'
import { TableCopies } from './table-copies.ts'
import { UnknownFields } from './unknown-fields.ts'

export interface ReplicatorOptions {
  readonly transport: Transport
  /** Names of all peers, until setPeers() says others. */
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
  /** The version that a change made now would have (forwarder/engine/replication.ts): 16 bits. */
  readonly versionNow: () => number
  /** The next records that the director still knows from before its restart, RECORD_LENGTH bytes each; undefined after the last ones. */
  readonly restore?: () => Promise<Uint8Array | undefined>
  /** What peers of later versions say of connections; one of its own unless given. */
  readonly unknownFields?: UnknownFields
  /** Memory for batches that peers may have missed. */
  readonly resendBytes?: number
}

export interface ReplicationStatus {
  readonly inSync: boolean
  /** Why, in words for an operator. */
  readonly reason: string
  /** Its table holds what the pool knows, or it has started the pool with its own. */
  readonly joined: boolean
  readonly peers: PeerRecords[]
  readonly counters: Readonly<Record<string, number>>
}

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
/** At a director's end; its peers say what they have every PRESENCE_MS. */
const DELIVERED_WITHIN_MS = 1000
/** Batches are left to be asked for again when the forwarder has this much before it. */
const WAITING_LIMIT_BYTES = 4 * 1024 * 1024

export class Replicator {
  readonly #options: ReplicatorOptions
  readonly #epoch: Epoch
  readonly #sender: RecordSender
  readonly #path = new BatchPath()
  readonly #incoming: IncomingQueue
  readonly #placement: Placement
  readonly #resends: ResendServer
  readonly #server: SnapshotServer
  readonly #copies: TableCopies
  readonly #comparison: TableComparison
  readonly #views = new Map<PeerName, SenderView>()
  readonly #ended: EndedConnections
  readonly #unknownFields: UnknownFields
  readonly #counters = createCounters()
  readonly #speakers = new Speakers(this.#views, this.#counters)
  readonly #standing: Standing
  #lastInSync = false
  #tickAt = Number.POSITIVE_INFINITY
  readonly #timers = new Map<string, () => void>()
  /** Called when a peer may have confirmed what is being delivered, or is gone. */
  #checkDelivery: () => void = () => {}

  constructor(options: ReplicatorOptions) {
    this.#options = options
    const { transport, clock, outgoing, incoming, wake, source } = options
    this.#epoch = [options.random(), options.random()].map((part) => part.toString(16).padStart(8, '0')).join('')
    this.#ended = new EndedConnections(() => clock.now())
    const unknownFields = options.unknownFields ?? new UnknownFields(() => clock.now())
    this.#unknownFields = unknownFields
    for (const name of options.peers) this.#views.set(name, new SenderView(name))
    this.#sender = new RecordSender({
      epoch: this.#epoch,
      ring: outgoing,
      clock,
      send: (batch, isAwaited) => this.#sendBatch(batch, isAwaited),
      onRecord: (bytes, offset) => {
        this.#ended.note(bytes, offset)
        unknownFields.note(bytes, offset)
        options.onRecord?.(bytes, offset)
      },
      tails: unknownFields,
      onConfirmed: wake,
      batchBytes: BATCH_BYTES,
      resendBytes: options.resendBytes ?? DEFAULT_RESEND_BYTES,
    })
    this.#incoming = new IncomingQueue({ ring: incoming, clock, wake, onEmpty: () => this.#copies.resume() })
    this.#placement = new Placement(incoming, clock)
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
      tails: unknownFields,
      positions: () => (this.#copies.joined ? this.#standing.positions() : undefined),
      incoming: this.#incoming,
    })
    this.#copies = new TableCopies({
      self: transport.self,
      epoch: this.#epoch,
      views: this.#views,
      clock,
      random: options.random,
      incoming: this.#incoming,
      send: sendSync,
      apply: (block) => this.#applySnapshot(block),
      restore: options.restore ?? (async () => undefined),
      onEnd: (complete) => {
        if (complete) this.#counters.snapshotsTaken++
        this.#act()
      },
    })
    this.#comparison = new TableComparison({
      source: this.#ended.behind(source),
      tails: unknownFields,
      clock,
      versionNow: options.versionNow,
      send: (peer, message) => transport.send(peer, 'digest', message),
      peers: () => this.#connected().flatMap(({ name, presence }) => (presence?.joined ? [name] : [])),
      knowsFinerDigests: (peer) => knowsFinerDigests(this.#views.get(peer)?.formatVersion ?? 0),
      isReady: () => this.#copies.joined && !this.#copies.running && this.#incoming.waitingBytes === 0,
      isUpToDate: () => this.#connected().every(({ missingSince }) => missingSince === undefined),
      apply: (block) => this.#applyPiece(block),
    })
    this.#standing = new Standing({
      epoch: this.#epoch,
      clock,
      outgoing,
      sender: this.#sender,
      incoming: this.#incoming,
      placement: this.#placement,
      copies: this.#copies,
      comparison: this.#comparison,
      views: this.#views,
      presenceMs: PRESENCE_MS,
      behindBytes: WAITING_LIMIT_BYTES / 2,
    })
    transport.onMessage('connections', (from, message) => this.#receiveBatch(from, message))
    transport.onMessage('presence', (from, message) => this.#receivePresence(from, message))
    transport.onMessage('sync', (from, message) => this.#receiveSync(from, message))
    transport.onMessage('digest', (from, message) => {
      const heard = this.#speakers.read(from, message, parseDigestMessage)
      if (heard) this.#comparison.receive(from, heard.said)
    })
    transport.onPeer((peer, connected) => this.#peerChanged(peer, connected))
  }

  /** The transport may be started before or after. */
  start(): void {
    this.#copies.start()
    this.#every('presence', PRESENCE_MS, () => {
      this.#broadcastPresence()
      this.#forgetConfirmed()
    })
    this.#every('status', STATUS_MS, () => this.#options.onStatus(this.status()))
    this.#tick()
  }

  stop(): void {
    for (const cancel of this.#timers.values()) cancel()
    this.#timers.clear()
    // Messages come until the transport stops, too: none of them is to begin the ticks anew.
    this.#tickAt = Number.NEGATIVE_INFINITY
    this.#sender.stop()
    this.#server.stop()
    this.#copies.stop()
    this.#incoming.stop()
  }

  /** These are the peers from now on. The transport has ended its connections to others. */
  setPeers(names: readonly PeerName[]): void {
    for (const view of this.#views.values()) {
      if (names.includes(view.name)) continue
      this.#copies.forget(view)
      this.#server.forget(view.name)
      this.#views.delete(view.name)
    }
    for (const name of names) if (!this.#views.has(name)) this.#views.set(name, new SenderView(name))
  }

  /** This director was cut off or stood still, perhaps too shortly to miss its peers: nothing that they had said counts. */
  doubt(): void {
    const now = this.#options.clock.now()
    for (const view of this.#views.values()) view.heardFrom = Math.max(view.heardFrom, now)
    this.#act()
    this.#broadcastPresence()
    this.#options.onStatus(this.status())
  }

  /** There may be something in the outgoing ring. */
  recordsWritten(): void {
    this.#sender.collect()
  }

  /**
   * Sends what there is to send, and resolves when all connected peers have it; or later than they need for that, what they lack then they
   * may have from each other.
   */
  deliver(): Promise<void> {
    this.#sender.collect()
    this.#sender.flush()
    // Whoever has missed the last batch hears of it by this.
    this.#broadcastPresence()
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#timers.set('delivery', this.#options.clock.schedule(DELIVERED_WITHIN_MS, resolve))
    this.#checkDelivery = () => {
      if (this.#connected().every((view) => view.confirmed(this.#epoch) >= this.#sender.sequence)) resolve()
    }
    this.#checkDelivery()
    return promise
  }

  /** Gives the own forwarder records that come from outside the pool. False, and they are lost, when it has enough before it. */
  apply(block: RecordBlock): boolean {
    if (this.#incoming.waitingBytes > WAITING_LIMIT_BYTES) return false
    this.#incoming.push(block)
    return true
  }

  status(): ReplicationStatus {
    const { inSync, reason } = this.#standing.syncState()
    this.#counters.batchesSent = this.#sender.sequence
    this.#counters.recordsSent = this.#sender.records
    const { batchesResent } = this.#resends
    const { size: connectionsWithUnknownFields, forgotten: unknownFieldsForgotten } = this.#unknownFields
    const counters = {
      ...this.#counters,
      connectionsWithUnknownFields,
      unknownFieldsForgotten,
      ...this.#comparison.counters,
      batchesResent,
      batchesKept: this.#sender.sent.size,
      lostRecords: this.#options.outgoing.lost,
      unplacedRecords: this.#placement.unplaced,
      unconfirmedConnections: this.#options.outgoing.unconfirmed,
    }
    return { inSync, reason, joined: this.#copies.joined, counters, peers: this.#standing.peers() }
  }

  #sendBatch(batch: Uint8Array, isAwaited: boolean): void {
    const { transport, clock } = this.#options
    const connected = this.#connected()
    if (!this.#path.isStraight(clock.now(), isAwaited, connected.length === this.#views.size)) {
      transport.broadcast('connections', batch)
      return
    }
    // What a peer does not get that does not keep up, it asks for when it does.
    for (const { name } of connected) void transport.send(name, 'connections', batch).catch(() => {})
  }

  #receiveBatch(from: PeerName, message: Uint8Array): void {
    const heard = this.#speakers.read(from, message, parseBatch)
    if (!heard) return
    const { view, said: batch } = heard
    const met = this.#copies.meet(view, batch.epoch)
    if (met === 'old') return
    if (met === 'new') this.#copies.startOver(view)
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
    this.#unknownFields.noteAll(batch.block)
    this.#incoming.push(block)
    const holdsAll = this.#copies.joined && !this.#placement.isFull
    const confirmed = holdsAll ? view.confirmation(batch) : undefined
    if (confirmed !== undefined) {
      const confirmation = encodeSyncMessage({ kind: 'confirmation', epoch: batch.epoch, sequence: confirmed })
      void this.#options.transport.send(from, 'sync', confirmation).catch(() => {})
    }
    if (view.missingSince !== undefined) this.#tickWithin(TICK_SOON_MS)
  }

  #receivePresence(from: PeerName, message: Uint8Array): void {
    const heard = this.#speakers.read(from, message, parsePresence)
    if (!heard) return
    const { view, said: presence } = heard
    const met = this.#copies.meet(view, presence.epoch)
    if (met === 'old') return
    const covered = met === 'new' && this.#copies.startOver(view)
    const previous = view.presence
    if (previous && ((presence.sentAtMs - previous.sentAtMs) | 0) < 0) return
    view.announce(presence, this.#options.clock.now(), this.#epoch)
    if (!previous) {
      view.lostCovered = presence.lost
      // It was there before us: it may have said things that nobody will say again.
      const isStranger = !covered && view.applied?.sequence === 0
      if (this.#copies.joined && presence.joined && isStranger)
        this.#copies.want(from, `meets ${from}, which was in the pool before`)
    } else if (presence.lost !== view.lostCovered && !this.#copies.wanted.has(from))
      this.#copies.want(from, `${from} could not number all its records`)
    if (view.missingSince !== undefined) this.#tickWithin(TICK_SOON_MS)
    this.#checkDelivery()
    this.#act()
  }

  #receiveSync(from: PeerName, bytes: Uint8Array): void {
    const heard = this.#speakers.read(from, bytes, parseSyncMessage)
    if (!heard) return
    const { view, said: message } = heard
    switch (message.kind) {
      case 'resend-request':
        if (message.epoch === this.#epoch) this.#resends.request(from, message.ranges)
        break
      case 'resend-refused':
        if (message.epoch === view.epoch && (view.applied?.sequence ?? 0) + 1 < message.oldest)
          this.#copies.want(from, `${from} no longer has what was missed`)
        this.#act()
        break
      case 'confirmation':
        if (message.epoch === this.#epoch) this.#sender.confirm(message.sequence)
        break
      case 'snapshot-request':
        this.#server.request(from, message)
        break
      default:
        this.#copies.handle(from, message)
    }
  }

  #peerChanged(peer: PeerName, connected: boolean): void {
    const view = this.#views.get(peer)
    if (!view) return
    if (connected) {
      this.#standing.peerFound()
      view.connected = true
      view.heardFrom = this.#options.clock.now()
      this.#copies.peerFound(peer)
      this.#server.peerFound(peer)
      // Gossip takes a moment to know a new connection.
      void this.#options.transport.send(peer, 'presence', this.#standing.presence()).catch(() => {})
    } else {
      view.connected = false
      this.#standing.peerLost()
      this.#copies.peerLost(peer)
      this.#comparison.forget(peer)
      this.#checkDelivery()
    }
    this.#act()
  }

  #tick(): void {
    this.#copies.tick()
    const now = this.#options.clock.now()
    let isBusy = !this.#copies.joined
    for (const view of this.#views.values()) {
      this.#askForMissing(view, now)
      if (view.connected && view.missingSince !== undefined) isBusy = true
    }
    this.#act()
    void this.#comparison.compare()
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

  /** What all peers have, those included that are away or have just come, none of them will ask for. */
  #forgetConfirmed(): void {
    const confirmed = [...this.#views.values()].map((view) => view.confirmed(this.#epoch))
    this.#sender.sent.dropUpTo(Math.min(this.#sender.sequence, ...confirmed))
  }

  #askForMissing(view: SenderView, now: number): void {
    // Before the first snapshot is in, nobody knows which numbers matter; while the forwarder is behind, more would not help.
    if (!this.#copies.joined || this.#copies.covers(view.name) || this.#incoming.waitingBytes > WAITING_LIMIT_BYTES / 2)
      return
    const ranges = view.ask(now)
    const epoch = view.epoch
    if (ranges.length === 0 || epoch === undefined) return
    this.#counters.resendRequests++
    const message = encodeSyncMessage({ kind: 'resend-request', epoch, ranges })
    void this.#options.transport.send(view.name, 'sync', message).catch(() => {})
  }

  /** Joins, starts the next copy, and tells when this director comes into sync or falls out of it. */
  #act(): void {
    this.#copies.act()
    const witnesses = this.#connected().filter(({ presence }) => presence?.joined && !presence.full)
    this.#options.outgoing.setWitnesses(witnesses.length)
    const { inSync } = this.#standing.syncState()
    if (inSync === this.#lastInSync) return
    this.#lastInSync = inSync
    this.#broadcastPresence()
    this.#options.onStatus(this.status())
  }

  #applySnapshot(block: RecordBlock): void {
    this.#counters.snapshotRecords += block.count
    this.#applyPiece(block)
  }

  /** Of another's table. */
  #applyPiece(block: RecordBlock): void {
    this.#unknownFields.noteAll(block)
    this.#incoming.push(this.#ended.takePiece(block))
  }

  #broadcastPresence(): void {
    this.#options.transport.broadcast('presence', this.#standing.presence())
  }

  #connected(): SenderView[] {
    return [...this.#views.values()].filter((view) => view.connected)
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
