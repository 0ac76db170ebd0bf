/** What directors wrote into their logs around a time: when something was lost, what each of them did then. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Lab } from '../../node/drill/lab.ts'
import { logsOf } from '../../node/drill/lab-programs.ts'
import { monotonicMs } from '../../node/drill/load-messages.ts'

const BEFORE_MS = 2500
const AFTER_MS = 2500

export interface HostLog {
  readonly host: string
  readonly lines: readonly LogLine[]
}

interface LogLine {
  /** Unix time, milliseconds. */
  readonly time: number
  readonly text: string
}

/** A director's log; what in it is no line of pino is passed over. */
export function logOf(lab: Lab, host: string): HostLog {
  const lines = readFileSync(join(logsOf(lab.folder), `${host}-director.log`), 'utf8').split('\n')
  return { host, lines: lines.flatMap((line) => readLine(line) ?? []) }
}

/** @param atMs CLOCK_MONOTONIC. Lines of "milliseconds from then, host: what it wrote", in the order of time. */
export function logsAround(logs: readonly HostLog[], atMs: number, beforeMs = BEFORE_MS): string[] {
  const at = Date.now() - monotonicMs() + atMs
  return logs
    .flatMap(({ host, lines }) => lines.map(({ time, text }) => ({ afterMs: Math.round(time - at), host, text })))
    .filter(({ afterMs }) => afterMs > -beforeMs && afterMs < AFTER_MS)
    .sort((a, b) => a.afterMs - b.afterMs)
    .map(({ afterMs, host, text }) => `${afterMs} ms, ${host}: ${text}`)
}

/** When directors stood still for so long that another took over, whatever made them: CLOCK_MONOTONIC. */
export function standstills(logs: readonly HostLog[]): { host: string; atMs: number }[] {
  const epochMs = Date.now() - monotonicMs()
  return logs.flatMap(({ host, lines }) =>
    lines.flatMap(({ time, text }) => {
      const [, stalledMs] = /took over while this director was stalled for (\d+) ms/.exec(text) ?? []
      return stalledMs === undefined ? [] : { host, atMs: time - epochMs - Number(stalledMs) }
    }),
  )
}

function readLine(line: string): LogLine | undefined {
  if (!line.startsWith('{')) return undefined
  try {
    const { time, level, pid, hostname, msg, ...fields } = JSON.parse(line)
    const more = Object.keys(fields).length > 0 ? ` ${JSON.stringify(fields)}` : ''
    return { time: typeof time === 'number' ? time : Date.parse(time), text: `${msg}${more}` }
  } catch {
    return undefined
  }
}
