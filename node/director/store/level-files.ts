/**
 * All that is in a LevelDB folder, read without LevelDB and without changing anything, and what is damaged in it.
 *
 * LevelDB makes a fresh store where its CURRENT file is missing, drops damaged records of its log, believes damaged tables, and
 * with a manifest that was cut short removes the tables that it does not know any more: all of that without a word.
 *
 * ```
 * 000003.log  write-ahead log; a record is a batch: sequence number of the first change (8 LE), their number (4 LE), and for
 *             each 1, key, value or 0, key (both behind their lengths)
 * 000005.ldb  table; behind each key are 1 or 0 as above (1) and the sequence number (7 LE)
 * ```
 * Of several versions of a key the one with the greatest sequence number counts. Tables that the manifest does not name are left
 * over from a compaction that was interrupted, or is over: they have nothing that the others have not, unless the manifest was cut short.
 *
 * Source: LevelDB doc/impl.md, db/write_batch.cc, db/dbformat.h.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { ByteReader } from './byte-reader.ts'
import { readManifest } from './manifest.ts'
import { isSealed, unseal } from './sealed-value.ts'
import { blockEntries, readTable } from './sorted-table.ts'
import { readLog } from './write-ahead-log.ts'

const TABLE_NAME = /^(\d+)\.(?:ldb|sst)$/
const LOG_NAME = /^(\d+)\.log$/
/** Of a store that is being made: nothing has been written to it yet, and CURRENT is not there yet. */
const FIRST_MANIFEST = 'MANIFEST-000001'
const BATCH_COUNT_BYTES = 4
const KEY_TRAILER_BYTES = 8
const SEQUENCE_BYTES = 7
const PUT = 1

export interface FolderContents {
  /** What is sound, the newest of each key. */
  readonly values: ReadonlyMap<string, Uint8Array>
  /** One line for each damage; none: `values` is all that was written. */
  readonly damages: readonly string[]
  /** Keys, as far as they can be read, of values that are not whole. */
  readonly broken: ReadonlySet<string>
}

/** @throws the system's error when a file cannot be read */
export function readFolder(folder: string): FolderContents {
  const files = readdirSync(folder)
  const [tables, logs] = [numbered(files, TABLE_NAME), numbered(files, LOG_NAME)]
  const read = (name: string) => readFileSync(join(folder, name))
  const damages: string[] = []
  const contents = new Contents()
  if (!files.includes('CURRENT')) {
    const isUsed = files.some((name) => name.startsWith('MANIFEST-') && name !== FIRST_MANIFEST)
    if (isUsed || tables.size + logs.size > 0) damages.push('its file CURRENT is missing')
  }
  const found = files.includes('CURRENT') ? readManifest(folder, files) : undefined
  if (typeof found === 'string') damages.push(found)
  const manifest = typeof found === 'string' ? undefined : found
  const isNamed = (table: number) => manifest?.tables.has(table) ?? true

  for (const [number, name] of tables) if (isNamed(number)) damages.push(...contents.takeTable(name, read(name)))
  for (const [number, name] of logs) {
    const isLive = !manifest || number >= manifest.log || number === manifest.previousLog
    if (isLive) damages.push(...contents.takeLog(name, read(name)))
  }
  for (const number of manifest?.tables ?? []) if (!tables.has(number)) damages.push(`table ${number} is missing`)
  if (manifest && manifest.log > 0 && !logs.has(manifest.log)) damages.push(`log ${manifest.log} is missing`)

  // A manifest that was cut short names files that are gone, and not those that came instead.
  const unnamed = damages.length > 0 ? tables.entries().filter(([number]) => !isNamed(number)) : []
  for (const [, name] of unnamed) contents.takeTable(name, read(name))
  return { values: contents.values(), damages, broken: contents.broken }
}

/** Oldest first. */
function numbered(files: readonly string[], pattern: RegExp): Map<number, string> {
  const found = files.flatMap((name) => {
    const [, number] = pattern.exec(name) ?? []
    return number === undefined ? [] : [[Number(number), name] as const]
  })
  return new Map(found.sort(([a], [b]) => a - b))
}

interface Version {
  readonly key: string
  readonly sequence: number
  /** As it is kept; undefined: the key was deleted. */
  readonly kept: Uint8Array | undefined
}

class Contents {
  readonly broken = new Set<string>()
  readonly #newest = new Map<string, Version>()

  values(): Map<string, Uint8Array> {
    const values = new Map<string, Uint8Array>()
    for (const { key, kept } of this.#newest.values()) {
      const value = kept && unseal(key, kept)
      if (value) values.set(key, value)
    }
    return values
  }

  /** @returns what is damaged */
  takeTable(name: string, file: Uint8Array): string[] {
    const damages: string[] = []
    for (const { at, contents, kind } of readTable(file)) {
      if (kind === 'damaged') damages.push(`${name} is damaged at byte ${at}`)
      for (const version of tableVersions(contents)) {
        if (isSound(version, kind !== 'damaged')) this.#take(version)
        else if (kind !== 'found') this.broken.add(version.key)
        if (kind === 'whole' && !isSound(version, true)) damages.push(describe(name, version))
      }
    }
    return damages
  }

  /** @returns what is damaged */
  takeLog(name: string, log: Uint8Array): string[] {
    const { records, damagedAt } = readLog(log)
    const damages = damagedAt === undefined ? [] : [`${name} is damaged at byte ${damagedAt}`]
    for (const { data, isWhole } of records) {
      for (const version of batchVersions(data)) {
        if (isSound(version, isWhole)) this.#take(version)
        else this.broken.add(version.key)
        if (isWhole && !isSound(version, true)) damages.push(describe(name, version))
      }
    }
    return damages
  }

  #take(version: Version): void {
    if (version.sequence >= (this.#newest.get(version.key)?.sequence ?? 0)) this.#newest.set(version.key, version)
  }
}

/** A value proves itself. That a key was deleted is believed where a checksum says so. */
function isSound({ key, kept }: Version, isWhole: boolean): boolean {
  return kept ? isSealed(key, kept) : isWhole
}

function describe(name: string, { key }: Version): string {
  return `${name}: the value of ${JSON.stringify(key)} is damaged`
}

function* tableVersions(block: Uint8Array): Generator<Version> {
  for (const [keyAndTrailer, kept] of blockEntries(block)) {
    if (keyAndTrailer.length < KEY_TRAILER_BYTES) continue
    const trailer = new ByteReader(keyAndTrailer.subarray(-KEY_TRAILER_BYTES))
    const isPut = trailer.byte() === PUT
    const key = textOf(keyAndTrailer.subarray(0, -KEY_TRAILER_BYTES))
    yield { key, sequence: trailer.fixed(SEQUENCE_BYTES), kept: isPut ? kept : undefined }
  }
}

/** Ends before the first change that cannot be right. */
function* batchVersions(batch: Uint8Array): Generator<Version> {
  const reader = new ByteReader(batch)
  try {
    let sequence = reader.fixed(SEQUENCE_BYTES + 1)
    for (reader.take(BATCH_COUNT_BYTES); reader.left > 0; sequence++) {
      const isPut = reader.byte() === PUT
      yield { key: textOf(reader.string()), sequence, kept: isPut ? reader.string() : undefined }
    }
  } catch (error) {
    if (!(error instanceof RangeError)) throw error
  }
}

function textOf(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('utf8')
}
