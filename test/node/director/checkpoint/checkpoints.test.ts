/** Checkpoints of the connection table: there and back over a restart, with what has run out, was damaged, or came to no end. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Test, test } from 'tap'
import {
  chunkKey,
  HEAD_KEY,
  parseHead,
  removeCheckpoint,
} from '../../../../node/director/checkpoint/checkpoint-format.ts'
import { IDENTITY_KEY } from '../../../../node/director/identity.ts'
import { LevelStore } from '../../../../node/director/store/level-store.ts'
import { MemoryStore } from '../../../../node/director/store/memory-store.ts'
import { openStore } from '../../../../node/director/store/salvage.ts'
import type { Store } from '../../../../node/director/store/store.ts'
import { VirtualClock } from '../../../../node/director/virtual-clock.ts'
import { seededRandom } from '../../../random.ts'
import { memoryFolder } from '../../../support/memory-folder.ts'
import { checkpointsOf, later, makeCallPiece, makeConnection, restore, restored, START } from './checkpointed-table.ts'

const stores: Readonly<Record<string, (t: Test) => Store>> = {
  memory: () => new MemoryStore(),
  level: (t) => new LevelStore(join(memoryFolder(t), 'store')),
}
/** More than a chunk of each family. */
const CONNECTIONS = 9000

const connections = Array.from({ length: CONNECTIONS }, (_, n) => makeConnection(n))

async function opened(t: Test, make: (t: Test) => Store = stores.memory): Promise<Store> {
  const store = make(t)
  await store.open()
  t.teardown(() => store.close())
  return store
}

function keysOf(store: Store): Promise<string[]> {
  return Array.fromAsync(store.iterate('checkpoint/'), ([key]) => key)
}

for (const [name, make] of Object.entries(stores)) {
  test(`connections come back over a restart, with the time that is left to them (${name} store)`, async (t) => {
    const store = await opened(t, make)
    await checkpointsOf(store, connections).stop()
    await store.close()
    await store.open()
    const { records, report } = await restore(store, later(10_000))
    const expected = connections.map((connection) => restored(connection, 890_000))
    // Not t.same(): that takes its time with nine thousand of them.
    t.ok(Buffer.concat(records).equals(Buffer.concat(expected)))
    t.match(report, { awayMs: 10_000, records: CONNECTIONS, expired: 0, damagedChunks: 0 })
    t.ok(report !== 'unreadable' && report && report.chunks > 2)
  })

  test(`of several checkpoints the last one counts, and nothing is left of the others (${name} store)`, async (t) => {
    const store = await opened(t, make)
    for (const count of [9000, 5000, 7000, 1]) {
      const checkpoints = checkpointsOf(store, connections.slice(0, count))
      await checkpoints.load()
      await checkpoints.stop()
    }
    t.equal((await restore(store, START)).records.length, 1)
    t.same(await keysOf(store), [chunkKey(4, 0), HEAD_KEY])
    await removeCheckpoint(store)
    t.same(await keysOf(store), [])
    t.same(await restore(store, START), { records: [], report: undefined })
  })
}

test('a connection whose time has run out is left out, and what describes it', async (t) => {
  const store = await opened(t)
  const table = [makeConnection(1, 10_000), makeCallPiece(2), makeConnection(3, 10_001), makeCallPiece(4)]
  await checkpointsOf(store, table).stop()
  const { records, report } = await restore(store, later(10_000))
  t.same(records, [restored(table[2], 1), table[3]])
  t.match(report, { records: 2, expired: 1 })
})

const absences = [
  ['a wall clock that was set does not matter', { ...later(5000), wallMs: 0 }, 5000],
  ['after a reboot the wall clock counts', { ...later(5000), monotonicMs: 17, boot: 'two' }, 5000],
  ['a wall clock that is wrong after a reboot takes nothing away', { wallMs: 17, monotonicMs: 17, boot: 'two' }, 0],
] as const
for (const [what, instant, awayMs] of absences) {
  test(what, async (t) => {
    const store = await opened(t)
    await checkpointsOf(store, connections.slice(0, 1)).stop()
    t.match((await restore(store, instant)).report, { awayMs })
  })
}

