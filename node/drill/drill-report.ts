/**
 * What a drill found: the numbers, the verdict, and both in words. Pure.
 *
 * - A session's pause is the longest time from when one of its messages was due until its answer was read.
 *   p50, p99 and max are taken over the sessions that survived, for answers that came after the failure.
 * - baseline is the longest pause of any of the same sessions in the seconds before, which are as many as those after it:
 *   what this machine does to them without a failure. baselineP99 is to p99 what baseline is to max.
 */
import Table from 'cli-table3'
import type { Failure, Fault, Reaction } from './failure.ts'
import type { Family, LabSync } from './lab-plan.ts'
import type { FailedBeginning, LoadResult } from './load-messages.ts'

export interface DrillResult {
  drill: string
  method: string
  family: Family
  directors: number
  servers: number
  sessions: { opened: number; survived: number; lost: number }
  pauseMs: { baseline: number; baselineP99: number; p50: number; p99: number; max: number }
  /** From the failure until one director held the VIP; null: that was not to be timed, or nobody did. */
  takeoverMs: number | null
  /** setUpMs: until its handshake was over, as the client saw it. */
  newConnections: { attempted: number; failed: number; setUpMs: { p50: number; p99: number } }
  downloads: { started: number; intact: number }
  /** Sessions and downloads open at the failure that the director active after it does not know. */
  missingRecords: number
  /** Losses that a pool must not have, in words; none: the drill passed. */
  needless: string[]
  /** Losses that this failure explains, in words. */
  excused: string[]
}

export interface Observations {
  failure: Failure
  method: string
  family: Family
  sync: LabSync
  directors: number
  servers: number
  /** How many were asked for. */
  sessions: number
  fault: Fault
  reaction: Reaction | undefined
  /** What keeps the pool from being whole at the end, though the failure is over. */
  remains: string | undefined
  missingRecords: number
  load: LoadResult
}

export interface Verdict {
  failure: Failure
  result: DrillResult
}

/**
 * A connection that was in its handshake when the director died may not have reached a standby: records go out when a
 * connection is established, unless confirmed sync is asked for. A handshake takes no longer than this, or than the machine's own
 * noise.
 */
export const HANDSHAKE_MS = 100
/**
 * Connections that a server had not answered yet die with it. A request that is lost is repeated after 0.2, 0.6 and 1.4 s (RFC 6298 with
 * Linux's least timeout), and a busy machine takes its time.
 */
const UNANSWERED_MS = 2000
/** A process on another processor goes on for a moment after the signal that ends or stops it was sent. */
const SIGNAL_MS = 10

