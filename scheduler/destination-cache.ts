/**
 * What the locality-based schedulers remember of each destination address, in bounded memory.
 *
 * A hash table in flat arrays, which grows with what is in it up to 16384 entries. Destinations come from the network, so the
 * hash is keyed. Entries end in two ways, neither of which needs a timer: they are looked for when the next packet comes.
 * - Every half hour those that were not asked for during the whole expiration time are removed.
 * - When the table is full, every minute some that were idle for six minutes are; and a new destination takes the place of
 *   the one that has been idle longest among a few.
 *
 * Source: Linux net/netfilter/ipvs/ip_vs_lblc.c and ip_vs_lblcr.c, whose tables may hold more than their 16384 for a while.
 */
import { sipHash } from './hash.ts'

export const MAX_ENTRIES = 16_384
const FIRST_ENTRIES = 64
const CHECK_INTERVAL_MS = 60_000
const FULL_CHECK_INTERVAL_MS = 30 * CHECK_INTERVAL_MS
const IDLE_MS = 6 * 60_000
/** At most so many idle entries are removed in one check. */
const IDLE_GOAL = MAX_ENTRIES / 2
/** Among so many is looked for the one that makes room. */
const ROOM_CANDIDATES = 16
const NONE = -1

export class DestinationCache<Value> {
  size = 0
  readonly #key: number
  #heads = new Int32Array(FIRST_ENTRIES).fill(NONE)
  /** By entry: the next one of its chain, or of the free ones. */
  #next = new Int32Array(FIRST_ENTRIES)
  #words = new Int32Array(FIRST_ENTRIES * 4)
  #usedMs = new Float64Array(FIRST_ENTRIES)
  readonly #values: (Value | undefined)[] = []
  #free = NONE
  /** Entries that were ever used; those from here on are untouched. */
  #touched = 0
  /** Where the last search for an entry to give up has ended. */
  #rover = 0
  #nextCheckMs: number | undefined
  #nextFullCheckMs = 0

  /** @param random a number from 0 to below 1, to key the hash with */
  constructor(random: number) {
    this.#key = Math.floor(random * 2 ** 32)
  }

  /** What is known of a destination, which thereby counts as used now. */
  find(destination: Int32Array, nowMs: number): Value | undefined {
    const entry = this.#entryOf(destination)
    if (entry === NONE) return undefined
    this.#usedMs[entry] = nowMs
    return this.#values[entry]
  }

  set(destination: Int32Array, value: Value, nowMs: number): void {
    let entry = this.#entryOf(destination)
    if (entry === NONE) {
      entry = this.#take()
      this.#words.set(destination, entry * 4)
      this.#link(entry)
      this.size++
    }
    this.#values[entry] = value
    this.#usedMs[entry] = nowMs
  }

