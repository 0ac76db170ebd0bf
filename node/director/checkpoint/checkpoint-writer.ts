/** Writes a checkpoint of the connection table to the store, chunk by chunk, while forwarding and everything else goes on. */
import { RECORD_LENGTH } from '../../../protocol/wire/connection-record.ts'
import { RecordBlockWriter } from '../../../protocol/wire/record-block.ts'
import type { Clock } from '../clock.ts'
import type { ConnectionSource } from '../cluster/replication/snapshot-server.ts'
import { walkTable } from '../cluster/replication/table-walk.ts'
import type { Store, StoreOperation } from '../store/store.ts'
import {
  CHUNK_BYTES,
  CHUNK_HEADER_LENGTH,
  type CheckpointHead,
  chunkKey,
  encodeHead,
  HEAD_KEY,
  removalOfChunks,
} from './checkpoint-format.ts'
import type { Instant } from './instant.ts'

/** What of a larger table comes last is left out: some 34 MB of IPv4 connections are enough for a disk. */
export const CHECKPOINT_RECORDS_MAX = 1_000_000

export interface CheckpointSubject {
  readonly store: Store
  readonly source: ConnectionSource
  readonly clock: Clock
  readonly begunAt: Instant
  /** The checkpoint whose place this one takes. */
  readonly previous: CheckpointHead | undefined
  /** Asked all the time: false ends it, and the previous one stays. */
  readonly isWanted: () => boolean
}

/** @returns undefined when it was not wanted any more; throws as the store does, and the previous one stays */
export async function writeCheckpoint(subject: CheckpointSubject): Promise<CheckpointHead | undefined> {
  const { store, source, clock, begunAt, previous, isWanted } = subject
  const number = ((previous?.number ?? 0) + 1) >>> 0
  const bytes = new Uint8Array(CHUNK_BYTES)
  const writer = new RecordBlockWriter(bytes, CHUNK_HEADER_LENGTH)
  let chunks = 0
  let records = 0
  const flush = async () => {
    writer.finish()
    new DataView(bytes.buffer).setUint32(0, number)
    await store.put(chunkKey(number, chunks++), bytes.subarray(0, writer.end))
    // With room left it was the record that did not suit an IPv4 block: the next one takes any.
    writer.reset(writer.end + RECORD_LENGTH <= bytes.length)
  }
  let view: DataView | undefined
  await walkTable(source, clock, (record, at) => {
    if (!isWanted() || records === CHECKPOINT_RECORDS_MAX) return false
    view ??= new DataView(record.buffer)
    const from = view
    records++
    return writer.add(from, at) || flush().then(() => writer.add(from, at))
  })
  if (!isWanted()) return undefined
  if (writer.count > 0) await flush()
  const head: CheckpointHead = { number, chunks, records, begunAt }
  await store.batch([
    { type: 'put', key: HEAD_KEY, value: encodeHead(head) },
    ...(previous ? removalOfChunks(previous) : []),
    ...(await leftovers(store, head)),
  ])
  return head
}

/** Chunks of an attempt that came to no end, behind those that have been written over. */
async function leftovers(store: Store, { number, chunks }: CheckpointHead): Promise<StoreOperation[]> {
  const operations: StoreOperation[] = []
  for (let chunk = chunks; await store.get(chunkKey(number, chunk)); chunk++)
    operations.push({ type: 'delete', key: chunkKey(number, chunk) })
  return operations
}
