/**
 * The store on disk: a LevelDB folder that one process holds.
 *
 * A folder is opened when all of its files are sound (level-files.ts), so that what this store has is all that was written.
 * LevelDB takes no change, or loses later ones, once a write to its log has failed; so after a failure it is opened anew, and what
 * the refused change may have left in the log is taken back. So is a change that was refused because the disk hung, when it has been
 * written after all.
 *
 * Source: LevelDB doc/impl.md, db/db_impl.cc Write(); abstract-level for the error codes.
 */
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { open, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { Level } from 'level'
import { DirectorError } from '../../../protocol/errors.ts'
import { startPace } from '../pace.ts'
import { DiskAnswers } from './disk-answers.ts'
import { readFolder } from './level-files.ts'
import { makePrivateFolder } from './private-folder.ts'
import { seal, unseal } from './sealed-value.ts'
import type { Store, StoreOperation } from './store.ts'

export type Database = Level<string, Uint8Array>

const DURABLE = { sync: true }
/** Written and removed, to see whether there is room. */
const ROOM_FILE = 'ROOM'
/** What LevelDB writes when it is opened, besides what is in its log. */
const OPENING_BYTES = 64 * 1024
/** What LevelDB may be writing into tables when it is closed: as much as a store has. */
const CLOSING_BYTES = 128 * 1024 * 1024

export class LevelStore implements Store {
  readonly folder: string
  readonly #onTrouble: (error: Error | undefined) => void
  readonly #createDatabase: (folder: string) => Database
  readonly #disk: DiskAnswers
  #database: Database | undefined
  /** The end of the queue in which changes are written one after the other. */
  #last: Promise<unknown> = Promise.resolve()
  /** What may have changed although it was refused: as it was before, by key. */
  #doubtful: ReadonlyMap<string, Uint8Array | undefined> | undefined
  #isTroubled = false

  /**
   * @param folder made when it is missing, for its owner alone
   * @param onTrouble told once of writes that fail, and once, with undefined, that they work again
   */
  constructor(
    folder: string,
    onTrouble: (error: Error | undefined) => void = () => {},
    createDatabase = createLevel,
    disk = new DiskAnswers(),
  ) {
    this.folder = folder
    this.#onTrouble = onTrouble
    this.#createDatabase = createDatabase
    this.#disk = disk
  }

  async open(): Promise<void> {
    if (this.#database) throw new DirectorError('STORE_LOCKED', `${this.folder}: this process has opened it already`)
    try {
      makePrivateFolder(this.folder)
    } catch (error) {
      throw this.#failure(error, 'cannot be made')
    }
    try {
      await demandUnlocked(this.folder)
      const [damage] = readFolder(this.folder).damages
      if (damage !== undefined) throw this.#corrupt(damage)
      // Not made any earlier: it opens by itself.
      const database = this.#createDatabase(this.folder)
      await database.open()
      this.#database = database
    } catch (error) {
      throw this.#failure(error, 'cannot be opened')
    }
  }

  close(): Promise<void> {
    return this.#inTurn(async () => {
      // A refused change must not be there at the next start. If that cannot be helped now, its end is cut off most likely.
      await this.#settle().catch(() => undefined)
      const database = this.#database
      this.#database = undefined
      this.#doubtful = undefined
      // Behind whatever hangs; only the waiting has an end.
      const closed = database?.close()
      closed?.catch(() => undefined)
      await this.#disk.wait(async () => closed, CLOSING_BYTES)
    })
  }

  async get(key: string): Promise<Uint8Array | undefined> {
    const kept = await this.#attempt('cannot be read', (database) => this.#disk.wait(() => database.get(key)))
    return kept && this.#unseal(key, kept)
  }

  put(key: string, value: Uint8Array): Promise<void> {
    return this.batch([{ type: 'put', key, value }])
  }

  delete(key: string): Promise<void> {
    return this.batch([{ type: 'delete', key }])
  }

  batch(operations: readonly StoreOperation[]): Promise<void> {
    return this.#inTurn(() =>
      this.#attempt('cannot be written', async (database) => {
        try {
          this.#disk.demand()
          await this.#settle()
          await this.#write(database, operations)
        } catch (error) {
          if (!this.#isTroubled) this.#onTrouble(this.#failure(error, 'cannot be written'))
          this.#isTroubled = true
          throw error
        }
        if (this.#isTroubled) this.#onTrouble(undefined)
        this.#isTroubled = false
      }),
    )
  }

  async *iterate(prefix: string): AsyncIterable<readonly [string, Uint8Array]> {
    const iterator = await this.#attempt('cannot be read', (database) =>
      this.#disk.wait(async () => database.iterator({ gte: prefix })),
    )
    try {
      for (;;) {
        const [key, kept] = (await this.#disk.wait(() => iterator.next())) ?? []
        if (key === undefined || kept === undefined || !key.startsWith(prefix)) return
        yield [key, this.#unseal(key, kept)]
      }
    } catch (error) {
      throw this.#failure(error, 'cannot be read')
    } finally {
      // When what hangs has an answer.
      void iterator.close().catch(() => undefined)
    }
  }

  async #attempt<T>(what: string, action: (database: Database) => Promise<T>): Promise<T> {
    if (!this.#database) throw new DirectorError('STORE_FAILED', `${this.folder}: the store is not open`)
    try {
      return await action(this.#database)
    } catch (error) {
      throw this.#failure(error, what)
    }
  }

  #inTurn<T>(task: () => Promise<T>): Promise<T> {
    const done = this.#last.then(task)
    this.#last = done.catch(() => undefined)
    return done
  }

  async #write(database: Database, operations: readonly StoreOperation[]): Promise<void> {
    const pace = startPace()
    const batch = database.batch()
    let bytes = 0
    for (const operation of operations) {
      if (operation.type === 'put') {
        batch.put(operation.key, seal(operation.key, operation.value))
        bytes += operation.value.length
      } else batch.del(operation.key)
      await pace()
    }
    await this.#disk.wait(async (isGivenUp) => {
      const before = database.snapshot()
      try {
        await batch.write(DURABLE)
        if (isGivenUp()) throw new Error('it was written after it had been refused')
      } catch (error) {
        this.#doubtful = await valuesBefore(database, operations, before)
        throw error
      } finally {
        void before.close()
      }
    }, bytes)
  }

  /** One question to the disk: when it hangs, the whole of it is done nevertheless. */
  async #settle(): Promise<void> {
    const [database, doubtful] = [this.#database, this.#doubtful]
    if (database && doubtful) await this.#disk.wait(() => this.#takeBack(database, doubtful))
  }

  async #takeBack(database: Database, doubtful: ReadonlyMap<string, Uint8Array | undefined>): Promise<void> {
    // A store that is closed for nothing could not be read either.
    await demandRoom(this.folder)
    await database.close()
    // This store has been closed meanwhile, without waiting for it.
    if (this.#database !== database) return
    await database.open()
    const batch = database.batch()
    for (const [key, kept] of doubtful) {
      if (kept) batch.put(key, kept)
      else batch.del(key)
    }
    await batch.write(DURABLE)
    this.#doubtful = undefined
  }

  #unseal(key: string, kept: Uint8Array): Uint8Array {
    const value = unseal(key, kept)
    if (!value) throw this.#corrupt(`the value of ${JSON.stringify(key)} is damaged`)
    return value
  }

  #corrupt(detail: string, cause?: unknown): DirectorError {
    const remedy = 'start the director again, which begins with what is sound in it'
    return new DirectorError('STORE_CORRUPT', `${this.folder}: the store is damaged (${detail}): ${remedy}`, { cause })
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
    const hint = 'free or mount what is missing, or name another folder in `store`'
    return new DirectorError('STORE_FAILED', `${this.folder}: the store ${what}: ${detail}: ${hint}`, { cause: error })
  }

  #lockMessage(): string {
    const holder = lockHolder(join(this.folder, 'LOCK'))
    const who = holder === undefined ? 'another process, probably a director,' : `process ${holder}`
    return `${this.folder}: the store is held by ${who}: stop it, or name another folder in \`store\``
  }
}

