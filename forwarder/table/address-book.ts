/**
 * IPv6 addresses as numbers of 32 bits, in shared memory: the forwarding loop writes, anyone reads.
 *
 * Tables, services, neighbours and routes know an address by one 32-bit number. Of IPv4 it is the address itself. Each IPv6
 * address that they need (virtual addresses, real servers, next hops; of clients only neighbours) gets a number between 1 and
 * 2^24 - 1 here. As IPv4 addresses those would be of 0.0.0.0/8, which no host can have, so a number tells its family.
 *
 * A number is given up when nobody retains it and the book is full; until then it stays what it was.
 */
import { formatIPv4, parseIPv4 } from '../../protocol/packet/bytes.ts'
import { ADDRESS_WORDS, formatIPv6, isIPv6Text, parseIPv6 } from '../../protocol/packet/ipv6-address.ts'
import { hashAddress } from './keyed-hash.ts'

const MOST_ADDRESSES = 2 ** 24 - 1
/** No number: the last one, which no book is large enough to give. As an IPv4 address, which no host can have: 0.255.255.255. */
export const NO_ADDRESS = MOST_ADDRESSES
const END = 0
/** A chain that a reader meets while it is written may lead it anywhere, but not for ever. */
const LONGEST_CHAIN = 64

/** Whether an address number is of IPv6. */
export function isIPv6Number(number: number): boolean {
  return number > 0 && number < MOST_ADDRESSES
}

export class AddressBook {
  readonly capacity: number
  /** The address of a number: four words from number * ADDRESS_WORDS. */
  readonly words: Int32Array
  readonly #heads: Int32Array
  readonly #next: Int32Array
  readonly #mask: number
  /** Writer only: how many things need the number. */
  readonly #holders: Int32Array
  /** Numbers that something needs. */
  #retained = 0
  readonly #secret: number
  #fresh = 1
  readonly #free: number[] = []

  /**
   * @param capacity a power of two
   * @param secret random bits, the same for every thread
   */
  constructor(shared: SharedArrayBuffer, byteOffset: number, capacity: number, secret: number) {
    this.capacity = capacity
    this.#secret = secret
    this.words = new Int32Array(shared, byteOffset, capacity * ADDRESS_WORDS)
    this.#heads = new Int32Array(shared, byteOffset + this.words.byteLength, capacity)
    this.#next = new Int32Array(shared, byteOffset + this.words.byteLength + this.#heads.byteLength, capacity)
    this.#mask = capacity - 1
    this.#holders = new Int32Array(capacity)
  }

  static bytesFor(capacity: number): number {
    return capacity * (ADDRESS_WORDS + 2) * 4
  }

  /** The number of an IPv6 address; NO_ADDRESS when nobody has needed it yet. */
  find(first: number, second: number, third: number, fourth: number): number {
    const words = this.words
    let number = this.#heads[this.#bucket(first, second, third, fourth)]
    for (let steps = 0; number !== END && steps < LONGEST_CHAIN; steps++) {
      const at = number * ADDRESS_WORDS
      if (words[at + 3] === fourth && words[at + 2] === third && words[at + 1] === second && words[at] === first) {
        return number
      }
      number = this.#next[number]
    }
    return NO_ADDRESS
  }

  /** As find(), of the sixteen bytes at `at`. */
  findAt(view: DataView, at: number): number {
    return this.find(view.getInt32(at), view.getInt32(at + 4), view.getInt32(at + 8), view.getInt32(at + 12))
  }

  /** As find(), but gives the address a number if it has none. NO_ADDRESS when every number is retained. Writer only. */
  intern(first: number, second: number, third: number, fourth: number): number {
    const known = this.find(first, second, third, fourth)
    if (known !== NO_ADDRESS) return known
    const number = this.#take()
    if (number === NO_ADDRESS) return NO_ADDRESS
    const at = number * ADDRESS_WORDS
    this.words[at] = first
    this.words[at + 1] = second
    this.words[at + 2] = third
    this.words[at + 3] = fourth
    const bucket = this.#bucket(first, second, third, fourth)
    this.#next[number] = this.#heads[bucket]
    Atomics.store(this.#heads, bucket, number)
    return number
  }

  /** As intern(), for what packets name: half of the numbers are kept for what is configured. Writer only. */
  internNamed(first: number, second: number, third: number, fourth: number): number {
    if (this.#retained * 2 >= this.capacity) return this.find(first, second, third, fourth)
    return this.intern(first, second, third, fourth)
  }

  /** The number of an address of either family in text form, as find() has it. */
  numberOf(text: string): number {
    if (!isIPv6Text(text)) return parseIPv4(text)
    const words = parseIPv6(text)
    return this.find(words[0], words[1], words[2], words[3])
  }

  /** The number of an address of either family in text form, as intern() has it. Writer only. */
  internText(text: string): number {
    if (!isIPv6Text(text)) return parseIPv4(text)
    const words = parseIPv6(text)
    return this.intern(words[0], words[1], words[2], words[3])
  }

  /** Text of an address of either family. */
  format(number: number): string {
    return isIPv6Number(number) ? formatIPv6(this.words, number * ADDRESS_WORDS) : formatIPv4(number)
  }

  /** The address in four words: all of IPv6's, or IPv4's one and 0, 0, 0. */
  wordsOf(number: number): Int32Array {
    const words = new Int32Array(ADDRESS_WORDS)
    this.copyWords(number, words)
    return words
  }

  /** Writes them into `target`. */
  copyWords(number: number, target: Int32Array): void {
    const isIPv6 = isIPv6Number(number)
    target[0] = isIPv6 ? this.words[number * ADDRESS_WORDS] : number
    for (let word = 1; word < ADDRESS_WORDS; word++) {
      target[word] = isIPv6 ? this.words[number * ADDRESS_WORDS + word] : 0
    }
  }

  /** Keeps the number with its address; IPv4 needs no keeping. Writer only. */
  retain(number: number): void {
    if (isIPv6Number(number) && this.#holders[number]++ === 0) this.#retained++
  }

  /** Takes one retain() back. Writer only. */
  release(number: number): void {
    if (isIPv6Number(number) && --this.#holders[number] === 0) this.#retained--
  }

  #take(): number {
    if (this.#free.length === 0 && this.#fresh >= this.capacity) this.#sweep()
    return this.#free.pop() ?? (this.#fresh < this.capacity ? this.#fresh++ : NO_ADDRESS)
  }

  /** Gives up every number that nobody retains. */
  #sweep(): void {
    const words = this.words
    for (let number = 1; number < this.capacity; number++) {
      if (this.#holders[number] > 0) continue
      const at = number * ADDRESS_WORDS
      this.#unchain(this.#bucket(words[at], words[at + 1], words[at + 2], words[at + 3]), number)
      this.#free.push(number)
    }
  }

  #unchain(bucket: number, number: number): void {
    let before = this.#heads[bucket]
    if (before === number) {
      Atomics.store(this.#heads, bucket, this.#next[number])
      return
    }
    while (this.#next[before] !== number) before = this.#next[before]
    Atomics.store(this.#next, before, this.#next[number])
  }

  #bucket(first: number, second: number, third: number, fourth: number): number {
    return hashAddress(first, second, third, fourth, this.#secret) & this.#mask
  }
}
