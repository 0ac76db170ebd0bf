/**
 * Opening a director's store, and what becomes of a damaged one: it is put aside as it is, and a fresh one begins with all that is
 * sound in it. What is missing comes from the peers, who take nothing that is missing for removed.
 *
 * ```
 * STORE                  the store
 * STORE.damaged-TIME     one that was damaged, with its files as they were found
 * STORE.salvaging        what is sound, on its way into a fresh store; its lock lets one process at a time do this
 * STORE.salvaged         the fresh store, complete
 * ```
 * What is on a disk that takes nothing is read all the same (unwritable-store.ts).
 *
 * A director that is killed in between starts with the old one, still in its place, or with the complete fresh one. Nothing is copied but
 * what is sound, nothing is removed, and with DAMAGED_MAX beside it already a store is not put aside any more.
 */
import { existsSync, readdirSync, renameSync, rmSync } from 'node:fs'
import { basename, dirname, resolve } from 'node:path'
import { DirectorError } from '../../../protocol/errors.ts'
import { type FolderContents, readFolder } from './level-files.ts'
import { LevelStore } from './level-store.ts'
import { demandPrivateFolder } from './private-folder.ts'
import type { Store, StoreOperation } from './store.ts'
import { UnwritableStore } from './unwritable-store.ts'

/** A disk that has damaged so many needs somebody to look at it, and what is kept must not fill it. */
const DAMAGED_MAX = 8
/** Told one by one. */
const DAMAGES_MAX = 10

/** What becomes of a damaged store. */
export interface Salvage {
  /** Where the damaged store is now. */
  readonly damagedFolder: string
  readonly damages: readonly string[]
  /** How many values of each kind were sound. */
  readonly kept: Readonly<Record<string, number>>
  /** How many were not, as far as their keys can be read; there may have been others. */
  readonly dropped: Readonly<Record<string, number>>
}

export interface OpeningOptions {
  /** Without this key nothing can be begun with a damaged store. */
  readonly mustHave: string
  /** A damaged store has been put aside. */
  readonly onSalvage: (salvage: Salvage) => void
  /** As in LevelStore. */
  readonly onTrouble?: (error: Error | undefined) => void
}

const kinds: Readonly<Record<string, string>> = {
  identity: 'identity',
  pool: 'configuration',
  revision: 'history',
  replaced: 'history',
  'sync-daemon': 'sync daemons',
  checkpoint: 'connections',
}

/**
 * The store in a folder, open; or what is sound in it, when the disk takes nothing: `onTrouble` is told so, and when that is over.
 * @throws DirectorError CONFIG_INVALID when others may enter the folder; STORE_LOCKED, STORE_FAILED, or STORE_CORRUPT when nothing can be begun with what there is
 */
export async function openStore(folder: string, options: OpeningOptions): Promise<Store> {
  const { mustHave, onTrouble = () => {} } = options
  try {
    return await openOnDisk(folder, options)
  } catch (error) {
    if (!(error instanceof DirectorError && error.code === 'STORE_FAILED')) throw error
    const values = readSound(resolve(folder))
    if (!values?.has(mustHave)) throw error
    const store = new UnwritableStore(
      () => openOnDisk(folder, options),
      () => onTrouble(undefined),
    )
    await store.begin(values)
    onTrouble(error)
    return store
  }
}

/** @returns undefined when there is nothing that can be read */
function readSound(path: string): ReadonlyMap<string, Uint8Array> | undefined {
  try {
    return readFolder(path).values
  } catch {
    return undefined
  }
}

async function openOnDisk(folder: string, options: OpeningOptions): Promise<LevelStore> {
  const path = resolve(folder)
  const store = new LevelStore(folder, options.onTrouble)
  // Killed between the two renames of a salvage.
  if (!existsSync(path) && existsSync(`${path}.salvaged`)) takeSalvaged(path)
  demandPrivateFolder(path)
  const damage = await damageOf(store)
  if (!damage) return store
  const salvage = await inWorkplace(path, async (workplace) => {
    // Another process may have done it meanwhile.
    if (!(await damageOf(store))) return undefined
    return salvageStore(path, damage, workplace, options.mustHave)
  })
  if (!salvage) return store
  options.onSalvage(salvage)
  await store.open()
  return store
}

