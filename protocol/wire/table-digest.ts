/**
 * A digest of a connection table, by which two directors find out whether theirs are alike, and which part is not.
 *
 * The table is divided into ranges by a hash of what names a connection. A range's digest is the exclusive or of a hash, 64 bits, of
 * each of its connections: of its name, its version and its server. So the order does not matter, and neither do states
 * and timeouts, which differ between the director that has the packets and those that have only heard.
 *
 * It is of the same fields in all versions that are read by each other (format-version.ts): a field that one of two directors does not know must be no difference. A version that keeps
 * connections which earlier ones cannot have (of a new protocol) leaves those out of digests with them.
 *
 * Changes that are newer than a moment agreed upon do not count: they are still on their way. Nor does what nobody has been told of.
 *
 * Source: anti-entropy with one level of a Merkle tree: A. Demers et al., "Epidemic algorithms for replicated database maintenance",
 * 1987, section 1.3.
 */
import { mix } from '../mix.ts'
import { readInt32, readUint16 } from '../packet/bytes.ts'
import { RECORD, RECORD_CALL, RECORD_UPSERT } from './connection-record.ts'

/** Of a table that is not large: of these ranges most are alike even where thousands of connections a second come and go. */
export const DIGEST_RANGES = 2048
/** Of the largest. Each of the above is divided in as many. */
export const MOST_DIGEST_RANGES = 2 ** 16
/** Two of 32 bits a range. */
export const RANGE_WORDS = 2

const PRIME_A = 0x9e3779b1
const PRIME_B = 0x85ebca6b

/** Which of DIGEST_RANGES the record at `at`, of RECORD_LENGTH bytes, is in. */
export function rangeOf(bytes: Uint8Array, at: number): number {
  return mix(nameHash(bytes, at, 0, PRIME_A)) & (DIGEST_RANGES - 1)
}

export class TableDigest {
  readonly words: Uint32Array
  readonly #asOf: number
  readonly #mask: number

  /**
   * @param asOf a version (16 bits): newer ones do not count
   * @param ranges a power of two
   */
  constructor(asOf: number, ranges: number = DIGEST_RANGES) {
    this.#asOf = asOf
    this.#mask = ranges - 1
    this.words = new Uint32Array(ranges * RANGE_WORDS)
  }

  /** Takes in the record of a connection in the table. */
  add(bytes: Uint8Array, at: number): void {
    const version = readUint16(bytes, at + RECORD.version)
    if (bytes[at + RECORD.kind] !== RECORD_UPSERT || bytes[at + RECORD.protocol] === RECORD_CALL) return
    // Serial numbers of 16 bits (RFC 1982).
    if (version === 0 || ((this.#asOf - version) & 0xffff) >= 0x8000) return
    const name = nameHash(bytes, at, 0, PRIME_A)
    const place = (mix(name) & this.#mask) * RANGE_WORDS
    this.words[place] ^= mix(contentHash(bytes, at, name, PRIME_A))
    this.words[place + 1] ^= mix(contentHash(bytes, at, nameHash(bytes, at, 0x9e3779b9, PRIME_B), PRIME_B))
  }

  /** What only one of two tables has, by range, as an exclusive or of hashes: nothing but zeros where they are alike. */
  difference(other: Uint32Array): Uint32Array {
    return this.words.map((word, place) => word ^ other[place])
  }
}

/** The ranges that a difference is in. */
export function differentRanges(difference: Uint32Array): number[] {
  const ranges: number[] = []
  for (let at = 0; at < difference.length; at += RANGE_WORDS) {
    if (difference[at] !== 0 || difference[at + 1] !== 0) ranges.push(at / RANGE_WORDS)
  }
  return ranges
}

/** Those of DIGEST_RANGES that these are in, whatever they are of. */
export function coarseRanges(ranges: readonly number[]): number[] {
  return [...new Set(ranges.map((range) => range & (DIGEST_RANGES - 1)))].sort((a, b) => a - b)
}

/** Of protocol, client's and virtual port, client's and virtual address. */
function nameHash(bytes: Uint8Array, at: number, seed: number, prime: number): number {
  let hash = step(seed, bytes[at + RECORD.protocol], prime)
  hash = step(hash, readInt32(bytes, at + RECORD.clientPort), prime)
  for (let i = RECORD.clientAddress; i < RECORD.serverAddress; i += 4) {
    hash = step(hash, readInt32(bytes, at + i), prime)
  }
  return hash
}

/** Of version and server as well. */
function contentHash(bytes: Uint8Array, at: number, name: number, prime: number): number {
  const versionAndPort = (readUint16(bytes, at + RECORD.version) << 16) | readUint16(bytes, at + RECORD.serverPort)
  let hash = step(name, versionAndPort, prime)
  for (let i = RECORD.serverAddress; i < RECORD.firewallMark; i += 4) {
    hash = step(hash, readInt32(bytes, at + i), prime)
  }
  return hash
}

function step(hash: number, word: number, prime: number): number {
  const product = Math.imul(hash ^ word, prime)
  return product ^ (product >>> 15)
}
