/**
 * npm run soak -- [--minutes 60] [--rate 2000] [--sessions 500] [--method nat] [--sync established] [--failures crash,freeze,...]
 * [--times N] [--seed N]: a lab under load while random failures come one after the other, until the time is over or there were so many. At
 * the end: nothing lost that no failure explains, no namespace left behind, no frame kept by a director, and nothing grown in directors, agents
 * and session servers: memory, descriptors, threads. The director with the lowest priority is never ended, so that one lives for as long as the soak.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { explainsBeginning, HANDSHAKE_MS, type Observations } from '../../node/drill/drill-report.ts'
import { directorOn, type Failure, lookUntil } from '../../node/drill/failure.ts'
import { freeze } from '../../node/drill/failures/freeze.ts'
import { FAILURE_NAMES, failureNamed } from '../../node/drill/failures/registry.ts'
import { untilInterrupted } from '../../node/drill/interruption.ts'
import { type Lab, withLab } from '../../node/drill/lab.ts'
import { findActive, statusOf } from '../../node/drill/lab-directors.ts'
import { namespacesOf } from '../../node/drill/lab-network.ts'
import {
  hostsOf,
  type LabMethod,
  type LabSync,
  SESSION_PORT,
  SYNCS,
  VIRTUAL_ADDRESSES,
  WEB_PORT,
} from '../../node/drill/lab-plan.ts'
import { endsInTime } from '../../node/drill/lab-programs.ts'
import { awaitWholePool } from '../../node/drill/lab-ready.ts'
import { LoadClient, sessionClientIn } from '../../node/drill/load-client.ts'
import {
  type FailedBeginning,
  type LoadProgress,
  type LoadResult,
  monotonicMs,
} from '../../node/drill/load-messages.ts'
import { putFirst, putSecond } from '../../node/processor-share.ts'
import { seededRandom } from '../random.ts'
import { programOptions } from '../support/program-options.ts'
import { describeTrend, type Sample, trendsOf } from './growth.ts'
import { type HostLog, logOf, logsAround, standstills } from './logs.ts'
import { traceConnection, traceCounters, tracePaths } from './trace.ts'
import { measure } from './usage.ts'

/** Those that can come again and again. A server that died does not come back, and a newcomer is what every director is that does. */
const ENDURABLE = FAILURE_NAMES.filter((name) => name !== 'server-death' && name !== 'join')
/** Between the pool's recovery and the next failure. */
const LONGEST_REST_MS = 3000
const PATIENCE_MS = 10_000
/** A director leaves the address to one of higher priority as soon as that is in sync. */
const PREEMPTED_WITHIN_MS = 30_000
/** How often that is traced which no failure explains, and how often its paths: what that takes is taken from the next connections. */
const MOST_TRACES = 30
const MOST_PATH_TRACES = 3
/** Of those that wait or fail together. */
const MOST_TRACED = 2
/** Of each kind of loss. */
const MOST_LINES = 40
const TOGETHER_MS = 1000
/** Before it broke. */
const BROKEN_MS = 45_000
/** Longer than a frame waits for anything. */
const FRAMES_WITHIN_MS = 10_000

type Endured = Pick<Observations, 'failure' | 'fault' | 'reaction' | 'sync'>

const values = programOptions({
  minutes: { type: 'string', default: '60' },
  rate: { type: 'string', default: '2000' },
  sessions: { type: 'string', default: '500' },
  method: { type: 'string', default: 'nat' },
  sync: { type: 'string', default: 'established' },
  failures: { type: 'string', default: ENDURABLE.join(',') },
  times: { type: 'string', default: '1000000' },
  seed: { type: 'string', default: String(Date.now() % 2 ** 31) },
})
for (const option of ['minutes', 'rate', 'sessions', 'times', 'seed'] as const) {
  if (Number(values[option]) > 0) continue
  process.stderr.write(`--${option} ${values[option]}: expected a number above 0\n`)
  process.exit(2)
}
const startMs = monotonicMs()
const endMs = startMs + Number(values.minutes) * 60_000
const { below } = seededRandom(Number(values.seed))
const names = values.failures.split(',')
const failures = names.flatMap((name) => (ENDURABLE.includes(name) ? (failureNamed(name) ?? []) : []))
if (failures.length < names.length) {
  process.stderr.write(`--failures ${values.failures}: expected some of ${ENDURABLE.join(', ')}\n`)
  process.exit(2)
}
const sync = SYNCS.find((one) => one === values.sync)
if (sync === undefined) {
  process.stderr.write(`--sync ${values.sync}: expected one of ${SYNCS.join(', ')}\n`)
  process.exit(2)
}
const name = `soak-${process.pid}`
const endured: Endured[] = []
/** Directors that stood still for too long, because of a freeze or by the machine itself. */
const stoodStill: Endured[] = []
const samples: Sample[] = []
/** Directors that keep frames when nothing is under way any more. */
let keepers: string[] = []
let brokenBy: string | undefined
let loadMs = 0
let traces = 0
let pathTraces = 0

