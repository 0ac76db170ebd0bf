/** Logs as LevelDB writes them, as a loss of power leaves them, and as damage does. */
import { randomBytes } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Test, test } from 'tap'
import { LevelStore } from '../../../../node/director/store/level-store.ts'
import { readLog } from '../../../../node/director/store/write-ahead-log.ts'
import { memoryFolder } from '../../../support/memory-folder.ts'

const BLOCK = 32768
/** Lengths of the values: the third and the last take several blocks each. */
const LENGTHS = [10, 20, 80_000, 30, 0, 90_000]

/** @returns the log of so many writes, one for each length, and where each record begins */
async function writtenLog(t: Test): Promise<{ log: Buffer; ends: number[] }> {
  const folder = join(memoryFolder(t), 'store')
  const store = new LevelStore(folder)
  await store.open()
  const read = () => readFileSync(join(folder, readdirSync(folder).find((name) => name.endsWith('.log'))!))
  const ends: number[] = []
  for (const length of LENGTHS) {
    await store.put(`key ${length}`, randomBytes(length))
    ends.push(read().length)
  }
  const log = read()
  await store.close()
  return { log, ends }
}

const whole = (log: Uint8Array) => readLog(log).records.filter(({ isWhole }) => isWhole).length

test('what is wrong with the last record alone is no damage: it was never acknowledged', async (t) => {
  const { log, ends } = await writtenLog(t)
  t.same([whole(log), readLog(log).damagedAt], [LENGTHS.length, undefined])
  const begin = ends.at(-2)!
  for (let cut = begin; cut < log.length; cut += 7919) {
    const short = readLog(log.subarray(0, cut))
    t.same([short.records.length, short.damagedAt], [LENGTHS.length - 1, undefined], `cut off at ${cut}`)
    // Space was made for it, and not all of it was written.
    const empty = Buffer.from(log).fill(0, cut)
    t.same(
      [readLog(empty).records.length, readLog(empty).damagedAt],
      [LENGTHS.length - 1, undefined],
      `empty from ${cut}`,
    )
  }
  const secondBlock = begin - (begin % BLOCK) + BLOCK
  const parts: [string, number, number][] = [
    ['its beginning', begin, begin + 4096],
    ['its first block', begin, secondBlock],
    ['a page in the middle', secondBlock + 8192, secondBlock + 12288],
    ['the beginning of its second block', secondBlock, secondBlock + 512],
  ]
  for (const [part, from, to] of parts) {
    const torn = readLog(Buffer.from(log).fill(0, from, to))
    t.same([torn.records.length, torn.damagedAt], [LENGTHS.length - 1, undefined], `without ${part}`)
  }
})

test('what is wrong before the last record is damage, and costs that record alone', async (t) => {
  const { log, ends } = await writtenLog(t)
  const begins = [0, ...ends.slice(0, -1)]
  for (const [index, begin] of begins.slice(0, -1).entries()) {
    const end = ends[index]
    const changes: [string, (log: Buffer) => void][] = [
      ['a wrong byte at its end', (bytes) => (bytes[end - 1] ^= 1)],
      ['a wrong length', (bytes) => bytes.writeUInt16LE(40_000, begin + 4)],
      ['another length', (bytes) => bytes.writeUInt16LE(3, begin + 4)],
      ['an unknown type', (bytes) => (bytes[begin + 6] = 77)],
      ['zeros in its place', (bytes) => bytes.fill(0, begin, end)],
    ]
    for (const [what, change] of changes) {
      const damaged = Buffer.from(log)
      change(damaged)
      t.equal(whole(damaged), LENGTHS.length - 1, `record ${index} with ${what}`)
      const at = readLog(damaged).damagedAt
      t.ok(at !== undefined && at >= begin && at < end, `${at} is in record ${index}`)
    }
  }
})
