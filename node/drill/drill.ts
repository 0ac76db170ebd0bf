/**
 * A drill: a failure rehearsed in a lab of its own, under load, and measured. `director drill`, and `npm start`.
 *
 * The lab comes up; the sessions are opened; for some seconds nothing happens, which shows what the machine does to them by
 * itself; the failure is made; for as many seconds the sessions are watched, and longer while one waits for an answer;
 * the verdict follows from what the clients saw and what the directors' control sockets tell.
 */
import { cpSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { DirectorError } from '../../protocol/errors.ts'
import { putFirst } from '../processor-share.ts'
import { judge, resultTable, summaryTable, type Verdict, verdictSentence } from './drill-report.ts'
import type { Failure } from './failure.ts'
import { FAILURE_NAMES, failureNamed, failures } from './failures/registry.ts'
import { untilInterrupted } from './interruption.ts'
import { type Lab, withLab } from './lab.ts'
import { findActive, missingFrom, serverOf } from './lab-directors.ts'
import {
  type Family,
  hostsOf,
  type LabMethod,
  type LabSync,
  SESSION_PORT,
  VIRTUAL_ADDRESSES,
  WEB_PORT,
} from './lab-plan.ts'
import { BULK_BYTES, logsOf } from './lab-programs.ts'
import { awaitWholePool } from './lab-ready.ts'
import { LoadClient, sessionClientIn } from './load-client.ts'
import type { FailedBeginning, LoadProgress } from './load-messages.ts'
import { ProgressLine } from './progress-line.ts'

export interface DrillOptions {
  /** A failure's name, or ALL. */
  drill: string
  method?: LabMethod
  /** Of the services that clients use; ipv4 unless given. */
  family?: Family
  directors?: number
  servers?: number
  sessions?: number
  /** Print one object, and nothing else, on stdout. */
  json?: boolean
  scheduler?: string
  sync?: LabSync
  advertisementIntervalMs?: number
  /** How long is watched before the failure, and at least how long after it; 10 unless given. */
  seconds?: number
  /** New connections a second; 50 unless given. */
  rate?: number
}

const MESSAGE_INTERVAL_MS = 500
const CENSUS_AFTER_MS = 1000
/** Lost connections whose servers are asked for. */
const MOST_NAMED = 30
/** A session that makes no progress for so long is lost. */
const PATIENCE_MS = 10_000
/** One client address has some 28,000 ports, and the new connections need theirs. */
const MAX_SESSIONS = 20_000
const KEPT_LOGS_FOLDER = '/var/log/linux-director'

/** All of them, one after the other. */
const ALL = 'all'
export const DRILLS: readonly string[] = [...FAILURE_NAMES, ALL]

/**
 * Runs a drill, or all of them, and prints what was found.
 * @returns the exit code: 0 only if nothing was lost that need not be
 * @throws DirectorError INPUT_INVALID, and as withLab
 */
export async function runDrill(options: DrillOptions): Promise<number> {
  const wanted = options.drill === ALL ? failures : [failureNamed(options.drill)]
  for (const failure of wanted) checkOptions(options, failure)
  // It says when the failure was, and must not be kept waiting between looking at the clock and making it.
  putFirst()
  const line = new ProgressLine(process.stderr)
  const verdicts: Verdict[] = []
  const broken: string[] = []
  try {
    await untilInterrupted(async (signal) => {
      for (const failure of wanted as readonly Failure[]) {
        try {
          verdicts.push(await rehearseInLab(options, failure, signal, line))
        } catch (error) {
          // The others are still worth their verdicts, those before it and those behind it.
          if (wanted.length === 1 || !(error instanceof DirectorError)) throw error
          broken.push(`${failure.name}: The drill could not be ended: ${error.message}`)
        }
        signal.throwIfAborted()
      }
    })
    line.end()
    print(verdicts, options)
    for (const sentence of broken) process.stderr.write(`${sentence}\n`)
    return broken.length > 0 || verdicts.some(({ result }) => result.needless.length > 0) ? 1 : 0
  } finally {
    line.end()
  }
}

function print(verdicts: readonly Verdict[], { drill, json }: DrillOptions): void {
  if (json) {
    const results = verdicts.map(({ result }) => result)
    process.stdout.write(`${JSON.stringify(drill === ALL ? results : results[0])}\n`)
  } else {
    const table = drill === ALL ? summaryTable(verdicts) : resultTable(verdicts[0])
    process.stdout.write(`${table}\n`)
  }
  for (const verdict of verdicts) {
    const sentence = `${drill === ALL ? `${verdict.failure.name}: ` : ''}${verdictSentence(verdict)}\n`
    if (!json) process.stdout.write(sentence)
    else if (verdict.result.needless.length > 0) process.stderr.write(sentence)
  }
}

async function rehearseInLab(
  options: DrillOptions,
  failure: Failure,
  signal: AbortSignal,
  line: ProgressLine,
): Promise<Verdict> {
  line.show(`${failure.name}: building the lab`)
  const lab = { ...options, name: `drill-${process.pid}`, clients: 1 }
  const onFailure = (folder: string) => {
    if (!signal.aborted) keepLogs(folder)
  }
  return await withLab(lab, signal, (built) => rehearse(built, options, failure, signal, line), onFailure)
}

async function rehearse(
  lab: Lab,
  options: DrillOptions,
  failure: Failure,
  signal: AbortSignal,
  line: ProgressLine,
): Promise<Verdict> {
  const { family = 'ipv4', sessions = 1000, seconds = 10, rate = 50 } = options
  await failure.prepare?.({ lab, family, active: await findActive(lab, family), signal })
  let phase = `opening ${sessions} sessions`
  const client = new LoadClient(sessionClientIn(hostsOf(lab.plan, 'client')[0].namespace), signal, (progress) =>
    line.show(`${failure.name}: ${describeProgress(phase, progress)}`),
  )
  line.show(`${failure.name}: ${phase}`)
  const { opened, reasons } = await client.open({
    virtualAddress: VIRTUAL_ADDRESSES[family],
    sessionPort: SESSION_PORT,
    webPort: WEB_PORT,
    sessions,
    messageIntervalMs: MESSAGE_INTERVAL_MS,
    connectionsPerSecond: rate,
    downloads: lab.bulkFiles.map(({ name, sha256 }) => ({
      path: `/paced/${name}?rate=${downloadRate(seconds)}`,
      sha256,
    })),
    patienceMs: PATIENCE_MS,
  })
  if (opened < sessions) line.note(`${sessions - opened} sessions could not be opened: ${reasons.join(', ')}`)

  phase = `${seconds} s without a failure`
  // The first second still shows the opening.
  await delay(1000, undefined, { signal })
  client.observe()
  await delay(seconds * 1000, undefined, { signal })

  const rehearsal = { lab, family, active: await findActive(lab, family), signal }
  const conversations = await client.census()
  phase = 'the failure'
  const fault = await failure.make(rehearsal, (atMs) => client.fault(atMs))
  const reaction = await failure.awaitReaction(rehearsal, fault)
  await failure.mend?.(rehearsal, fault)
  phase = `after it (${fault.victim})`
  const remains = failure.isMended ? await whatRemains(lab, signal) : undefined
  // A table is long to tell, and its director has better things to do now. What it lacks is not repaired so soon.
  await delay(CENSUS_AFTER_MS, undefined, { signal })
  const holder = failure.isMended && !remains ? await findActive(lab, family) : reaction?.active
  const wanted = conversations.filter(({ server }) => failure.takesAway === 'directors' || server !== fault.victim)
  const missing = holder ? await missingFrom(lab, holder, wanted) : wanted
  await delay(seconds * 1000, undefined, { signal })

  phase = 'waiting for the last answers'
  const load = await client.finish()
  if (holder) await nameServers(lab, family, holder, load.connections.failed)
  const { method, sync } = lab.plan
  const directors = hostsOf(lab.plan, 'director').length
  const servers = hostsOf(lab.plan, 'server').length
  const verdict = judge({
    failure,
    method,
    family,
    sync,
    directors,
    servers,
    sessions,
    fault,
    reaction,
    remains,
    missingRecords: missing.length,
    load,
  })
  if (verdict.result.needless.length > 0) keepLogs(lab.folder)
  return verdict
}

/** A client that had no answer does not know whom it asked. The verdict does not hang on it, but whoever reads it wants to know. */
async function nameServers(lab: Lab, family: Family, holder: string, failed: FailedBeginning[]): Promise<void> {
  for (const one of failed.slice(0, MOST_NAMED))
    one.server = one.port ? await serverOf(lab, family, holder, one.port).catch(() => undefined) : undefined
}

/** After a failure that is over the pool must be whole again: one director active, all in sync, all servers up. */
async function whatRemains(lab: Lab, signal: AbortSignal): Promise<string | undefined> {
  try {
    await awaitWholePool(lab, signal)
    return undefined
  } catch (error) {
    if (!(error instanceof DirectorError)) throw error
    return error.message
  }
}

/**
 * Bytes a second, so that a download lasts for most of the time before the failure, and is under way at it, but neither loads the
 * machine nor keeps the drill from ending.
 */
function downloadRate(seconds: number): number {
  return Math.round(BULK_BYTES / Math.min(8, seconds * 0.8))
}

function describeProgress(phase: string, progress: LoadProgress): string {
  const { alive, lost, progressed, connectionsAttempted, connectionsFailed, downloadsIntact } = progress
  const since = progressed > 0 ? `, ${progressed} heard since` : ''
  return (
    `${phase} | sessions ${alive} alive${since}, ${lost} lost | new connections ${connectionsAttempted}, ` +
    `${connectionsFailed} failed | downloads ${downloadsIntact} intact`
  )
}

/** A lab's logs go with it; those of one that failed are copied, and the operator is told where. */
function keepLogs(folder: string): void {
  const kept = join(KEPT_LOGS_FOLDER, `drill-${new Date().toISOString().replaceAll(/[:.]/g, '-')}`)
  try {
    mkdirSync(kept, { recursive: true })
    cpSync(logsOf(folder), kept, { recursive: true })
    process.stderr.write(`\nlogs of the directors and servers: ${kept}\n`)
  } catch (error) {
    // Not worth hiding the failure that they are of.
    process.stderr.write(`\nlogs could not be kept: ${(error as Error).message}\n`)
  }
}

function checkOptions(options: DrillOptions, failure: Failure | undefined): asserts failure is Failure {
  const { drill, directors = 3, servers = 3, sessions = 1000, seconds = 10, rate = 50 } = options
  if (!failure) throw new DirectorError('INPUT_INVALID', `drill ${drill}: expected ${DRILLS.join(', ')}`)
  const what = failure.takesAway
  const left = what === 'servers' ? servers : directors
  if (left < 2) {
    throw new DirectorError('INPUT_INVALID', `${what} ${left}: ${failure.name} takes one away, so expected at least 2`)
  }
  const limits = [
    ['sessions', sessions, 1, MAX_SESSIONS],
    ['seconds', seconds, 1, 3600],
    ['rate', rate, 1, 500],
  ] as const
  for (const [what, value, minimum, maximum] of limits) {
    if (Number.isInteger(value) && value >= minimum && value <= maximum) continue
    throw new DirectorError('INPUT_INVALID', `${what} ${value}: expected a number from ${minimum} to ${maximum}`)
  }
}
