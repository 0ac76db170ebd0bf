/** A connection table of records, and the checkpoints of a director that has it, for tests of either store. */
import type { CheckpointReport } from '../../../../node/director/checkpoint/checkpoint-reader.ts'
import { Checkpoints, type CheckpointsOptions } from '../../../../node/director/checkpoint/checkpoints.ts'
import type { Instant } from '../../../../node/director/checkpoint/instant.ts'
import { systemClock } from '../../../../node/director/clock.ts'
import type { ConnectionSource } from '../../../../node/director/cluster/replication/snapshot-server.ts'
import type { Store } from '../../../../node/director/store/store.ts'
import { RECORD, RECORD_CALL, RECORD_LENGTH, RECORD_RESTORED } from '../../../../protocol/wire/connection-record.ts'
import { makeRecord } from '../cluster/record.ts'

/** 900 s are left to it. Every third one is of IPv6. */
export function makeConnection(n: number, leftMs = 900_000): Uint8Array {
  const record = makeRecord(n, 1)
  new DataView(record.buffer).setUint32(RECORD.timeoutMs, leftMs)
  if (n % 3 === 0) record.fill(0x20, RECORD.clientAddress, RECORD.clientAddress + 12)
  return record
}

/** What describes a call stands behind its template. */
export function makeCallPiece(n: number): Uint8Array {
  const record = makeRecord(n, 1)
  record[RECORD.protocol] = RECORD_CALL
  return record
}

/** As a restored connection comes back. */
export function restored(record: Uint8Array, leftMs: number): Uint8Array {
  const copy = record.slice()
  const view = new DataView(copy.buffer)
  if (copy[RECORD.protocol] === RECORD_CALL) return copy
  view.setUint32(RECORD.timeoutMs, leftMs)
  view.setUint16(RECORD.flags, RECORD_RESTORED)
  return copy
}

export function tableOf(records: readonly Uint8Array[]): ConnectionSource {
  return {
    get capacity() {
      return records.length
    },
    encodeRange(from, count, target, offset) {
      const some = records.slice(from, from + count)
      for (const [index, record] of some.entries()) target.set(record, offset + index * RECORD_LENGTH)
      return some.length
    },
  }
}

export const START: Instant = { wallMs: 1_800_000_000_000, monotonicMs: 5_000_000, boot: 'one' }

export function later(ms: number): Instant {
  return { ...START, wallMs: START.wallMs + ms, monotonicMs: START.monotonicMs + ms }
}

/** The checkpoints of a director with this table, at an instant. */
export function checkpointsOf(
  store: Store,
  records: readonly Uint8Array[],
  options: Partial<CheckpointsOptions> = {},
): Checkpoints {
  return new Checkpoints({
    store,
    source: tableOf(records),
    clock: systemClock,
    instant: () => START,
    intervalMs: 1_000_000,
    isWhole: () => true,
    onRead: () => {},
    onTrouble: (error) => {
      throw error
    },
    ...options,
  })
}

export interface Restored {
  readonly records: Uint8Array[]
  readonly report: CheckpointReport | 'unreadable' | undefined
}

/** What a director that starts at this instant finds. */
export async function restore(store: Store, instant: Instant): Promise<Restored> {
  let report: Restored['report']
  const onRead = (read: Restored['report']) => {
    report = read
  }
  const checkpoints = checkpointsOf(store, [], { instant: () => instant, onRead })
  await checkpoints.load()
  const records: Uint8Array[] = []
  for (let piece = await checkpoints.next(); piece; piece = await checkpoints.next())
    for (let at = 0; at < piece.length; at += RECORD_LENGTH) records.push(piece.slice(at, at + RECORD_LENGTH))
  return { records, report }
}