export function judge(observations: Observations): Verdict {
  const { failure, fault, reaction, remains, load, missingRecords } = observations
  const needless: string[] = []
  const excused: string[] = []
  const baselines = [...load.baselinePausesMs].sort((a, b) => a - b)
  const baselineMs = percentile(baselines, 100)
  const handshakeMs = Math.max(HANDSHAKE_MS, baselineMs)
  const victimServer = failure.takesAway === 'servers' ? fault.victim : undefined

  if (load.opened < observations.sessions) {
    needless.push(`${observations.sessions - load.opened} of ${observations.sessions} sessions could not be opened`)
  }
  if (!reaction) {
    needless.push(victimServer ? `${victimServer} was never found dead` : 'nobody took the virtual address over')
  }
  for (const host of fault.hung ?? []) needless.push(`${host} did not end in time when it was stopped, and was killed`)
  if (remains) needless.push(`the pool did not recover: ${remains}`)
  if (missingRecords > 0) needless.push(`${missingRecords} connection records were missing at the active director`)
  const diedWith = (server: string, atMs: number) => server === victimServer && atMs >= fault.atMs
  weigh('session', load.lost, ({ server, atMs }) => diedWith(server, atMs))
  const wasWithVictim = ({ server, startedMs }: FailedBeginning) =>
    server !== undefined && diedWith(server, fault.atMs) && startedMs >= fault.atMs - UNANSWERED_MS
  weigh(
    'new connection',
    load.connections.failed,
    (one) => wasWithVictim(one) || explainsBeginning(observations, handshakeMs, one),
  )
  // Of one that had begun to come it is known whose it was; to a director that dies that makes no difference.
  weigh('download', load.downloads.failed, (one) =>
    one.server !== '' && failure.takesAway === 'servers'
      ? diedWith(one.server, one.failedMs)
      : explainsBeginning(observations, handshakeMs, one),
  )

  const setUps = [...load.connections.setUpMs].sort((a, b) => a - b)
  const pauses = [...load.pausesMs].sort((a, b) => a - b)
  return {
    failure,
    result: {
      drill: failure.name,
      method: observations.method,
      family: observations.family,
      directors: observations.directors,
      servers: observations.servers,
      sessions: { opened: load.opened, survived: load.opened - load.lost.length, lost: load.lost.length },
      pauseMs: {
        baseline: tenths(baselineMs),
        baselineP99: tenths(percentile(baselines, 99)),
        p50: tenths(percentile(pauses, 50)),
        p99: tenths(percentile(pauses, 99)),
        max: tenths(percentile(pauses, 100)),
      },
      takeoverMs: reaction && reaction.sinceMs !== null ? tenths(reaction.atMs - reaction.sinceMs) : null,
      newConnections: {
        attempted: load.connections.attempted,
        failed: load.connections.failed.length,
        setUpMs: { p50: tenths(percentile(setUps, 50)), p99: tenths(percentile(setUps, 99)) },
      },
      downloads: { started: load.downloads.started, intact: load.downloads.intact },
      missingRecords,
      needless,
      excused,
    },
  }

  function weigh<T extends Loss>(what: string, losses: readonly T[], isExcused: (loss: T) => boolean) {
    for (const [list, verdict] of [
      [excused, true],
      [needless, false],
    ] as const) {
      const those = losses.filter((loss) => isExcused(loss) === verdict)
      if (those.length > 0)
        list.push(
          `${count(those.length, what)} lost (${reasonsOf(those)}${whenOf(those, fault.atMs)}${whereOf(those)})`,
        )
    }
  }
}

/** Whether a failure explains that something begun then had no answer, whichever server it was given to. */
export function explainsBeginning(
  { failure, fault, reaction, sync }: Pick<Observations, 'failure' | 'fault' | 'reaction' | 'sync'>,
  handshakeMs: number,
  { startedMs, connectedMs = startedMs }: Pick<FailedBeginning, 'startedMs' | 'connectedMs'>,
): boolean {
  const { explains } = failure
  // A SYN may have been lost, and come again later.
  if (explains === 'nothing' || connectedMs < fault.atMs - handshakeMs) return false
  if (explains !== 'handshakes') return startedMs <= (reaction?.atMs ?? fault.atMs) + handshakeMs
  if (sync !== 'established') return false
  return (fault.lossesMs ?? [fault.atMs]).some((ms) => connectedMs >= ms - handshakeMs && startedMs <= ms + SIGNAL_MS)
}

/** Nearest rank: the smallest value that is not below `percent` of them. `sorted` ascends; 0 when it is empty. */
export function percentile(sorted: readonly number[], percent: number): number {
  return sorted[Math.max(0, Math.ceil((sorted.length * percent) / 100) - 1)] ?? 0
}

const FAMILY_NAMES: Record<Family, string> = { ipv4: 'IPv4', ipv6: 'IPv6' }

export function resultTable({ result }: Verdict): string {
  const { sessions, pauseMs, newConnections, downloads } = result
  const table = new Table({ style: { head: [], border: [] } })
  table.push(
    [
      'drill',
      `${result.drill}, ${result.method}, ${FAMILY_NAMES[result.family]}, ${result.directors} directors, ${result.servers} servers`,
    ],
    ['sessions', `${sessions.opened} opened, ${sessions.survived} survived, ${sessions.lost} lost`],
    ['pause a session', `median ${pauseMs.p50} ms, 99th percentile ${pauseMs.p99} ms, longest ${pauseMs.max} ms`],
    ['without a failure', `99th percentile ${pauseMs.baselineP99} ms, longest ${pauseMs.baseline} ms`],
    ['takeover', result.takeoverMs === null ? 'none' : `${result.takeoverMs} ms`],
    ['new connections', `${newConnections.attempted} attempted, ${newConnections.failed} failed`],
    ['their set-up', `median ${newConnections.setUpMs.p50} ms, 99th percentile ${newConnections.setUpMs.p99} ms`],
    ['downloads', `${downloads.started} started, ${downloads.intact} intact`],
    ['missing records', String(result.missingRecords)],
  )
  return table.toString()
}