function takeSalvaged(path: string): void {
  try {
    renameSync(`${path}.salvaged`, path)
  } catch (error) {
    const message = `${path}: ${path}.salvaged, which is to be the store, cannot be renamed to it: ${(error as Error).message}`
    throw new DirectorError('STORE_FAILED', message, { cause: error })
  }
}

/** Opens a store. @returns how it is damaged, if it is */
async function damageOf(store: LevelStore): Promise<DirectorError | undefined> {
  try {
    await store.open()
    return undefined
  } catch (error) {
    if (error instanceof DirectorError && error.code === 'STORE_CORRUPT') return error
    throw error
  }
}

/** With a fresh store beside the damaged one, which is there for one process at a time. @returns undefined: it was not needed */
async function inWorkplace(
  path: string,
  task: (workplace: LevelStore) => Promise<Salvage | undefined>,
): Promise<Salvage | undefined> {
  const workplace = new LevelStore(`${path}.salvaging`)
  if (await damageOf(workplace)) {
    rmSync(workplace.folder, { recursive: true })
    await workplace.open()
  }
  let salvage: Salvage | undefined
  try {
    salvage = await task(workplace)
  } finally {
    await workplace.close()
    if (!salvage) rmSync(workplace.folder, { recursive: true, force: true })
  }
  return salvage
}

async function salvageStore(
  path: string,
  damage: DirectorError,
  workplace: LevelStore,
  mustHave: string,
): Promise<Salvage> {
  const contents = readFolder(path)
  const { values, damages } = contents
  const what = `${path}: the store is damaged (${damages[0] ?? damage.message})`
  if (!values.has(mustHave)) {
    const remedy =
      'restore it from a backup; or move it away, start again, and enter the new peer id (`director identity`) at the peers, who know this director by the old one'
    throw new DirectorError('STORE_CORRUPT', `${what}, and this director's identity is lost with it: ${remedy}`)
  }
  demandFewDamaged(path, what)
  // What a salvage that was killed has left there goes in the same step.
  const left = await Array.fromAsync(workplace.iterate(''))
  await workplace.batch([
    ...left.map(([key]): StoreOperation => ({ type: 'delete', key })),
    ...values.entries().map(([key, value]): StoreOperation => ({ type: 'put', key, value })),
  ])
  await workplace.close()
  const damagedFolder = `${path}.damaged-${new Date().toISOString().replaceAll(':', '-')}`
  try {
    rmSync(`${path}.salvaged`, { recursive: true, force: true })
    renameSync(workplace.folder, `${path}.salvaged`)
    renameSync(path, damagedFolder)
    renameSync(`${path}.salvaged`, path)
  } catch (error) {
    const hint = 'put it aside by hand, or name a folder in `store` that can be renamed (a mount point cannot)'
    const message = `${what}, and cannot be put aside: ${(error as Error).message}: ${hint}`
    throw new DirectorError('STORE_CORRUPT', message, { cause: error })
  }
  return { damagedFolder, ...reportOf(contents, damage) }
}

function demandFewDamaged(path: string, what: string): void {
  const prefix = `${basename(path)}.damaged-`
  const damaged = readdirSync(dirname(path)).filter((name) => name.startsWith(prefix))
  if (damaged.length < DAMAGED_MAX) return
  const remedy = 'see to the disk, remove those that nobody needs, and start again'
  const message = `${what}, and ${damaged.length} others are beside it already, ${prefix}...: ${remedy}`
  throw new DirectorError('STORE_CORRUPT', message)
}

function reportOf(
  { values, damages, broken }: FolderContents,
  { message }: DirectorError,
): Omit<Salvage, 'damagedFolder'> {
  const told = damages.length > DAMAGES_MAX ? [`and ${damages.length - DAMAGES_MAX} more`] : []
  return {
    damages: damages.length > 0 ? [...damages.slice(0, DAMAGES_MAX), ...told] : [message],
    kept: countKinds(values.keys()),
    dropped: countKinds(broken.values().filter((key) => !values.has(key))),
  }
}

function countKinds(keys: Iterable<string>): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const key of keys) {
    const kind = kinds[key.split('/', 1)[0]] ?? 'unknown'
    counts[kind] = (counts[kind] ?? 0) + 1
  }
  return counts
}
