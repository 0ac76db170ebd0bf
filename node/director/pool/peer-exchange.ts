/**
 * The pool's configuration between directors. Changes travel twice: by gossip at once, and as the whole configuration to a peer that
 * connects, or whose digest is another than ours. To one that connects a word follows it, that this was everything.
 */
import type { PeerName, Transport } from '../cluster/transport.ts'
import { startPace } from '../pace.ts'
import { decodeConfigMessage, encodeDigest, encodeEnd, encodeEntries, packEntry } from './config-message.ts'
import { isAboutHistory } from './history-message.ts'
import type { PoolEntries } from './pool-entries.ts'
import { isMembership, type PoolEntry } from './pool-entry.ts'
import { Tellings } from './tellings.ts'
import { UnreadMessages } from './unread-messages.ts'

export interface PeerExchangeOptions {
  readonly transport: Pick<Transport, 'broadcast' | 'send' | 'onMessage' | 'onPeer'>
  readonly entries: PoolEntries
  /** Does something while no change of the entries is under way. */
  readonly inTurn: <T>(task: () => Promise<T>) => Promise<T>
  /** The id of the peer that has this name now. */
  readonly idOf: (peer: PeerName) => string | undefined
  /** A peer has said what tells whether it has exactly these entries. */
  readonly onCompared: (peer: PeerName, isSame: boolean) => void
  /** All that a peer had when it connected is in force. */
  readonly onToldAll: (peer: PeerName) => void
  /** What a peer tells, all of it. Nothing else is read before the promise resolves. @param from the peer's id */
  readonly onEntries: (entries: Iterable<PoolEntry>, from: string) => Promise<void>
  /** A question or an answer about revisions. Returns whether it is understood. */
  readonly onHistory: (message: Uint8Array, from: PeerName) => boolean
  /** So many entries of a message, or the whole of it, are nothing that this version understands. */
  readonly onInvalid: (count: number) => void
}

export class PeerExchange {
  readonly #options: PeerExchangeOptions
  readonly #unread = new UnreadMessages()
  #isReading = false
  readonly #tellings = new Tellings()
  readonly #beingSentTo = new Set<PeerName>()
  /** Who has told all, and the last of it is not in force yet. */
  readonly #ending = new Set<PeerName>()
  #isClosed = false

  constructor(options: PeerExchangeOptions) {
    this.#options = options
  }

  start(): void {
    const { transport } = this.#options
    transport.onMessage('config', (from, message) => this.#hear(from, message))
    transport.onPeer((peer, connected) => {
      if (connected) void this.#introduce(peer)
      else this.#tellings.forget(peer)
    })
  }

  /** What peers say from now on is not heard. */
  close(): void {
    this.#isClosed = true
  }

  /** To every peer, from packed entries that are in force. */
  async tell(packed: Iterable<Uint8Array>): Promise<void> {
    const pace = startPace()
    for (const message of encodeEntries(packed, this.#tellingOf('change'))) {
      this.#options.transport.broadcast('config', message)
      await pace()
    }
  }

  announce(): void {
    this.#options.transport.broadcast('config', encodeDigest(this.#options.entries.digest))
  }

  #hear(from: PeerName, bytes: Uint8Array): void {
    const id = this.#options.idOf(from)
    if (this.#isClosed || id === undefined) return
    this.#unread.push(from, { id, bytes })
    if (!this.#isReading) void this.#readAll()
  }

  async #readAll(): Promise<void> {
    const pace = startPace()
    this.#isReading = true
    for (const [from, { id, bytes }] of this.#unread.take()) {
      // It may have ceased to be a peer while this was waiting.
      if (this.#isStill(from, id)) await this.#read(from, id, bytes).catch(() => this.#options.onInvalid(1))
      await pace()
    }
    this.#isReading = false
  }

  async #read(from: PeerName, id: string, bytes: Uint8Array): Promise<void> {
    const { onEntries, onHistory, onInvalid } = this.#options
    if (isAboutHistory(bytes)) {
      if (!onHistory(bytes, from)) onInvalid(1)
      return
    }
    const message = decodeConfigMessage(bytes)
    if (!message) {
      onInvalid(1)
      return
    }
    if (message.invalidEntries > 0) onInvalid(message.invalidEntries)
    if (message.digest) this.#compare(from, message.digest)
    if (message.isEnd) void this.#endTelling(from, id)
    // Who belongs to the pool does not wait for the rest, which alone comes at the end.
    const entriesNow = message.part ? message.entries.filter(isMembership) : message.entries
    await onEntries(this.#saidBy(from, id, entriesNow), id)
    if (!message.part || !this.#isStill(from, id)) return
    const messages = this.#tellings.take(from, message.part, bytes)
    if (messages) await onEntries(configuredBy(messages), id)
  }

  #compare(from: PeerName, digest: Uint8Array): void {
    const isSame = this.#options.entries.digest.equals(digest)
    this.#options.onCompared(from, isSame)
    if (!isSame) void this.#sendEverything(from)
  }

  async #endTelling(from: PeerName, id: string): Promise<void> {
    if (this.#ending.has(from)) return
    this.#ending.add(from)
    await this.#options.inTurn(async () => {})
    this.#ending.delete(from)
    if (!this.#isClosed && this.#isStill(from, id)) this.#options.onToldAll(from)
  }

  /**
   * Whoever is shut out while he is being heard has no say any more in who belongs to the pool, himself least of all. The rest of what he
   * told stays whole.
   */
  *#saidBy(from: PeerName, id: string, entries: readonly PoolEntry[]): Generator<PoolEntry> {
    for (const entry of entries) if (!isMembership(entry) || this.#isStill(from, id)) yield entry
  }

  #isStill(peer: PeerName, id: string): boolean {
    return this.#options.idOf(peer) === id
  }

  async #introduce(peer: PeerName): Promise<void> {
    await this.#sendEverything(peer)
    await this.#options.transport.send(peer, 'config', encodeEnd()).catch(() => {})
  }

  async #sendEverything(peer: PeerName): Promise<void> {
    if (this.#beingSentTo.has(peer)) return
    this.#beingSentTo.add(peer)
    try {
      const { entries, inTurn, transport } = this.#options
      // As it is at one moment: of a change that is made meanwhile the peer must get all or nothing.
      // Who belongs to the pool comes first: news of a revocation must not wait behind what the revoked one has put there.
      const { all, telling } = await inTurn(async () => ({
        all: [...entries.values().filter(isMembership), ...entries.values().filter((entry) => !isMembership(entry))],
        telling: this.#tellingOf('everything'),
      }))
      for (const message of encodeEntries(all.values().map(packEntry), telling)) {
        await transport.send(peer, 'config', message)
      }
    } catch {
      // It is gone or does not keep up: it gets everything when it connects again or tells its digest.
    } finally {
      this.#beingSentTo.delete(peer)
    }
  }

  /** The same when the same is told again, and then the parts are the same as well. */
  #tellingOf(what: 'change' | 'everything'): string {
    return `${what} ${this.#options.entries.digest.toString('hex', 0, 16)}`
  }
}

/** One message after the other, so that all of them are never inflated at once. */
function* configuredBy(messages: readonly Uint8Array[]): Generator<PoolEntry> {
  for (const bytes of messages) {
    const entries = decodeConfigMessage(bytes)?.entries ?? []
    yield* entries.filter((entry) => !isMembership(entry))
  }
}