  /** One that goes its own way from here on. @param copyValue for values that change in place */
  copy(copyValue: (value: Value) => Value): DestinationCache<Value> {
    const copy = new DestinationCache<Value>(this.#key / 2 ** 32)
    copy.size = this.size
    copy.#heads = this.#heads.slice()
    copy.#next = this.#next.slice()
    copy.#words = this.#words.slice()
    copy.#usedMs = this.#usedMs.slice()
    for (const value of this.#values) copy.#values.push(value === undefined ? undefined : copyValue(value))
    copy.#free = this.#free
    copy.#touched = this.#touched
    copy.#rover = this.#rover
    copy.#nextCheckMs = this.#nextCheckMs
    copy.#nextFullCheckMs = this.#nextFullCheckMs
    return copy
  }

  /** Removes what has run out; to be called before a look-up. */
  expire(nowMs: number, expirationMs: number): void {
    if (this.#nextCheckMs === undefined) {
      this.#nextCheckMs = nowMs + CHECK_INTERVAL_MS
      this.#nextFullCheckMs = nowMs + FULL_CHECK_INTERVAL_MS
    }
    if (nowMs < this.#nextCheckMs) return
    this.#nextCheckMs = latestOf(this.#nextCheckMs, CHECK_INTERVAL_MS, nowMs) + CHECK_INTERVAL_MS
    if (nowMs >= this.#nextFullCheckMs) {
      const checkedMs = latestOf(this.#nextFullCheckMs, FULL_CHECK_INTERVAL_MS, nowMs)
      this.#nextFullCheckMs = checkedMs + FULL_CHECK_INTERVAL_MS
      this.#removeUnused(checkedMs - expirationMs, MAX_ENTRIES)
    } else if (this.size === MAX_ENTRIES) {
      this.#removeUnused(nowMs - IDLE_MS, IDLE_GOAL)
    }
  }

  /** Removes entries last used at `sinceMs` or before, at most `goal` of them. */
  #removeUnused(sinceMs: number, goal: number): void {
    for (let step = 0; step < this.#touched && goal > 0; step++) {
      const entry = this.#nextEntry()
      if (this.#values[entry] === undefined || this.#usedMs[entry] > sinceMs) continue
      this.#remove(entry)
      goal--
    }
  }

  /** A free entry, for which another one ends when the table is full. */
  #take(): number {
    if (this.size === MAX_ENTRIES) {
      let oldest = this.#nextEntry()
      for (let step = 1; step < ROOM_CANDIDATES; step++) {
        const entry = this.#nextEntry()
        if (this.#usedMs[entry] < this.#usedMs[oldest]) oldest = entry
      }
      this.#remove(oldest)
    }
    const entry = this.#free
    if (entry !== NONE) {
      this.#free = this.#next[entry]
      return entry
    }
    if (this.#touched === this.#usedMs.length) this.#grow()
    return this.#touched++
  }

  #nextEntry(): number {
    this.#rover = (this.#rover + 1) % this.#touched
    return this.#rover
  }

  #remove(entry: number): void {
    const head = this.#headOf(this.#words, entry * 4)
    if (this.#heads[head] === entry) this.#heads[head] = this.#next[entry]
    else {
      let before = this.#heads[head]
      while (this.#next[before] !== entry) before = this.#next[before]
      this.#next[before] = this.#next[entry]
    }
    this.#values[entry] = undefined
    this.#next[entry] = this.#free
    this.#free = entry
    this.size--
  }

  #grow(): void {
    const length = this.#usedMs.length * 2
    this.#heads = new Int32Array(length).fill(NONE)
    this.#next = new Int32Array(length)
    this.#words = enlarged(this.#words, new Int32Array(length * 4))
    this.#usedMs = enlarged(this.#usedMs, new Float64Array(length))
    // It grows only when every entry is in use.
    for (let entry = 0; entry < this.#touched; entry++) this.#link(entry)
  }

  #link(entry: number): void {
    const head = this.#headOf(this.#words, entry * 4)
    this.#next[entry] = this.#heads[head]
    this.#heads[head] = entry
  }

  #entryOf(destination: Int32Array): number {
    const words = this.#words
    let entry = this.#heads[this.#headOf(destination, 0)]
    for (; entry !== NONE; entry = this.#next[entry]) {
      const at = entry * 4
      if (
        words[at + 3] === destination[3] &&
        words[at + 2] === destination[2] &&
        words[at + 1] === destination[1] &&
        words[at] === destination[0]
      ) {
        break
      }
    }
    return entry
  }

  #headOf(words: Int32Array, at: number): number {
    let hash = 0
    for (let word = 0; word < 4; word++) hash = sipHash(hash ^ words[at + word], this.#key)
    return hash & (this.#heads.length - 1)
  }
}

/** The latest of the moments `firstMs`, one interval later, and so on, that is not after `nowMs`. */
function latestOf(firstMs: number, intervalMs: number, nowMs: number): number {
  return firstMs + Math.floor((nowMs - firstMs) / intervalMs) * intervalMs
}

function enlarged<Words extends Int32Array | Float64Array>(from: Words, to: Words): Words {
  to.set(from)
  return to
}
