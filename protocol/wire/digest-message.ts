/**
 * What two directors say over the stream between them to find and mend differences of their tables. Big endian; the first two bytes
 * are the version and the kind.
 *
 * ```
 * kind 1, digest:          0 version, kind   2 as of      4 id   8 2048 x digest of a range (8)
 * kind 2, answer:          0 version, kind   2 as of      4 id   8 2048 x digest of a range (8)
 * kind 3, ranges wanted:   0 version, kind   2 zero       4 id   8 2048 bits, one a range, the first one highest
 * kind 4, a piece of them: 0 version, kind   2 zero       4 id   8 record-block.ts
 * kind 5, finer digest wanted: 0 version, kind   2 as of  4 id   8 its ranges, as a power of two (1)
 * kind 6, a part of it:        0 version, kind   2 as of  4 id   8 that power (1)   9 zero   10 which part, from 0 (2)
 *                              12 4096 x digest of a range (8)
 * ```
 *
 * A digest is answered with that of the table of whoever is asked, as of the same moment (table-digest.ts). Wanted ranges are answered with
 * their connections and their ends, in as many pieces as it takes. A finer digest, of 4,096 to 65,536 ranges, is answered with its parts: who
 * asks for it makes his own meanwhile.
 * Version rule: format-version.ts. Kinds 5 and 6 are from version 2 on.
 */
import { endsAt, FORMAT_VERSION, isLater, isReadable } from './format-version.ts'
import { type RecordBlock, readBlock } from './record-block.ts'
import { DIGEST_RANGES, MOST_DIGEST_RANGES, RANGE_WORDS } from './table-digest.ts'

const DIGEST = 1
const ANSWER = 2
const WANTED = 3
const PIECE = 4
const FINER_WANTED = 5
const PART = 6
const DIGEST_LENGTH = DIGEST_RANGES * RANGE_WORDS * 4
const BITS_LENGTH = DIGEST_RANGES / 8
/** The block of a piece starts here. */
export const RANGE_PIECE_HEADER_LENGTH = 8
/** Ranges of a part of a finer digest. */
const PART_RANGES = 4096
/** Those of its words. */
export const PART_WORDS: number = PART_RANGES * RANGE_WORDS
const PART_HEADER_LENGTH = 12
const LEAST_POWER = Math.log2(PART_RANGES)
const MOST_POWER = Math.log2(MOST_DIGEST_RANGES)

export type DigestMessage =
  | { readonly kind: 'digest' | 'answer'; readonly id: number; readonly asOf: number; readonly words: Uint32Array }
  | { readonly kind: 'wanted'; readonly id: number; readonly ranges: readonly number[] }
  | { readonly kind: 'piece'; readonly id: number; readonly block: RecordBlock }
  | { readonly kind: 'finer-wanted'; readonly id: number; readonly asOf: number; readonly ranges: number }
  | FinerPart

/** Of a digest of so many ranges the words from `at` on. */
export interface FinerPart {
  readonly kind: 'finer-part'
  readonly id: number
  readonly asOf: number
  readonly ranges: number
  readonly at: number
  readonly words: Uint32Array
}

/** The parts of a finer digest. @param words its own */
export function* partsOf(id: number, asOf: number, words: Uint32Array): Generator<FinerPart> {
  const ranges = words.length / RANGE_WORDS
  for (let at = 0; at < words.length; at += PART_WORDS)
    yield { kind: 'finer-part', id, asOf, ranges, at, words: words.subarray(at, at + PART_WORDS) }
}

