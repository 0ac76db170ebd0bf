/**
 * The store on disk: a LevelDB folder that one process holds.
 *
 * LevelDB checks no checksum when it reads, makes a fresh store where its CURRENT file is missing, and drops damaged records of
 * its log. So open() looks at these first and then reads everything once: a director that starts has its configuration whole,
 * or says which folder is damaged. A value is kept behind the CRC-32 of key and value (4 bytes, big endian).
 *
 * Source: LevelDB doc/impl.md; abstract-level for the error codes.
 */
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { crc32 } from 'node:zlib'
import { Level } from 'level'
import { DirectorError, type ErrorCode } from '../../../protocol/errors.ts'
import { startPace } from '../pace.ts'
import { makePrivateFolder } from './private-folder.ts'
import type { Store, StoreOperation } from './store.ts'
import { damagedRecord } from './write-ahead-log.ts'

const CHECKSUM_BYTES = 4
const DURABLE = { sync: true }

export class LevelStore implements Store {
  readonly folder: string
  #database: Level<string, Uint8Array> | undefined

  /** @param folder made when it is missing, for its owner alone */
  constructor(folder: string) {
    this.folder = folder
  }

  async open(): Promise<void> {
    if (this.#database) throw new DirectorError('STORE_LOCKED', `${this.folder}: this process has opened it already`)
    try {
      makePrivateFolder(this.folder)
    } catch (error) {
      throw this.#failure(error, 'cannot be made')
    }
    const database = new Level<string, Uint8Array>(this.folder, { keyEncoding: 'utf8', valueEncoding: 'view' })
    try {
      this.#inspectFiles()
      await database.open()
      for await (const [key, kept] of database.iterator()) this.#unseal(key, kept)
    } catch (error) {
      await database.close()
      throw this.#failure(error, 'cannot be opened')
    }
    this.#database = database
  }

  async close(): Promise<void> {
    const database = this.#database
    this.#database = undefined
    await database?.close()
  }

  async get(key: string): Promise<Uint8Array | undefined> {
    const kept = await this.#attempt('cannot be read', (database) => database.get(key))
    return kept && this.#unseal(key, kept)
  }

  async put(key: string, value: Uint8Array): Promise<void> {
    await this.#attempt('cannot be written', (database) => database.put(key, seal(key, value), DURABLE))
  }

  async delete(key: string): Promise<void> {
    await this.#attempt('cannot be written', (database) => database.del(key, DURABLE))
  }

  async batch(operations: readonly StoreOperation[]): Promise<void> {
    await this.#attempt('cannot be written', async (database) => {
      const pace = startPace()
      const batch = database.batch()
      for (const operation of operations) {
        if (operation.type === 'put') batch.put(operation.key, seal(operation.key, operation.value))
        else batch.del(operation.key)
        await pace()
      }
      await batch.write(DURABLE)
    })
  }

  async *iterate(prefix: string): AsyncIterable<readonly [string, Uint8Array]> {
    const iterator = await this.#attempt('cannot be read', async (database) => database.iterator({ gte: prefix }))
    try {
      for await (const [key, kept] of iterator) {
        if (!key.startsWith(prefix)) return
        yield [key, this.#unseal(key, kept)]
      }
    } catch (error) {
      throw this.#failure(error, 'cannot be read')
    }
  }

  async #attempt<T>(what: string, action: (database: Level<string, Uint8Array>) => Promise<T>): Promise<T> {
    if (!this.#database) throw new DirectorError('STORE_FAILED', `${this.folder}: the store is not open`)
    try {
      return await action(this.#database)
    } catch (error) {
      throw this.#failure(error, what)
    }
  }

  #inspectFiles(): void {
    const files = readdirSync(this.folder)
    if (files.some((file) => /^MANIFEST-|\.ldb$/.test(file)) && !files.includes('CURRENT')) {
      throw this.#corrupt('its file CURRENT is missing')
    }
    for (const file of files.filter((name) => name.endsWith('.log'))) {
      const offset = damagedRecord(readFileSync(join(this.folder, file)))
      if (offset !== undefined) throw this.#corrupt(`${file} is damaged at byte ${offset}`)
    }
  }

  #unseal(key: string, kept: Uint8Array): Uint8Array {
    const value = kept.slice(CHECKSUM_BYTES)
    if (kept.length < CHECKSUM_BYTES || readChecksum(kept) !== checksum(key, value)) {
      throw this.#corrupt(`the value of ${JSON.stringify(key)} is damaged`)
    }
    return value
  }

  #corrupt(detail: string, cause?: unknown): DirectorError {
    const remedy = 'move the folder away and start again, and the director takes the configuration from its peers'
    return new DirectorError(
      'STORE_CORRUPT',
      `${this.folder}: the store is damaged (${detail}): restore it from a backup, or ${remedy}; its identity is kept there too`,
      { cause },
    )
  }

  #failure(error: unknown, what: string): DirectorError {
    if (error instanceof DirectorError) return error
    // abstract-level wraps the reason why a database did not open.
    const reason = ((error as Error).cause ?? error) as NodeJS.ErrnoException
    const detail = reason.message.split('\n')[0]
    if (reason.code === 'LEVEL_LOCKED') return new DirectorError('STORE_LOCKED', this.#lockMessage(), { cause: error })
    if (reason.code === 'LEVEL_CORRUPTION' || /No such file|Invalid argument/.test(detail)) {
      return this.#corrupt(detail, error)
    }
    const code: ErrorCode = 'STORE_FAILED'
    const hint = 'free or mount what is missing, or name another folder in `store`'
    return new DirectorError(code, `${this.folder}: the store ${what}: ${detail}: ${hint}`, { cause: error })
  }

  #lockMessage(): string {
    const holder = lockHolder(join(this.folder, 'LOCK'))
    const who = holder === undefined ? 'another process, probably a director,' : `process ${holder}`
    return `${this.folder}: the store is held by ${who}: stop it, or name another folder in \`store\``
  }
}

function checksum(key: string, value: Uint8Array): number {
  return crc32(value, crc32(key))
}

function readChecksum(kept: Uint8Array): number {
  return new DataView(kept.buffer, kept.byteOffset).getUint32(0)
}

function seal(key: string, value: Uint8Array): Uint8Array {
  const kept = new Uint8Array(CHECKSUM_BYTES + value.length)
  new DataView(kept.buffer).setUint32(0, checksum(key, value))
  kept.set(value, CHECKSUM_BYTES)
  return kept
}

/** Process that holds a lock on the file, from /proc/locks: `1: POSIX ADVISORY WRITE 4711 08:01:131 0 EOF`. */
function lockHolder(file: string): string | undefined {
  try {
    const { ino } = statSync(file)
    const line = readFileSync('/proc/locks', 'utf8')
      .split('\n')
      .find((text) => text.trim().split(/\s+/)[5]?.endsWith(`:${ino}`))
    const pid = line?.trim().split(/\s+/)[4]
    if (!pid) return undefined
    // Its arguments, one line of them: the name alone is "node" or a thread's.
    const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8')
      .replaceAll(/[\0\s]+/g, ' ')
      .trim()
    return `${pid} (${command.slice(0, 100)})`
  } catch {
    return undefined
  }
}
