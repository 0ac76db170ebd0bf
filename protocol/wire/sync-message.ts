/**
 * What two directors say over the stream between them to make their tables agree. Big endian; the first two bytes are
 * the version and the kind.
 *
 * ```
 * kind 1, resend request:    0 version, kind   2 count          4 epoch      12 count x (from 8, to 8)
 * kind 2, resend refused:    0 version, kind   2 zero           4 epoch      12 oldest sequence still kept (8)
 * kind 3, snapshot request:  0 version, kind   2 pieces         4 id          8 first slot
 * kind 4, snapshot header:   0 version, kind   2 count          4 id          8 slots            12 count x position (24)
 * kind 5, snapshot piece:    0 version, kind   2 flags (1 last) 4 id          8 next slot        12 record-block.ts
 * kind 6, snapshot refused:  0 version, kind   2 zero           4 id
 * kind 7, confirmation:      0 version, kind   2 zero           4 epoch      12 sequence: all up to this one have come (8)
 * ```
 *
 * A resend is answered with the batches themselves. A snapshot goes over the table of whoever is asked, `pieces` at a time: the
 * one who asks says how much he can take, and asks for more from `next slot`, under another id, when he has taken it. The header, sent before
 * the first piece, says up to which batch of each director (its own included) the pieces contain everything.
 * Version rule: format-version.ts.
 */
import { endsAt, FORMAT_VERSION, isLater, isReadable } from './format-version.ts'
import { POSITION_LENGTH, type Position, readPosition, writePosition } from './presence.ts'
import { type Epoch, readCounter, readEpoch, writeCounter, writeEpoch } from './record-batch.ts'
import { type RecordBlock, readBlock } from './record-block.ts'

const RESEND_REQUEST = 1
const RESEND_REFUSED = 2
const SNAPSHOT_REQUEST = 3
const SNAPSHOT_HEADER = 4
const SNAPSHOT_PIECE = 5
const SNAPSHOT_REFUSED = 6
const CONFIRMATION = 7
const FLAG_LAST = 1
const RANGE_LENGTH = 16
const MAX_RANGES = 64
const MAX_POSITIONS = 256

/** A snapshot piece's block starts here. */
export const PIECE_HEADER_LENGTH = 12

/** Numbers from `from` to `to`, both included. */
export interface SequenceRange {
  readonly from: number
  readonly to: number
}

export type SyncMessage =
  | { readonly kind: 'resend-request'; readonly epoch: Epoch; readonly ranges: readonly SequenceRange[] }
  | { readonly kind: 'resend-refused'; readonly epoch: Epoch; readonly oldest: number }
  | { readonly kind: 'snapshot-request'; readonly id: number; readonly from: number; readonly pieces: number }
  | {
      readonly kind: 'snapshot-header'
      readonly id: number
      readonly slots: number
      readonly positions: readonly Position[]
    }
  | {
      readonly kind: 'snapshot-piece'
      readonly id: number
      readonly next: number
      readonly last: boolean
      readonly block: RecordBlock
    }
  | { readonly kind: 'snapshot-refused'; readonly id: number }
  | { readonly kind: 'confirmation'; readonly epoch: Epoch; readonly sequence: number }

/** Every kind but a piece, which writePieceHeader() makes around a block already in place. */
export function encodeSyncMessage(message: Exclude<SyncMessage, { kind: 'snapshot-piece' }>): Uint8Array {
  switch (message.kind) {
    case 'resend-request': {
      const ranges = message.ranges.slice(0, MAX_RANGES)
      const view = start(RESEND_REQUEST, ranges.length, 12 + ranges.length * RANGE_LENGTH)
      writeEpoch(view, 4, message.epoch)
      ranges.forEach((range, index) => {
        writeCounter(view, 12 + index * RANGE_LENGTH, range.from)
        writeCounter(view, 20 + index * RANGE_LENGTH, range.to)
      })
      return bytesOf(view)
    }
    case 'resend-refused':
      return numberOf(RESEND_REFUSED, message.epoch, message.oldest)
    case 'confirmation':
      return numberOf(CONFIRMATION, message.epoch, message.sequence)
    case 'snapshot-request': {
      const view = start(SNAPSHOT_REQUEST, message.pieces, 12)
      view.setUint32(4, message.id)
      view.setUint32(8, message.from)
      return bytesOf(view)
    }
    case 'snapshot-header': {
      const positions = message.positions.slice(0, MAX_POSITIONS)
      const view = start(SNAPSHOT_HEADER, positions.length, 12 + positions.length * POSITION_LENGTH)
      view.setUint32(4, message.id)
      view.setUint32(8, message.slots)
      positions.forEach((position, index) => {
        writePosition(view, 12 + index * POSITION_LENGTH, position)
      })
      return bytesOf(view)
    }
    case 'snapshot-refused': {
      const view = start(SNAPSHOT_REFUSED, 0, 8)
      view.setUint32(4, message.id)
      return bytesOf(view)
    }
  }
}

