/** A disk that hangs: an fsync that neither succeeds nor fails, and what becomes of it when the disk answers after all. */
import { join } from 'node:path'
import { type Test, test } from 'tap'
import { DiskAnswers } from '../../../../node/director/store/disk-answers.ts'
import { LevelStore } from '../../../../node/director/store/level-store.ts'
import { MemoryStore } from '../../../../node/director/store/memory-store.ts'
import type { Store } from '../../../../node/director/store/store.ts'
import { UnwritableStore } from '../../../../node/director/store/unwritable-store.ts'
import { memoryFolder } from '../../../support/memory-folder.ts'
import { watchedDatabase } from '../../../support/watched-writes.ts'
import { until } from '../../../until.ts'
import { PoolOfDirectors } from '../pool/pool-of-directors.ts'

/** Long enough for the writes that do not hang, on a busy host. */
const PATIENCE_MS = 300

class HangingDisk {
  hangs: PromiseWithResolvers<void> | undefined
  writes = 0
  readonly trouble: string[] = []
  readonly store: LevelStore
  readonly #answers = new DiskAnswers(PATIENCE_MS)

  constructor(t: Test) {
    const told = (error: Error | undefined) => this.trouble.push(error ? error.message : 'well')
    const database = (folder: string) =>
      watchedDatabase(folder, async (write) => {
        this.writes++
        const { hangs } = this
        await write()
        await hangs?.promise
      })
    this.store = new LevelStore(join(memoryFolder(t), 'store'), told, database, this.#answers)
  }

  hang(): void {
    this.hangs = Promise.withResolvers()
  }

  /** What hung is written, or has failed; resolves when it is asked again. */
  async answer(error?: Error): Promise<void> {
    if (error) this.hangs?.reject(error)
    else this.hangs?.resolve()
    this.hangs = undefined
    await until(() => !this.#hangs())
  }

  #hangs(): boolean {
    try {
      this.#answers.demand()
      return false
    } catch {
      return true
    }
  }
}

const refused = { code: 'STORE_FAILED', message: /the disk of the store has not answered for \d+ s/ }

for (const [what, late] of [
  ['written', undefined],
  ['failed', new Error('input/output error')],
] as const) {
  test(`a change on a disk that hangs is refused after a while, and taken back when the disk says that it is ${what}`, async (t) => {
    const disk = new HangingDisk(t)
    const { store } = disk
    await store.open()
    await store.put('kept', Uint8Array.of(1))
    disk.hang()
    const change = store.batch([
      { type: 'put', key: 'kept', value: Uint8Array.of(2) },
      { type: 'put', key: 'new', value: Uint8Array.of(3) },
    ])
    const next = store.put('next', Uint8Array.of(4))
    await t.rejects(change, refused)
    const begun = performance.now()
    await t.rejects(next, refused)
    await t.rejects(store.get('kept'), refused)
    await t.rejects(Array.fromAsync(store.iterate('')), refused)
    t.ok(performance.now() - begun < PATIENCE_MS, 'whoever asks meanwhile is told so at once')
    t.equal(disk.writes, 2, 'and the disk is asked nothing more')
    await disk.answer(late)
    await store.put('after', Uint8Array.of(5))
    const entries = async () => (await Array.fromAsync(store.iterate(''))).map(([key, [value]]) => `${key} ${value}`)
    t.same(await entries(), ['after 5', 'kept 1'])
    await store.close()
    await store.open()
    t.same(await entries(), ['after 5', 'kept 1'])
    await store.close()
    t.match(disk.trouble, [refused.message, 'well'])
    t.equal(disk.trouble.length, 2)
  })
}

test('a store on a disk that hangs is closed without it, and lets go of its folder when the disk answers', async (t) => {
  const disk = new HangingDisk(t)
  await disk.store.open()
  disk.hang()
  const change = disk.store.put('a', Uint8Array.of(1))
  const closed = disk.store.close()
  await t.rejects(change, refused)
  await t.rejects(closed, refused)
  await disk.answer()
  const again = new LevelStore(disk.store.folder)
  await again.open()
  await again.close()
})

test('a store that could not be written at the start takes changes as soon as a disk that hung has let it be opened', async (t) => {
  const opening = Promise.withResolvers<Store>()
  let times = 0
  const store = new UnwritableStore(
    () => opening.promise,
    () => times++,
    new DiskAnswers(20),
  )
  await store.begin(new Map([['kept', Uint8Array.of(1)]]))
  await t.rejects(store.put('a', Uint8Array.of(2)), refused)
  await t.rejects(store.put('a', Uint8Array.of(2)), refused)
  t.same([...(await store.get('kept'))!], [1])
  const onDisk = new MemoryStore()
  await onDisk.open()
  opening.resolve(onDisk)
  await until(() => times === 1)
  await new Promise(setImmediate)
  await store.put('a', Uint8Array.of(3))
  t.same([...(await store.get('a'))!], [3])
  await store.close()
})

test("while a director's disk hangs, changes of peers come into force at it and go on to others, and its own are refused", async (t) => {
  const web = { protocol: 'tcp', address: '10.0.0.100', port: 80, scheduler: 'rr' } as const
  const disk = new HangingDisk(t)
  const pool = new PoolOfDirectors(['a', 'b', 'c'])
  const a = await pool.start('a', disk.store)
  const b = await pool.start('b')
  await pool.settle(1)
  disk.hang()
  await b.configuration.addService(web)
  await pool.advance(100)
  await until(() => a.configuration.services().length === 1)
  t.match(a.storeFailures, [refused])
  await t.rejects(a.configuration.addService({ ...web, port: 81 }), refused)
  t.equal((await a.configuration.stateAt()).revision, b.configuration.revision)
  await pool.stop('b')
  const c = await pool.start('c')
  await pool.advance(100)
  t.equal(c.configuration.revision, a.configuration.revision, 'a newcomer gets everything')

  await disk.answer()
  a.configuration.announce()
  await until(() => disk.trouble.length === 2)
  const listed = a.configuration.revisions()
  await pool.stop('a')
  const restarted = await pool.start('a', disk.store)
  t.same(restarted.configuration.services(), [{ ...web, servers: [] }])
  t.strictSame(restarted.configuration.revisions(), listed, 'what hung is stored once')
  t.equal(listed.length, 2, 'one change, and what was before')
  disk.hang()
  const own = restarted.configuration.clear()
  const stopped = pool.stop('a')
  await t.rejects(own, refused)
  await t.rejects(stopped, refused, 'and it ends')
  await disk.answer()
})