putFirst()
say(`seed ${values.seed}`)
const load = await untilInterrupted(async (signal) =>
  withLab({ name, method: values.method as LabMethod, sync }, signal, (lab) => soak(lab, signal)),
)
report(load)

async function soak(lab: Lab, signal: AbortSignal): Promise<LoadResult> {
  let failed = 0
  const follow = ({ overdue, connectionsFailed, lastFailure }: LoadProgress) => {
    for (const those of Map.groupBy(unexplainedOf(overdue), ({ reason }) => reason).values()) void tellOf(lab, those)
    if (connectionsFailed === failed) return
    failed = connectionsFailed
    if (lastFailure) void tellOf(lab, [lastFailure])
  }
  // When the machine has no time for all of them, the load shall become less, not the directors slower.
  const client = new LoadClient(sessionClientIn(hostsOf(lab.plan, 'client')[0].namespace), signal, follow, putSecond)
  await client.open({
    virtualAddress: VIRTUAL_ADDRESSES.ipv4,
    sessionPort: SESSION_PORT,
    webPort: WEB_PORT,
    sessions: Number(values.sessions),
    messageIntervalMs: 1000,
    connectionsPerSecond: Number(values.rate),
    downloads: [],
    patienceMs: PATIENCE_MS,
  })
  const beganMs = monotonicMs()
  client.fault(beganMs)
  while (monotonicMs() < endMs && endured.length < Number(values.times)) {
    await delay(below(LONGEST_REST_MS), undefined, { signal })
    const failure = failures[below(failures.length)]
    const problem = await endure(lab, failure, signal)
    if (problem !== undefined) {
      brokenBy = `${failure.name}: ${problem}`
      sayAll('what directors wrote before the soak broke:', logsAround(directorLogs(lab), monotonicMs(), BROKEN_MS))
      break
    }
    samples.push(...measure(lab))
    const minutes = ((monotonicMs() - startMs) / 60_000).toFixed(1)
    say(`${minutes} min, ${endured.length} failures endured, the last: ${failure.name}`)
  }
  loadMs = monotonicMs() - beganMs
  const result = await client.finish()
  await lookUntil(monotonicMs() + FRAMES_WITHIN_MS, signal, async () => {
    keepers = await findKeepers(lab)
    return keepers.length === 0 || undefined
  })
  const logs = directorLogs(lab)
  stoodStill.push(...standstills(logs).map(({ host, atMs }) => standstillOf(host, atMs)))
  for (const { startedMs } of firstOfEach(unexplainedOf(result.connections.failed)))
    sayAll(`around a loss, ${sinceLast(startedMs)}:`, logsAround(logs, startedMs))
  return result
}

async function findKeepers({ plan, folder }: Lab): Promise<string[]> {
  const found = hostsOf(plan, 'director').map(async ({ name: host }) => {
    const { frames } = (await statusOf(folder, host)) ?? {}
    if (!frames) return [`${host} does not say how many frames it keeps`]
    return frames.kept > 0 ? [`${host} keeps ${frames.kept} of ${frames.capacity} frames`] : []
  })
  return (await Promise.all(found)).flat()
}

function directorLogs(lab: Lab): HostLog[] {
  return hostsOf(lab.plan, 'director').map((host) => logOf(lab, host.name))
}

/** It explains what a freeze explains. */
function standstillOf(victim: string, atMs: number): Endured {
  return { failure: freeze, fault: { victim, atMs }, reaction: undefined, sync: sync as LabSync }
}

function unexplainedOf(beginnings: readonly FailedBeginning[]): FailedBeginning[] {
  const causes = [...endured, ...stoodStill]
  return beginnings.filter((one) => !causes.some((each) => explainsBeginning(each, HANDSHAKE_MS, one)))
}

/** What failed together has one cause. */
function firstOfEach(failed: readonly FailedBeginning[]): FailedBeginning[] {
  const inOrder = failed.toSorted((a, b) => a.startedMs - b.startedMs)
  return inOrder.filter(({ startedMs }, index) => index === 0 || startedMs - inOrder[index - 1].startedMs > TOGETHER_MS)
}