test('a checkpoint is written every so often, and one that comes to no end takes the place of none', async (t) => {
  const store = await opened(t)
  const clock = new VirtualClock()
  const table = connections.slice(0, 5)
  let isWhole = false
  const checkpoints = checkpointsOf(store, table, { clock, intervalMs: 30_000, isWhole: () => isWhole })
  checkpoints.start()
  await clock.advance(30_000)
  t.same(await keysOf(store), [], 'not before the table has been filled')
  isWhole = true
  await clock.advance(30_000)
  t.equal((await restore(store, START)).records.length, 5)
  t.match(checkpoints.last, { records: 5, ageMs: 0 })
  table.push(...connections.slice(5, 9))
  await clock.advance(30_000)
  t.equal((await restore(store, START)).records.length, 9)
  isWhole = false
  await checkpoints.stop()
  await clock.advance(60_000)
  t.equal((await restore(store, START)).records.length, 9, 'the end of a director that has lost its table')
})

test('when the store fails the last checkpoint stays, which is told once, and so is that it works again', async (t) => {
  const store = await opened(t)
  const clock = new VirtualClock()
  const told: (string | undefined)[] = []
  const table = [...connections]
  const put = store.put.bind(store)
  let writes = 0
  let limit = Number.POSITIVE_INFINITY
  store.put = async (key, value) => {
    if (++writes > limit) throw new Error('no space left on device')
    await put(key, value)
  }
  const onTrouble = (error: unknown) => told.push(error === undefined ? undefined : (error as Error).message)
  const checkpoints = checkpointsOf(store, table, { clock, intervalMs: 1000, onTrouble })
  checkpoints.start()
  await clock.until(() => checkpoints.last !== undefined, 10_000)
  limit = writes + 2
  table.length = 8000
  await clock.advance(10_000)
  t.equal((await restore(store, START)).records.length, CONNECTIONS)
  limit = Number.POSITIVE_INFINITY
  table.length = 10
  await clock.until(() => checkpoints.last?.records === 10, 10_000)
  t.same(told, ['no space left on device', undefined])
  t.equal((await keysOf(store)).length, 2, 'what had been begun is gone')
})

test('a chunk that is missing, cut or of another checkpoint is told of, and the sound ones count', async (t) => {
  const store = await opened(t)
  await checkpointsOf(store, connections).stop()
  const whole = (await store.get(chunkKey(1, 1))) as Uint8Array
  const damages: [string, Uint8Array | undefined][] = [
    ['missing', undefined],
    ['cut', whole.subarray(0, -1)],
    ['empty', new Uint8Array()],
    ['of another number', whole.with(3, 3)],
  ]
  for (const [what, bytes] of damages) {
    if (bytes) await store.put(chunkKey(1, 1), bytes)
    else await store.delete(chunkKey(1, 1))
    const { records, report } = await restore(store, START)
    t.match(report, { damagedChunks: 1, records: records.length }, what)
    t.ok(records.length > 0 && records.length < CONNECTIONS, what)
  }
  const { below } = seededRandom(5)
  for (let n = 0; n < 2000; n++) {
    const head = (await store.get(HEAD_KEY)) as Uint8Array
    const changed = head.with(below(head.length), below(256)).subarray(0, below(head.length + 1))
    parseHead(changed)
  }
  await store.put(HEAD_KEY, Uint8Array.of(0xc1, 7))
  t.same(await restore(store, START), { records: [], report: 'unreadable' })
})

test('what is left of a checkpoint in a damaged store is used, and the rest of the store is as it was', async (t) => {
  const folder = join(memoryFolder(t), 'store')
  const store = new LevelStore(folder)
  await store.open()
  await store.put(IDENTITY_KEY, Uint8Array.of(1, 2, 3))
  await checkpointsOf(store, connections).stop()
  await store.close()
  for (const name of readdirSync(folder).filter((name) => name.endsWith('.log'))) {
    const bytes = readFileSync(join(folder, name))
    bytes[Math.floor(bytes.length / 2)] ^= 0x20
    writeFileSync(join(folder, name), bytes)
  }
  let kept: unknown
  const salvaged = await openStore(folder, {
    mustHave: IDENTITY_KEY,
    onSalvage: (salvage) => {
      kept = salvage.kept
    },
  })
  t.teardown(() => salvaged.close())
  t.match(kept, { identity: 1, connections: Number })
  const { records, report } = await restore(salvaged, START)
  t.match(report, { damagedChunks: 1 })
  t.ok(records.length > 0 && records.length < CONNECTIONS)
  t.same([...((await salvaged.get(IDENTITY_KEY)) ?? [])], [1, 2, 3])
})