export function createLevel(folder: string): Database {
  return new Level(folder, { keyEncoding: 'utf8', valueEncoding: 'view' })
}

/** Whoever holds the store may be changing its files. @throws LevelDB's error */
async function demandUnlocked(folder: string): Promise<void> {
  try {
    // Takes the lock, finds that it must not go on whatever there is, and gives it back.
    await new Level(folder).open({ createIfMissing: false, errorIfExists: true })
  } catch (error) {
    const { message } = ((error as Error).cause ?? error) as Error
    if (!/create_if_missing|error_if_exists/.test(message)) throw error
  }
}

/** What cannot be read is left out. */
async function valuesBefore(
  database: Database,
  operations: readonly StoreOperation[],
  snapshot: ReturnType<Database['snapshot']>,
): Promise<Map<string, Uint8Array | undefined>> {
  const before = new Map<string, Uint8Array | undefined>()
  try {
    for (const { key } of operations) before.set(key, await database.get(key, { snapshot }))
  } catch {
    return before
  }
  return before
}

/** Room for what opening takes. A failing disk may take its time, and nobody waits for it. @throws the system's error when there is none */
async function demandRoom(folder: string): Promise<void> {
  const logs = readdirSync(folder).filter((name) => name.endsWith('.log'))
  const bytes = logs.reduce((sum, name) => sum + statSync(join(folder, name)).size, OPENING_BYTES)
  const path = join(folder, ROOM_FILE)
  try {
    const file = await open(path, 'w', 0o600)
    try {
      const piece = Buffer.alloc(OPENING_BYTES)
      for (let left = bytes; left > 0; )
        left -= (await file.write(piece, 0, Math.min(left, OPENING_BYTES))).bytesWritten
      await file.sync()
    } finally {
      await file.close()
    }
  } finally {
    await rm(path, { force: true })
  }
}

/** Process that holds a lock on the file, from /proc/locks: `1: POSIX ADVISORY WRITE 4711 08:01:131 0 EOF`. */
function lockHolder(file: string): string | undefined {
  try {
    const { dev, ino } = statSync(file)
    const major = (dev >>> 8) & 0xfff
    const minor = (dev & 0xff) | ((dev >>> 12) & 0xfff00)
    const place = [major, minor].map((number) => number.toString(16).padStart(2, '0')).join(':')
    const line = readFileSync('/proc/locks', 'utf8')
      .split('\n')
      .find((text) => text.trim().split(/\s+/)[5] === `${place}:${ino}`)
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