export function writePieceHeader(bytes: Uint8Array, piece: { id: number; next: number; last: boolean }): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  view.setUint8(0, FORMAT_VERSION)
  view.setUint8(1, SNAPSHOT_PIECE)
  view.setUint16(2, piece.last ? FLAG_LAST : 0)
  view.setUint32(4, piece.id)
  view.setUint32(8, piece.next)
}

/** Undefined for anything that is not well formed. */
export function parseSyncMessage(bytes: Uint8Array): SyncMessage | undefined {
  if (bytes.length < 8 || !isReadable(bytes[0])) return undefined
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const count = view.getUint16(2)
  switch (bytes[1]) {
    case RESEND_REQUEST: {
      const end = 12 + count * RANGE_LENGTH
      if (count === 0 || count > MAX_RANGES || !endsAt(bytes, end)) return undefined
      const ranges: SequenceRange[] = []
      for (let at = 12; at < end; at += RANGE_LENGTH) {
        const from = readCounter(view, at)
        const to = readCounter(view, at + 8)
        if (from === undefined || to === undefined || from === 0 || to < from) return undefined
        ranges.push({ from, to })
      }
      return { kind: 'resend-request', epoch: readEpoch(view, 4), ranges }
    }
    case RESEND_REFUSED: {
      const oldest = endsAt(bytes, 20) ? readCounter(view, 12) : undefined
      return oldest === undefined ? undefined : { kind: 'resend-refused', epoch: readEpoch(view, 4), oldest }
    }
    case CONFIRMATION: {
      const sequence = endsAt(bytes, 20) ? readCounter(view, 12) : undefined
      return sequence === undefined ? undefined : { kind: 'confirmation', epoch: readEpoch(view, 4), sequence }
    }
    case SNAPSHOT_REQUEST:
      if (!endsAt(bytes, 12) || count === 0) return undefined
      return { kind: 'snapshot-request', id: view.getUint32(4), from: view.getUint32(8), pieces: count }
    case SNAPSHOT_HEADER: {
      const end = 12 + count * POSITION_LENGTH
      if (count > MAX_POSITIONS || !endsAt(bytes, end)) return undefined
      const positions: Position[] = []
      for (let at = 12; at < end; at += POSITION_LENGTH) {
        const position = readPosition(view, at)
        if (!position) return undefined
        positions.push(position)
      }
      return { kind: 'snapshot-header', id: view.getUint32(4), slots: view.getUint32(8), positions }
    }
    case SNAPSHOT_PIECE: {
      const block = readBlock(bytes, PIECE_HEADER_LENGTH, isLater(bytes[0]))
      if (!block) return undefined
      const last = (count & FLAG_LAST) !== 0
      return { kind: 'snapshot-piece', id: view.getUint32(4), next: view.getUint32(8), last, block }
    }
    case SNAPSHOT_REFUSED:
      return { kind: 'snapshot-refused', id: view.getUint32(4) }
    default:
      return undefined
  }
}

function numberOf(kind: number, epoch: Epoch, sequence: number): Uint8Array {
  const view = start(kind, 0, 20)
  writeEpoch(view, 4, epoch)
  writeCounter(view, 12, sequence)
  return bytesOf(view)
}

function start(kind: number, count: number, length: number): DataView {
  const view = new DataView(new ArrayBuffer(length))
  view.setUint8(0, FORMAT_VERSION)
  view.setUint8(1, kind)
  view.setUint16(2, count)
  return view
}

function bytesOf(view: DataView): Uint8Array {
  return new Uint8Array(view.buffer, view.byteOffset, view.byteLength)
}