/** Several drills, a line each. */
export function summaryTable(verdicts: readonly Verdict[]): string {
  const head = ['drill', 'sessions lost', 'pause: p99, without', 'takeover', 'new failed', 'intact', 'verdict']
  const table = new Table({ head, style: { head: [], border: [] } })
  for (const { result } of verdicts) {
    const { drill, sessions, pauseMs, takeoverMs, newConnections, downloads, needless, excused } = result
    table.push([
      drill,
      `${sessions.lost} of ${sessions.opened}`,
      `${pauseMs.p99} ms, ${pauseMs.baseline} ms`,
      takeoverMs === null ? 'none' : `${takeoverMs} ms`,
      `${newConnections.failed} of ${newConnections.attempted}`,
      `${downloads.intact} of ${downloads.started}`,
      needless.length > 0 ? 'failed' : excused.length > 0 ? 'passed, losses explained' : 'passed',
    ])
  }
  return table.toString()
}

/** The whole in one plain sentence. */
export function verdictSentence({ failure, result }: Verdict): string {
  const { sessions, pauseMs, takeoverMs, needless, excused } = result
  if (needless.length > 0) return `The drill failed: ${needless.join('; ')}.`
  const reaction =
    failure.takesAway === 'servers'
      ? `${sessions.survived} of ${sessions.opened} sessions lived on`
      : `${takeoverMs === null ? '' : `one held the virtual address ${takeoverMs} ms later and `}none of ${sessions.opened} sessions was lost`
  const what = `${failure.happened}, ${reaction}`
  const pause = `99 of 100 paused for at most ${pauseMs.p99} ms (up to ${pauseMs.baseline} ms without a failure)`
  const explained = excused.length > 0 ? `; as the failure explains, ${excused.join(', ')}` : ''
  return `${what}; ${pause}${explained}.`
}

interface Loss {
  reason: string
  startedMs?: number
  connectedMs?: number
  server?: string
}

/** When they began, and were established, as seen from the failure: a hint at what they met. */
function whenOf(losses: readonly Loss[], faultMs: number): string {
  const begun = span(losses.flatMap(({ startedMs = [] }) => startedMs))
  const established = span(losses.flatMap(({ connectedMs = [] }) => connectedMs))
  return `${begun && `; begun at ${begun}`}${established && `, established at ${established}`}`

  function span(times: readonly number[]): string {
    if (times.length === 0) return ''
    const from = ((Math.min(...times) - faultMs) / 1000).toFixed(2)
    const to = ((Math.max(...times) - faultMs) / 1000).toFixed(2)
    return from === to ? `${from} s` : `${from} to ${to} s`
  }
}

/** Which servers they were given to, as far as that is known. */
function whereOf(losses: readonly Loss[]): string {
  const servers = new Set(losses.flatMap(({ server }) => server || []))
  return servers.size > 0 ? `; with ${[...servers].sort().join(', ')}` : ''
}

function reasonsOf(losses: readonly { reason: string }[]): string {
  const counts = new Map<string, number>()
  for (const { reason } of losses) counts.set(reason, (counts.get(reason) ?? 0) + 1)
  return [...counts].map(([reason, times]) => (times > 1 ? `${times} x ${reason}` : reason)).join(', ')
}

function count(number: number, what: string): string {
  return number === 1 ? `1 ${what}` : `${number} ${what}s`
}

function tenths(value: number): number {
  return Math.round(value * 10) / 10
}
