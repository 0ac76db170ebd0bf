/**
 * What two directors say over the stream between them to find and mend differences of their tables. Big endian; the first two bytes
 * are the version and the kind.
 *
 * ```
 * kind 1, digest:          0 version, kind   2 as of      4 id   8 2048 x digest of a range (8)
 * kind 2, answer:          0 version, kind   2 as of      4 id   8 2048 x digest of a range (8)
 * kind 3, ranges wanted:   0 version, kind   2 zero       4 id   8 2048 bits, one a range, the first one highest
 * kind 4, a piece of them: 0 version, kind   2 zero       4 id   8 record-block.ts
 * ```
 *
 * A digest is answered with that of the table of whoever is asked, as of the same moment (table-digest.ts). Wanted ranges are answered with
 * their connections and their ends, in as many pieces as it takes.
 * Version rule: format-version.ts.
 */
import { endsAt, FORMAT_VERSION, isLater, isReadable } from './format-version.ts'
import { type RecordBlock, readBlock } from './record-block.ts'
import { DIGEST_LENGTH, DIGEST_RANGES } from './table-digest.ts'

const DIGEST = 1
const ANSWER = 2
const WANTED = 3
const PIECE = 4
const BITS_LENGTH = DIGEST_RANGES / 8
/** The block of a piece starts here. */
export const RANGE_PIECE_HEADER_LENGTH = 8

export type DigestMessage =
  | { readonly kind: 'digest' | 'answer'; readonly id: number; readonly asOf: number; readonly words: Uint32Array }
  | { readonly kind: 'wanted'; readonly id: number; readonly ranges: readonly number[] }
  | { readonly kind: 'piece'; readonly id: number; readonly block: RecordBlock }

/** Every kind but a piece, which writeRangePieceHeader() makes in front of a block already in place. */
export function encodeDigestMessage(message: Exclude<DigestMessage, { kind: 'piece' }>): Uint8Array {
  const { id } = message
  if (message.kind !== 'wanted') {
    const view = start(message.kind === 'digest' ? DIGEST : ANSWER, message.asOf, id, 8 + DIGEST_LENGTH)
    for (const [index, word] of message.words.entries()) view.setUint32(8 + index * 4, word)
    return new Uint8Array(view.buffer)
  }
  const view = start(WANTED, 0, id, 8 + BITS_LENGTH)
  const bytes = new Uint8Array(view.buffer)
  for (const range of message.ranges) bytes[8 + (range >> 3)] |= 0x80 >> (range & 7)
  return bytes
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
      const words = Uint32Array.from({ length: DIGEST_LENGTH / 4 }, (_, index) => view.getUint32(8 + index * 4))
      return { kind: bytes[1] === DIGEST ? 'digest' : 'answer', id, asOf: view.getUint16(2), words }
    }
    case WANTED:
      if (!endsAt(bytes, 8 + BITS_LENGTH)) return undefined
      return { kind: 'wanted', id, ranges: readRanges(bytes) }
    case PIECE: {
      const block = readBlock(bytes, RANGE_PIECE_HEADER_LENGTH, isLater(bytes[0]))
      return block && { kind: 'piece', id, block }
    }
    default:
      return undefined
  }
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
