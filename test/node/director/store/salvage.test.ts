/** Damaged stores, damaged in every way that a seed can think of: what a director begins with, and what becomes of the damaged one. */
import {
  chmodSync,
  cpSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { type Test, test } from 'tap'
import { IDENTITY_KEY as IDENTITY, loadIdentity } from '../../../../node/director/identity.ts'
import { LevelStore } from '../../../../node/director/store/level-store.ts'
import { openStore, type Salvage } from '../../../../node/director/store/salvage.ts'
import type { Store, StoreOperation } from '../../../../node/director/store/store.ts'
import { DirectorError } from '../../../../protocol/errors.ts'
import { type Random, seededRandom, seeds } from '../../../random.ts'
import { memoryFolder } from '../../../support/memory-folder.ts'

const SEEDS = 24

type Values = Map<string, string>

/** Everything that was ever written to a key; what the store held after each of the last writes, all of which are in its log. */
interface Written {
  readonly ever: Map<string, Set<string>>
  readonly states: Values[]
}

/** A store with several tables, among them overwritten and deleted values, and a log with records of one block and of more. */
async function writeStore(folder: string): Promise<Written> {
  const { below, oneIn } = seededRandom(1)
  const ever = new Map<string, Set<string>>()
  const state: Values = new Map()
  const states: Values[] = []
  const store = new LevelStore(folder)
  const write = async (keys: readonly string[]) => {
    const operations = keys.map((key): StoreOperation => {
      if (key !== IDENTITY && oneIn(8)) return { type: 'delete', key }
      const bytes = oneIn(2) ? 256 : 3
      const value = Buffer.from(Array.from({ length: oneIn(2) ? 72 : below(900) }, () => below(bytes)))
      return { type: 'put', key, value }
    })
    await store.batch(operations)
    for (const operation of operations) {
      if (operation.type === 'delete') {
        state.delete(operation.key)
        continue
      }
      const text = Buffer.from(operation.value).toString('hex')
      state.set(operation.key, text)
      ever.set(operation.key, (ever.get(operation.key) ?? new Set()).add(text))
    }
    states.push(new Map(state))
  }
  const someKeys = (count: number) =>
    Array.from({ length: count }, () => ['pool/service/', 'revision/', 'replaced/1/'][below(3)] + below(60))
  for (let session = 0; session < 3; session++) {
    await store.open()
    states.splice(0, states.length, new Map(state))
    if (session === 0) await write([IDENTITY])
    for (let count = 0; count < 12; count++) await write(someKeys(count === 5 ? 120 : 1 + below(6)))
    await store.close()
  }
  return { ever, states }
}

const damages: readonly ((file: Buffer, random: Random) => Buffer | undefined)[] = [
  (file, { below }) => file.subarray(0, below(file.length + 1)),
  (file, { below }) => {
    for (let count = 1 + below(4); count > 0 && file.length > 0; count--) file[below(file.length)] ^= 1 << below(8)
    return file
  },
  (file, { below }) => {
    const at = below(file.length + 1)
    for (let end = Math.min(file.length, at + below(3000)); end > at; end--) file[end - 1] = below(256)
    return file
  },
  (file, { below }) => {
    const at = below(file.length + 1)
    return file.fill(0, at, Math.min(file.length, at + 4096))
  },
  (file, { below }) => Buffer.concat([file, Buffer.from(Array.from({ length: below(300) }, () => below(256)))]),
  () => undefined,
]

function damage(folder: string, random: Random): void {
  const files = readdirSync(folder).filter((name) => /^(CURRENT|MANIFEST-\d+|\d+\.(ldb|log))$/.test(name))
  for (let count = random.oneIn(3) ? 2 : 1; count > 0; count--) {
    const path = join(folder, files[random.below(files.length)])
    const changed = damages[random.below(damages.length)](readFile(path), random)
    if (changed) writeFileSync(path, changed)
    else rmSync(path, { force: true })
  }
}

function readFile(path: string): Buffer {
  return statSync(path, { throwIfNoEntry: false }) ? readFileSync(path) : Buffer.alloc(0)
}

/** LevelDB's own remarks and its lock are not the store's. */
function filesOf(folder: string): [string, string][] {
  const names = readdirSync(folder).filter((name) => !/^(LOG|LOG\.old|LOCK)$/.test(name))
  return names.map((name) => [name, readFileSync(join(folder, name), 'latin1')])
}

async function valuesOf(store: Store): Promise<Values> {
  const found = await Array.fromAsync(store.iterate(''))
  return new Map(found.map(([key, value]) => [key, Buffer.from(value).toString('hex')]))
}

const isSame = (one: Values, other: Values) =>
  one.size === other.size && one.entries().every(([key, value]) => other.get(key) === value)

test('a damaged store opens with what is sound, or is refused for its identity, and is kept as it was', async (t) => {
  const top = memoryFolder(t)
  const original = join(top, 'original')
  const written = await writeStore(original)
  let salvages = 0
  for (const seed of seeds(SEEDS)) {
    const place = join(top, 'place')
    const folder = join(place, 'store')
    cpSync(original, folder, { recursive: true })
    chmodSync(folder, 0o700)
    damage(folder, seededRandom(seed))
    const before = filesOf(folder)
    let salvage: Salvage | undefined
    try {
      const onSalvage = (told: Salvage) => {
        salvage = told
      }
      const store = await openStore(folder, { mustHave: IDENTITY, onSalvage })
      const values = await valuesOf(store)
      await store.close()
      const isWritten = values.entries().every(([key, value]) => written.ever.get(key)?.has(value))
      if (!isWritten) t.fail(`seed ${seed}: a value that was never written`)
      if (salvage) {
        salvages++
        t.ok(isDeepStrictEqual(filesOf(salvage.damagedFolder), before), `seed ${seed}: the damaged one is untouched`)
        if (!values.has(IDENTITY) || salvage.damages.length === 0) t.fail(`seed ${seed}: salvaged without need`)
        t.equal(readdirSync(place).length, 2, `seed ${seed}: nothing else is left`)
      } else {
        const isState = written.states.some((state) => isSame(state, values))
        if (!isState) t.fail(`seed ${seed}: something was lost without a word`)
      }
    } catch (error) {
      if (!(error instanceof DirectorError)) throw error
      t.match(error, { code: 'STORE_CORRUPT', message: /identity is lost.*restore it from a backup/ }, `seed ${seed}`)
      t.ok(isDeepStrictEqual(filesOf(folder), before), `seed ${seed}: what is refused is untouched`)
      t.equal(readdirSync(place).length, 1, `seed ${seed}: nothing is left beside it`)
    }
    rmSync(place, { recursive: true })
  }
  if (!process.env.SEED) t.ok(salvages > 0)
})

const options = { mustHave: IDENTITY, onSalvage: () => {} }

/** A store with an identity and so many services, in one table; the log is empty. */
async function simpleStore(t: Test, services = 100): Promise<string> {
  const folder = join(memoryFolder(t), 'store')
  const store = new LevelStore(folder)
  await store.open()
  await store.put(IDENTITY, Uint8Array.of(1))
  for (let number = 0; number < services; number++) {
    await store.put(`pool/service/${number}`, crypto.getRandomValues(new Uint8Array(400)))
  }
  await store.close()
  await store.open()
  await store.close()
  return folder
}

function tableOf(folder: string): string {
  return join(folder, readdirSync(folder).find((name) => name.endsWith('.ldb'))!)
}

test('a table that was cut short gives what is before the cut, though its index is gone', async (t) => {
  const folder = await simpleStore(t)
  const table = readFileSync(tableOf(folder))
  writeFileSync(tableOf(folder), table.subarray(0, table.length >> 1))
  const told: Salvage[] = []
  const store = await openStore(folder, { ...options, onSalvage: (salvage) => told.push(salvage) })
  t.teardown(() => store.close())
  const { size } = await valuesOf(store)
  t.ok(size > 40 && size < 60, `${size} of 101`)
  t.match(told, [{ damages: [/ldb is damaged at byte/], kept: { identity: 1, configuration: size - 1 } }])
})

test('one wrong bit costs the value that has it, and the warning counts it', async (t) => {
  const folder = await simpleStore(t)
  const table = readFileSync(tableOf(folder))
  table[table.length >> 1] ^= 1
  writeFileSync(tableOf(folder), table)
  const told: Salvage[] = []
  const store = await openStore(folder, { ...options, onSalvage: (salvage) => told.push(salvage) })
  t.teardown(() => store.close())
  t.equal((await valuesOf(store)).size, 100)
  t.match(told, [{ kept: { identity: 1, configuration: 99 }, dropped: { configuration: 1 } }])
  t.match(told[0].damagedFolder, /store\.damaged-\d{4}-\d\d-\d\dT/)
})

test('a store that has lost the identity of its director is refused, and nothing is made in its place', async (t) => {
  const folder = await simpleStore(t)
  writeFileSync(tableOf(folder), '')
  const told: Salvage[] = []
  const opening = () => openStore(folder, { ...options, onSalvage: (salvage) => told.push(salvage) })
  for (let attempt = 0; attempt < 2; attempt++) {
    await t.rejects(opening(), {
      code: 'STORE_CORRUPT',
      message: /ldb is damaged.*identity is lost with it: restore it from a backup; or .*enter the new peer id/,
    })
  }
  t.same([told, readdirSync(dirname(folder))], [[], ['store']])

  const other = new LevelStore(`${folder}.other`)
  await other.open()
  t.teardown(() => other.close())
  const made = await loadIdentity(other)
  t.same(await loadIdentity(other), made)
  await other.put('pool/service/1', Uint8Array.of(1))
  await other.delete(IDENTITY)
  await t.rejects(loadIdentity(other), { code: 'STORE_CORRUPT', message: /lost this director's identity/ })
})

test('a salvage that was killed between its steps is begun again, or ended', async (t) => {
  const folder = await simpleStore(t)
  rmSync(join(folder, 'CURRENT'))
  const stale = new LevelStore(`${folder}.salvaging`)
  await stale.open()
  await stale.put('pool/service/of another time', Uint8Array.of(1))
  await stale.close()
  mkdirSync(`${folder}.salvaged`)
  const store = await openStore(folder, options)
  t.equal((await valuesOf(store)).size, 101)
  await store.close()
  t.equal(readdirSync(dirname(folder)).length, 2)

  renameSync(folder, `${folder}.salvaged`)
  const ended = await openStore(folder, options)
  t.equal((await valuesOf(ended)).size, 101, 'the fresh store is complete, and the damaged one out of its place')
  await ended.close()
})

test('a store that others may enter is refused, with what to do', async (t) => {
  const folder = await simpleStore(t)
  for (const mode of [0o755, 0o710, 0o701]) {
    chmodSync(folder, mode)
    await t.rejects(openStore(folder, options), {
      code: 'CONFIG_INVALID',
      message: `${folder}: others than its owner may enter the store, which holds the private key of the director: chmod 700 it`,
    })
  }
  chmodSync(folder, 0o700)
  const store = await openStore(folder, options)
  await store.close()
})

test('damaged stores do not fill the disk: the ninth is refused, and stays where it is', async (t) => {
  const folder = await simpleStore(t, 1)
  for (let count = 0; count < 9; count++) {
    rmSync(join(folder, 'CURRENT'))
    const opening = openStore(folder, options)
    if (count < 8) await (await opening).close()
    else await t.rejects(opening, { code: 'STORE_CORRUPT', message: /8 others are beside it.*see to the disk/ })
  }
  t.equal(readdirSync(dirname(folder)).length, 9)
})

test('a store that another one holds is not taken for a damaged one', async (t) => {
  const folder = await simpleStore(t, 1)
  const holder = new LevelStore(folder)
  await holder.open()
  t.teardown(() => holder.close())
  rmSync(join(folder, 'CURRENT'))
  await t.rejects(openStore(folder, options), { code: 'STORE_LOCKED' })
  t.equal(readdirSync(dirname(folder)).length, 1)
})
