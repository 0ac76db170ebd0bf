/** LevelDB's files read without LevelDB: with LevelDB as the judge of what is in them. */
import { randomBytes } from 'node:crypto'
import { cpSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { Level } from 'level'
import { test } from 'tap'
import { readFolder } from '../../../../node/director/store/level-files.ts'
import { LevelStore } from '../../../../node/director/store/level-store.ts'
import { unseal } from '../../../../node/director/store/sealed-value.ts'
import { readLog } from '../../../../node/director/store/write-ahead-log.ts'
import { seededRandom } from '../../../random.ts'
import { memoryFolder } from '../../../support/memory-folder.ts'

const { below, oneIn } = seededRandom(3)
const WORDS = ['tcp', 'weight', 'address', '10.0.0.100', 'scheduler', '\0\0\0\0\0\0\0\0']

/** Compressible or not, of any length that matters: a block of a table is 4 KiB, one of a log 32 KiB. */
function value(): Buffer {
  const length = oneIn(20) ? below(50_000) : below(600)
  if (oneIn(2)) return Buffer.alloc(length, WORDS[below(WORDS.length)])
  return Buffer.from(Array.from({ length: Math.ceil(length / 6) }, () => WORDS[below(WORDS.length)]).join())
}

async function write(store: LevelStore, writes: number): Promise<void> {
  for (let write = 0; write < writes; write++) {
    await store.batch(
      Array.from({ length: 1 + below(12) }, () => {
        const key = `pool/service/tcp 10.0.0.${below(150)}:80`
        return oneIn(6) ? { type: 'delete', key } : { type: 'put', key, value: value() }
      }),
    )
  }
}

test('what is read is what LevelDB reads: from the log, from tables, and after compactions', async (t) => {
  const folder = join(memoryFolder(t), 'store')
  for (const compacts of [false, false, true, false]) {
    const store = new LevelStore(folder)
    await store.open()
    await write(store, 30)
    await store.close()
    const openDatabase = async () => {
      const database = new Level<string, Uint8Array>(folder, { valueEncoding: 'view' })
      await database.open()
      return database
    }
    if (compacts) {
      const database = await openDatabase()
      await (database as unknown as { compactRange(from: string, to: string): Promise<void> }).compactRange('a', 'z')
      await database.close()
    }
    const { values, damages, broken } = readFolder(folder)
    t.same([damages, [...broken]], [[], []])
    const database = await openDatabase()
    const kept = await database.iterator().all()
    await database.close()
    t.ok(kept.length > 50)
    const sorted = [...values].sort(([a], [b]) => (a < b ? -1 : 1))
    t.ok(
      isDeepStrictEqual(
        sorted,
        kept.map(([key, bytes]) => [key, unseal(key, bytes)]),
      ),
    )
    t.same(readFolder(folder).values.size, kept.length, 'also after LevelDB has opened it once more')
  }
})

test('a manifest that was cut short between two records is damage, and not a store without its newest table', async (t) => {
  const folder = join(memoryFolder(t), 'store')
  const store = new LevelStore(folder)
  await store.open()
  const manifestOf = () => join(folder, readdirSync(folder).find((name) => name.startsWith('MANIFEST'))!)
  const edits = (manifest: Uint8Array) => readLog(manifest).records.length
  // Until LevelDB has more than it keeps in memory, and has written a table.
  let count = 0
  for (; edits(readFileSync(manifestOf())) < 3; count++) await store.put(`value/${count}`, randomBytes(600_000))
  await store.close()
  const complete = readFolder(folder)
  t.same([complete.damages, complete.values.size], [[], count])
  const manifest = manifestOf()
  const bytes = readFileSync(manifest)
  for (let cut = bytes.length - 1; edits(bytes.subarray(0, cut)) === 2; cut -= 17) {
    truncateSync(manifest, cut)
    const { damages, values } = readFolder(folder)
    t.ok(damages.length > 0, `cut at ${cut}`)
    t.equal(values.size, count, 'all the same it is there')
  }
})

test('a store that was killed while it was being made is none, and no damaged one', async (t) => {
  const folder = join(memoryFolder(t), 'store')
  const store = new LevelStore(folder)
  await store.open()
  await store.close()
  const begun = `${folder}.begun`
  cpSync(folder, begun, { recursive: true })
  for (const name of readdirSync(begun)) {
    if (name === 'CURRENT' || name.endsWith('.log') || name.endsWith('.ldb')) rmSync(join(begun, name))
    if (name.startsWith('MANIFEST')) rmSync(join(begun, name))
  }
  writeFileSync(join(begun, 'MANIFEST-000001'), 'beg')
  const again = new LevelStore(begun)
  await again.open()
  await again.put('a', Uint8Array.of(1))
  await again.close()
})
