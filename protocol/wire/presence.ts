/**
 * What a director says of itself and of how far it has followed the others, several times a second. Big endian.
 *
 * ```
 *  0         1       2              4             6     8         16           24          32       36          40
 * +---------+-------+--------------+-------------+-----+---------+------------+-----------+--------+-----------+
 * | version | flags | entry length | entry count |  0  | epoch   | sequence   | records   | lost   | sent at ms|
 * +---------+-------+--------------+-------------+-----+---------+------------+-----------+--------+-----------+
 * then, for each sender it follows:
 *  0         8            16          24           28         32
 * +---------+------------+-----------+------------+----------+
 * | epoch   | sequence   | records   | any        | heard ms |
 * +---------+------------+-----------+------------+----------+
 * ```
 *
 * flags: 1 joined (its table holds what the pool knows), 2 in sync (and it misses nothing), 4 full (its table has no room for all that it is told:
 * it confirms nothing).
 * Head: `sequence` and `records` are its last batch and the records up to it; `lost` counts records that never were in a batch.
 * Entry: everything up to `sequence` is applied, `records` counts all that is, and `heard` echoes `sent at` of the newest
 * presence; 0: none is known. `any` was that of the newest batch, which nobody reads.
 * A director is known here by its epoch: a restarted one is another one.
 * Version rule: format-version.ts. Entry length says where the next entry starts; fields of the head are added behind the last entry.
 */
import { endsAt, FORMAT_VERSION, isReadable } from './format-version.ts'
import { type Epoch, readCounter, readEpoch, writeCounter, writeEpoch } from './record-batch.ts'

const HEADER_LENGTH = 40
const ENTRY_LENGTH = 32
const FLAG_JOINED = 1
const FLAG_IN_SYNC = 2
const FLAG_FULL = 4
/** More than a pool has directors. */
const MAX_ENTRIES = 256

export interface Position {
  readonly epoch: Epoch
  /** All batches up to this one. */
  readonly sequence: number
  /** Records. */
  readonly records: number
}

export interface AppliedPosition extends Position {
  readonly heardMs: number
}

export interface Presence extends Position {
  readonly joined: boolean
  readonly inSync: boolean
  readonly full: boolean
  readonly lost: number
  readonly sentAtMs: number
  readonly applied: readonly AppliedPosition[]
}

export function encodePresence(presence: Presence): Uint8Array {
  const bytes = new Uint8Array(HEADER_LENGTH + presence.applied.length * ENTRY_LENGTH)
  const view = new DataView(bytes.buffer)
  view.setUint8(0, FORMAT_VERSION)
  const { joined, inSync, full } = presence
  view.setUint8(1, (joined ? FLAG_JOINED : 0) | (inSync ? FLAG_IN_SYNC : 0) | (full ? FLAG_FULL : 0))
  view.setUint16(2, ENTRY_LENGTH)
  view.setUint16(4, presence.applied.length)
  writePosition(view, 8, presence)
  view.setUint32(32, presence.lost >>> 0)
  view.setUint32(36, presence.sentAtMs >>> 0)
  presence.applied.forEach((entry, index) => {
    const at = HEADER_LENGTH + index * ENTRY_LENGTH
    writePosition(view, at, entry)
    view.setUint32(at + 28, entry.heardMs >>> 0)
  })
  return bytes
}

/** Undefined for anything that is not a well-formed presence. */
export function parsePresence(bytes: Uint8Array): Presence | undefined {
  if (bytes.length < HEADER_LENGTH || !isReadable(bytes[0])) return undefined
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const entryLength = view.getUint16(2)
  const count = view.getUint16(4)
  if (entryLength < ENTRY_LENGTH || count > MAX_ENTRIES) return undefined
  const end = HEADER_LENGTH + count * entryLength
  if (!endsAt(bytes, end)) return undefined
  const head = readPosition(view, 8)
  if (!head) return undefined
  const applied: AppliedPosition[] = []
  for (let at = HEADER_LENGTH; at < end; at += entryLength) {
    const position = readPosition(view, at)
    if (!position) return undefined
    applied.push({ ...position, heardMs: view.getUint32(at + 28) })
  }
  const flags = view.getUint8(1)
  return {
    ...head,
    joined: (flags & FLAG_JOINED) !== 0,
    inSync: (flags & FLAG_IN_SYNC) !== 0,
    full: (flags & FLAG_FULL) !== 0,
    lost: view.getUint32(32),
    sentAtMs: view.getUint32(36),
    applied,
  }
}

/** Bytes of a position on the wire. */
export const POSITION_LENGTH = 24

export function writePosition(view: DataView, offset: number, position: Position): void {
  writeEpoch(view, offset, position.epoch)
  writeCounter(view, offset + 8, position.sequence)
  writeCounter(view, offset + 16, position.records)
}

export function readPosition(view: DataView, offset: number): Position | undefined {
  const sequence = readCounter(view, offset + 8)
  const records = readCounter(view, offset + 16)
  if (sequence === undefined || records === undefined) return undefined
  return { epoch: readEpoch(view, offset), sequence, records }
}
