/**
 * A checkpoint of the connection table as the store keeps it: chunks of records, and a head that says which of them count.
 *
 * ```
 * checkpoint/head        CheckpointHead, MessagePack
 * checkpoint/0/000000    chunks of the checkpoints with even numbers
 * checkpoint/1/000000    and of those with odd ones
 *
 * a chunk:
 *  0        4
 * +--------+---------------------------------+
 * | number | protocol/wire/record-block.ts   |
 * +--------+---------------------------------+
 * ```
 *
 * A checkpoint's chunks are written while those of the last one are still there. Then, in one step, its head takes the place of the last
 * one and the last one's chunks go: at every instant one checkpoint is whole. That a value is whole, the store proves
 * (store/sealed-value.ts). The number shows that a chunk is of this checkpoint, and not an older one under the same key, as a damaged store may
 * have given back.
 * Version rule: of a head of another version nothing is read; fields may be added to this one. Blocks of records: as on the wire.
 */
import { z } from 'zod'
import { pack, unpack } from '../../../protocol/message-pack.ts'
import { type RecordBlock, readBlock } from '../../../protocol/wire/record-block.ts'
import type { Store, StoreOperation } from '../store/store.ts'
import type { Instant } from './instant.ts'

const VERSION = 1
const PREFIX = 'checkpoint/'
export const HEAD_KEY = `${PREFIX}head`
/** The block starts here. */
export const CHUNK_HEADER_LENGTH = 4
export const CHUNK_BYTES = 128 * 1024

export interface CheckpointHead {
  /** Of this director's checkpoints, counted from 1; 32 bits. */
  readonly number: number
  readonly chunks: number
  readonly records: number
  /** When it was begun: its records' timeouts run from then on. */
  readonly begunAt: Instant
}

const schema = z.object({
  version: z.literal(VERSION),
  number: z.int().min(0).max(0xffffffff),
  chunks: z.int().min(0).max(999_999),
  records: z.int().min(0),
  begunAt: z.object({ wallMs: z.number(), monotonicMs: z.number(), boot: z.string() }),
})

export function encodeHead(head: CheckpointHead): Uint8Array {
  return pack({ version: VERSION, ...head })
}

/** Undefined when the bytes are no head of this version. */
export function parseHead(bytes: Uint8Array): CheckpointHead | undefined {
  try {
    const { data } = schema.safeParse(unpack(bytes))
    return data && { number: data.number, chunks: data.chunks, records: data.records, begunAt: data.begunAt }
  } catch {
    return undefined
  }
}

export function chunkKey(number: number, chunk: number): string {
  return `${PREFIX}${number & 1}/${String(chunk).padStart(6, '0')}`
}

/** Undefined when the bytes are no chunk of the checkpoint with this number. */
export function parseChunk(bytes: Uint8Array, number: number): RecordBlock | undefined {
  if (bytes.length < CHUNK_HEADER_LENGTH) return undefined
  const found = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0)
  return found === number ? readBlock(bytes, CHUNK_HEADER_LENGTH) : undefined
}

export function removalOfChunks({ number, chunks }: CheckpointHead): StoreOperation[] {
  return Array.from({ length: chunks }, (_, chunk) => ({ type: 'delete', key: chunkKey(number, chunk) }))
}

/** For a director that is to have no checkpoint. */
export async function removeCheckpoint(store: Store): Promise<void> {
  const kept = await Array.fromAsync(store.iterate(PREFIX), ([key]) => key)
  if (kept.length > 0) await store.batch(kept.map((key) => ({ type: 'delete', key })))
}
