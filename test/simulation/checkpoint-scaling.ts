/** What a checkpoint of so many connections costs: the real table, the real store on a real disk, in real time. */
import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { monotonicMs } from '../../forwarder/clock.ts'
import { Checkpoints } from '../../node/director/checkpoint/checkpoints.ts'
import { instantNow } from '../../node/director/checkpoint/instant.ts'
import { systemClock } from '../../node/director/clock.ts'
import { LevelStore } from '../../node/director/store/level-store.ts'
import { RECORD } from '../../protocol/wire/connection-record.ts'
import { makeRecord } from '../node/director/cluster/record.ts'
import { MemoryForwarder } from '../support/memory-forwarder.ts'

/** The last four bytes of an IPv4 address in mapped form. */
const IPV4_PART = 12

export const CHECKPOINT_COLUMNS = [
  'connections',
  'MiB on disk',
  'after five more',
  'written ms',
  'CPU ms',
  'longest stall ms',
  'opening the store, CPU ms',
  'reading it, CPU ms',
]

export async function checkpointOf(connections: number): Promise<(string | number)[]> {
  const forwarder = new MemoryForwarder({
    links: [{ name: 'outside', mac: '02:00:00:00:00:01' }],
    connections: 2 ** Math.ceil(Math.log2(connections + 1)),
    startMs: monotonicMs(),
    epochMs: 0,
  })
  for (let n = 0; n < connections; n++) forwarder.engine.replication.apply(scattered(n), 0)
  const folder = mkdtempSync(join(tmpdir(), 'linux-director-scaling-'))
  const store = new LevelStore(folder)
  const checkpoints = () =>
    new Checkpoints({
      store,
      source: forwarder.reader,
      clock: systemClock,
      instant: instantNow,
      intervalMs: 30_000,
      isWhole: () => true,
      onRead: () => {},
      onTrouble: (error) => {
        throw error
      },
    })
  try {
    await store.open()
    const writing = await timed(() => checkpoints().stop())
    const mebibytes = sizeOf(folder)
    for (let again = 0; again < 5; again++) {
      const more = checkpoints()
      await more.load()
      await more.stop()
    }
    await store.close()
    const opening = await timed(() => store.open())
    const reading = await timed(async () => {
      const reader = checkpoints()
      await reader.load()
      while (await reader.next());
    })
    await store.close()
    return [
      connections,
      mebibytes,
      sizeOf(folder),
      writing.ms.toFixed(0),
      writing.cpuMs.toFixed(0),
      writing.longestStallMs.toFixed(1),
      opening.cpuMs.toFixed(0),
      reading.cpuMs.toFixed(0),
    ]
  } finally {
    rmSync(folder, { recursive: true })
  }
}

/** Of clients all over the world, so that the store's compression finds no more than it does in life. */
function scattered(n: number): Uint8Array {
  const record = makeRecord(n, 1 + (Math.imul(n, 0x27d4eb2f) & 0x7fff))
  const view = new DataView(record.buffer)
  view.setUint32(RECORD.clientAddress + IPV4_PART, Math.imul(n, 0x9e3779b1) & 0x7fffffff)
  view.setUint16(RECORD.clientPort, 1024 + ((Math.imul(n, 0x85ebca6b) >>> 8) & 0x7fff))
  view.setUint32(RECORD.timeoutMs, (Math.imul(n, 0xc2b2ae35) >>> 12) % 900_000)
  return record
}

async function timed(work: () => Promise<void>): Promise<{ ms: number; cpuMs: number; longestStallMs: number }> {
  const delay = monitorEventLoopDelay({ resolution: 1 })
  const [before, began] = [process.cpuUsage(), performance.now()]
  delay.enable()
  await work()
  delay.disable()
  const { user, system } = process.cpuUsage(before)
  return { ms: performance.now() - began, cpuMs: (user + system) / 1000, longestStallMs: delay.max / 1e6 }
}

function sizeOf(folder: string): string {
  const bytes = readdirSync(folder).reduce((sum, name) => sum + statSync(join(folder, name)).size, 0)
  return (bytes / 2 ** 20).toFixed(1)
}
