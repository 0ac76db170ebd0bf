/**
 * LevelDB's manifest: which tables a store has, and from which log on its changes are in none of them.
 *
 * ```
 * CURRENT          "MANIFEST-000004\n"
 * MANIFEST-000004  log (write-ahead-log.ts) of edits; an edit is fields, each a tag and varints or bytes behind their length
 * ```
 * Source: LevelDB doc/impl.md, db/version_edit.cc.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { ByteReader } from './byte-reader.ts'
import { readLog } from './write-ahead-log.ts'

export interface Manifest {
  /** By their numbers. */
  readonly tables: ReadonlySet<number>
  /** The first one that counts, and one before it that does too; 0: none. */
  readonly log: number
  readonly previousLog: number
}

interface Edited {
  readonly tables: Set<number>
  log: number
  previousLog: number
}

/** By tag. */
const fields: Readonly<Record<number, (reader: ByteReader, edited: Edited) => void>> = {
  /** Order of the keys. */
  1: (reader) => reader.string(),
  2: (reader, edited) => {
    edited.log = reader.varint()
  },
  /** Next file number, last sequence number. */
  3: (reader) => reader.varint(),
  4: (reader) => reader.varint(),
  /** Where the compaction of a level goes on. */
  5: (reader) => {
    reader.varint()
    reader.string()
  },
  /** Level and number of a table that is none any more. */
  6: (reader, { tables }) => {
    reader.varint()
    tables.delete(reader.varint())
  },
  /** Level, number, length, smallest and greatest key of a new one. */
  7: (reader, { tables }) => {
    reader.varint()
    tables.add(reader.varint())
    reader.varint()
    reader.string()
    reader.string()
  },
  9: (reader, edited) => {
    edited.previousLog = reader.varint()
  },
}

/**
 * @param files of the folder, among them CURRENT
 * @returns or what is wrong with it
 */
export function readManifest(folder: string, files: readonly string[]): Manifest | string {
  const [, name] = /^(MANIFEST-\d+)\n$/.exec(readFileSync(join(folder, 'CURRENT'), 'latin1')) ?? []
  if (name === undefined) return 'its file CURRENT is damaged'
  if (!files.includes(name)) return `${name} is missing`
  return decodeManifest(readFileSync(join(folder, name))) ?? `${name} is damaged`
}

function decodeManifest(bytes: Uint8Array): Manifest | undefined {
  const { records, damagedAt } = readLog(bytes)
  if (damagedAt !== undefined || records.length === 0) return undefined
  const edited: Edited = { tables: new Set(), log: Number.NaN, previousLog: 0 }
  try {
    for (const { data } of records) {
      const reader = new ByteReader(data)
      while (reader.left > 0) {
        const read = fields[reader.varint()]
        if (!read) return undefined
        read(reader, edited)
      }
    }
  } catch (error) {
    if (error instanceof RangeError) return undefined
    throw error
  }
  return Number.isNaN(edited.log) ? undefined : edited
}