/** Makes one failure and lets the pool recover. Returns what went wrong with that. */
async function endure(lab: Lab, failure: Failure, signal: AbortSignal): Promise<string | undefined> {
  const spared = hostsOf(lab.plan, 'director').at(-1)!.name
  const active = await lookUntil(monotonicMs() + PREEMPTED_WITHIN_MS, signal, async () => {
    const found = await findActive(lab)
    return found === spared ? undefined : found
  })
  if (active === undefined) return `${spared} keeps the virtual address, though others have a higher priority`
  const rehearsal = { lab, family: 'ipv4', active, spared, signal } as const
  const fault = await failure.make(rehearsal, () => {})
  const reaction = await failure.awaitReaction(rehearsal, fault)
  endured.push({ failure, fault, reaction, sync: lab.plan.sync })
  if (!reaction) return 'nobody took the virtual address over'
  await failure.mend?.(rehearsal, fault)
  const hung = [...(fault.hung ?? [])]
  if (!failure.isMended) {
    if (!(await endsInTime(directorOn(lab, fault.victim).child, signal))) hung.push(fault.victim)
    lab.startDirector(fault.victim)
  }
  if (hung.length > 0) return `${hung.join(', ')} did not end in time, and was killed`
  try {
    await awaitWholePool(lab, signal)
    return undefined
  } catch (error) {
    return (error as Error).message
  }
}

/** Of connections that have waited or failed for one reason together. What a failure explains is said, and not traced. */
async function tellOf(lab: Lab, together: readonly FailedBeginning[]): Promise<void> {
  const [{ startedMs, reason }] = together
  const ports = together.slice(0, MOST_TRACED).flatMap(({ port }) => port ?? [])
  const traced: Promise<string[]>[] = []
  if (unexplainedOf(together).length > 0 && traces++ < MOST_TRACES) {
    // All at once: a socket that still waits does not wait for a director that answers late.
    traced.push(...ports.map((port) => traceConnection(lab, port)), traceCounters(lab))
    if (reason.startsWith('not connected') && pathTraces++ < MOST_PATH_TRACES) traced.push(tracePaths(lab))
  }
  const more = together.length > MOST_TRACED ? [`${together.length - MOST_TRACED} more`] : []
  const whose = [...ports.map((port) => `port ${port}`), ...more]
  sayAll([`${reason}, begun ${sinceLast(startedMs)}`, ...whose].join(', '), (await Promise.all(traced)).flat())
}

function report(load: LoadResult): void {
  const trends = trendsOf(samples)
  const unexplained = unexplainedOf(load.connections.failed)
  const lost = load.lost.map(({ client, server, reason, atMs }) => {
    return `session ${client} with ${server}, last heard ${sinceLast(atMs - PATIENCE_MS)}: ${reason}`
  })
  const beginnings = unexplained.map(({ startedMs, connectedMs, port, reason }) => {
    const established =
      connectedMs === undefined ? '' : `, established ${Math.round(connectedMs - startedMs)} ms later on port ${port}`
    return `connection begun ${sinceLast(startedMs)}${established}: ${reason}`
  })
  const problems = [
    ...(brokenBy ? [brokenBy] : []),
    ...trends
      .filter(({ grown }) => grown.length > 0)
      .map((trend) => `too much of ${trend.grown.join(', ')}: ${describeTrend(trend)}`),
    ...keepers,
    ...namespacesOf(name).map((namespace) => `namespace ${namespace} is left behind`),
    ...sampleOf(lost),
    ...sampleOf(beginnings),
  ]
  const { attempted, failed } = load.connections
  const rate = Math.round((attempted * 1000) / loadMs)
  const connections = `${attempted} connections (${rate} a second)`
  say(
    `${load.opened} sessions, ${load.lost.length} lost; ${connections}, ${failed.length} failed, ${unexplained.length} unexplained`,
  )
  const counts = failures.map(
    (failure) => `${endured.filter((each) => each.failure === failure).length} ${failure.name}`,
  )
  say(
    `endured: ${counts.join(', ')}; directors stood still and lost their addresses ${stoodStill.length} times, freezes included`,
  )
  for (const trend of trends) say(describeTrend(trend))
  for (const problem of problems) process.stderr.write(`${problem}\n`)
  process.exitCode = problems.length > 0 ? 1 : 0
}

/** As many as can be read, from everywhere. */
function sampleOf(lines: readonly string[]): string[] {
  const step = Math.max(1, lines.length / MOST_LINES)
  return Array.from({ length: Math.min(lines.length, MOST_LINES) }, (_, index) => lines[Math.floor(index * step)])
}

function sinceLast(startedMs: number): string {
  const last = endured.findLast(({ fault }) => fault.atMs <= startedMs + 1000)
  return last ? `${Math.round(startedMs - last.fault.atMs)} ms after ${last.failure.name}` : 'before any failure'
}

function sayAll(title: string, lines: readonly string[]): void {
  say([title, ...lines].join('\n  '))
}

function say(text: string): void {
  process.stdout.write(`${text}\n`)
}