/** Every kind but a piece, which writeRangePieceHeader() makes in front of a block already in place. */
export function encodeDigestMessage(message: Exclude<DigestMessage, { kind: 'piece' }>): Uint8Array {
  const { id } = message
  switch (message.kind) {
    case 'digest':
    case 'answer': {
      const view = start(message.kind === 'digest' ? DIGEST : ANSWER, message.asOf, id, 8 + DIGEST_LENGTH)
      writeWords(view, 8, message.words)
      return new Uint8Array(view.buffer)
    }
    case 'wanted': {
      const bytes = new Uint8Array(start(WANTED, 0, id, 8 + BITS_LENGTH).buffer)
      for (const range of message.ranges) bytes[8 + (range >> 3)] |= 0x80 >> (range & 7)
      return bytes
    }
    case 'finer-wanted': {
      const view = start(FINER_WANTED, message.asOf, id, 9)
      view.setUint8(8, Math.log2(message.ranges))
      return new Uint8Array(view.buffer)
    }
    case 'finer-part': {
      const view = start(PART, message.asOf, id, PART_HEADER_LENGTH + PART_WORDS * 4)
      view.setUint8(8, Math.log2(message.ranges))
      view.setUint16(10, message.at / PART_WORDS)
      writeWords(view, PART_HEADER_LENGTH, message.words)
      return new Uint8Array(view.buffer)
    }
  }
}

export function writeRangePieceHeader(bytes: Uint8Array, id: number): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset)
  view.setUint8(0, FORMAT_VERSION)
  view.setUint8(1, PIECE)
  view.setUint32(4, id)
}

/** Undefined for anything that is not well formed. */
export function parseDigestMessage(bytes: Uint8Array): DigestMessage | undefined {
  if (bytes.length < RANGE_PIECE_HEADER_LENGTH || !isReadable(bytes[0])) return undefined
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const id = view.getUint32(4)
  switch (bytes[1]) {
    case DIGEST:
    case ANSWER: {
      if (!endsAt(bytes, 8 + DIGEST_LENGTH)) return undefined
      const words = readWords(view, 8, DIGEST_RANGES * RANGE_WORDS)
      return { kind: bytes[1] === DIGEST ? 'digest' : 'answer', id, asOf: view.getUint16(2), words }
    }
    case WANTED:
      if (!endsAt(bytes, 8 + BITS_LENGTH)) return undefined
      return { kind: 'wanted', id, ranges: readRanges(bytes) }
    case PIECE: {
      const block = readBlock(bytes, RANGE_PIECE_HEADER_LENGTH, isLater(bytes[0]))
      return block && { kind: 'piece', id, block }
    }
    case FINER_WANTED: {
      const ranges = endsAt(bytes, 9) && readCount(bytes[8])
      return ranges ? { kind: 'finer-wanted', id, asOf: view.getUint16(2), ranges } : undefined
    }
    case PART: {
      const ranges = endsAt(bytes, PART_HEADER_LENGTH + PART_WORDS * 4) && readCount(bytes[8])
      const at = ranges ? view.getUint16(10) * PART_WORDS : 0
      if (!ranges || at >= ranges * RANGE_WORDS) return undefined
      const words = readWords(view, PART_HEADER_LENGTH, PART_WORDS)
      return { kind: 'finer-part', id, asOf: view.getUint16(2), ranges, at, words }
    }
    default:
      return undefined
  }
}

/** How many ranges a power of two means; 0: none that a finer digest has. */
function readCount(power: number): number {
  return power >= LEAST_POWER && power <= MOST_POWER ? 2 ** power : 0
}

function writeWords(view: DataView, offset: number, words: Uint32Array): void {
  for (const [index, word] of words.entries()) view.setUint32(offset + index * 4, word)
}

function readWords(view: DataView, offset: number, length: number): Uint32Array {
  return Uint32Array.from({ length }, (_, index) => view.getUint32(offset + index * 4))
}

function readRanges(bytes: Uint8Array): number[] {
  const ranges: number[] = []
  for (let range = 0; range < DIGEST_RANGES; range++) {
    if (bytes[8 + (range >> 3)] & (0x80 >> (range & 7))) ranges.push(range)
  }
  return ranges
}

function start(kind: number, word: number, id: number, length: number): DataView {
  const view = new DataView(new ArrayBuffer(length))
  view.setUint8(0, FORMAT_VERSION)
  view.setUint8(1, kind)
  view.setUint16(2, word)
  view.setUint32(4, id)
  return view
}
