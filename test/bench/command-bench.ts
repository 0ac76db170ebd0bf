/**
 * What an operator waits for: vsadm's start beside Node's own, and a large document restored to a pool of two directors in a lab.
 * docs/benchmarks.md says what each number means.
 */
import { spawn, spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import type { Lab } from '../../node/drill/lab.ts'
import { hostNamed, VIRTUAL_ADDRESS } from '../../node/drill/lab-plan.ts'
import { controlSocketOf } from '../../node/drill/lab-programs.ts'
import { eventually } from '../lab/lab-directors.ts'
import { withTestLab } from '../lab/test-lab.ts'
import { largeDocument } from '../support/large-document.ts'
import { AdvertisementWatch } from './advertisement-watch.ts'
import { median } from './statistics.ts'

const VSADM = join(import.meta.dirname, '../../node/cli/bin/vsadm')

export interface StartResult {
  /** Milliseconds from the call of the launcher to its end, with an answer of the director in between. */
  readonly vsadmMs: number
  /** The same for a Node that does nothing. */
  readonly nodeMs: number
  readonly differenceMs: number
}

export interface RestoreResult {
  readonly services: number
  readonly servers: number
  readonly seconds: number
  /** vsadm -Ln of all of it. */
  readonly listSeconds: number
  /** From the answer until the other director has all of it. */
  readonly peerSeconds: number
  /** Longest time between two VRRP advertisements on the wire meanwhile; their interval is ADVERTISEMENT_INTERVAL_MS. */
  readonly longestSilenceMs: number
}

export interface CommandResult {
  readonly start: StartResult
  readonly restore: RestoreResult
}

export const ADVERTISEMENT_INTERVAL_MS = 50
const GIVE_UP_MS = 120_000

/** @param runs of vsadm and of Node, in turns */
export async function measureCommands(runs: number, services: number, serversEach: number): Promise<CommandResult> {
  const options = {
    name: `bench${process.pid}`,
    directors: 2,
    servers: 1,
    advertisementIntervalMs: ADVERTISEMENT_INTERVAL_MS,
  } as const
  return await withTestLab(options, async (lab) => ({
    start: measureStart(runs, startsOf(controlSocketOf(lab.folder, 'd1'))),
    restore: await measureRestore(lab, services, serversEach),
  }))
}

/** Each starts a program, waits for its end, and says how long that was, milliseconds. */
interface Starts {
  readonly vsadm: () => number
  readonly node: () => number
}

function startsOf(socketPath: string): Starts {
  return {
    vsadm: () => elapsedMs(VSADM, ['-Ln'], socketPath),
    node: () => elapsedMs(process.execPath, ['-e', '0'], socketPath),
  }
}

export function measureStart(runs: number, starts: Starts): StartResult {
  const vsadm: number[] = []
  const node: number[] = []
  // The first run fills the compile cache.
  for (let run = -1; run < runs; run++) {
    const ours = starts.vsadm()
    const bare = starts.node()
    if (run < 0) continue
    vsadm.push(ours)
    node.push(bare)
  }
  const [vsadmMs, nodeMs] = [median(vsadm), median(node)]
  return { vsadmMs, nodeMs, differenceMs: vsadmMs - nodeMs }
}

async function measureRestore(lab: Lab, services: number, serversEach: number): Promise<RestoreResult> {
  const document = largeDocument(VIRTUAL_ADDRESS, services, serversEach)
  const lines = document.split('\n').length - 1
  const holder = hostNamed(lab.plan, 'd1')
  const watch = await AdvertisementWatch.begin(lab.plan.switchNamespace, holder)
  try {
    const start = performance.now()
    await vsadm(lab, 'd1', ['-R'], document)
    const restored = performance.now()
    const listing = await vsadm(lab, 'd1', ['-Ln'])
    const listed = performance.now()
    if (listing.split('\n').length < lines) throw new Error('the listing has not all that was restored')
    const peer = await eventually(
      'the peer has all of it',
      async () => {
        const has = await vsadm(lab, 'd2', ['-Ln'])
        return has.split('\n').length >= lines ? performance.now() : undefined
      },
      GIVE_UP_MS,
    )
    return {
      services,
      servers: services * serversEach,
      seconds: (restored - start) / 1000,
      listSeconds: (listed - restored) / 1000,
      peerSeconds: (peer - restored) / 1000,
      longestSilenceMs: watch.longestSilenceMs,
    }
  } finally {
    watch.end()
  }
}

function elapsedMs(program: string, words: readonly string[], socketPath: string): number {
  const start = performance.now()
  const { status } = spawnSync(program, words, { env: { ...process.env, DIRECTOR_SOCKET: socketPath } })
  if (status !== 0) throw new Error(`${program} ended with ${status}`)
  return performance.now() - start
}

async function vsadm(lab: Lab, director: string, words: readonly string[], input = ''): Promise<string> {
  const env = { ...process.env, DIRECTOR_SOCKET: controlSocketOf(lab.folder, director) }
  const child = spawn(VSADM, words, { env })
  child.stdin.end(input)
  const [output, complaint] = await Promise.all([text(child.stdout), text(child.stderr)])
  if (complaint !== '') throw new Error(`vsadm ${words.join(' ')}: ${complaint}`)
  return output
}
