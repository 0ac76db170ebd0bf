/**
 * What is remembered of a lab while it stands: /run/linux-director/labs/NAME, whose lab.json says who owns it.
 *
 * The folder appears by rename(2), with lab.json in it, before anything else is made, and goes last. So a lab of which
 * anything is left has a folder, and whoever finds the folder knows whether its owner still lives. An owner is a process id and
 * the start time of that process, since ids are used again.
 */
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { DirectorError } from '../../protocol/errors.ts'
import type { LabPlan } from './lab-plan.ts'

export const LABS_FOLDER = '/run/linux-director/labs'

export interface LabRecord {
  readonly plan: LabPlan
  readonly owner: { readonly pid: number; readonly startTime: string }
  /** Left standing on purpose: nobody sweeps it, only `down` ends it. */
  readonly kept: boolean
  /** Seconds since 1970. */
  readonly createdAt: number
}

export function labFolder(name: string): string {
  return join(LABS_FOLDER, name)
}

/** Takes the name for this process. @throws DirectorError LAB_EXISTS, PRIVILEGE_MISSING */
export function claimLab(plan: LabPlan): string {
  const folder = labFolder(plan.name)
  const owner = { pid: process.pid, startTime: startTimeOf(process.pid) ?? '' }
  const draft = join(LABS_FOLDER, `.${plan.name}.${owner.pid}`)
  try {
    mkdirSync(draft, { recursive: true, mode: 0o755 })
    write(draft, { plan, owner, kept: false, createdAt: Math.floor(Date.now() / 1000) })
    renameSync(draft, folder)
  } catch (error) {
    rmSync(draft, { recursive: true, force: true })
    const { code, message } = error as NodeJS.ErrnoException
    if (code === 'ENOTEMPTY' || code === 'EEXIST') {
      throw new DirectorError('LAB_EXISTS', `lab ${plan.name} exists: end it with \`director lab down ${plan.name}\``)
    }
    if (code === 'EACCES' || code === 'EPERM' || code === 'EROFS') {
      throw new DirectorError('PRIVILEGE_MISSING', `${LABS_FOLDER} cannot be written (${code}): run it as root`)
    }
    throw new DirectorError('LAB_FAILED', `${folder}: ${message}`)
  }
  return folder
}

/** From now on the lab stands without its owner. */
export function keepLab(name: string): void {
  const record = readLab(name)
  if (record) write(labFolder(name), { ...record, kept: true })
}

export function releaseLab(name: string): void {
  rmSync(labFolder(name), { recursive: true, force: true })
}

/** undefined: there is no such lab. */
export function readLab(name: string): LabRecord | undefined {
  try {
    return JSON.parse(readFileSync(join(labFolder(name), 'lab.json'), 'utf8')) as LabRecord
  } catch {
    return undefined
  }
}

export function readLabs(): LabRecord[] {
  return labNames().flatMap((name) => readLab(name) ?? [])
}

/** Labs whose owner died before it could end them. Also removes drafts of owners that died while claiming. */
export function abandonedLabs(): string[] {
  for (const entry of entries()) {
    const draftOwner = /^\..*\.(\d+)$/.exec(entry)?.[1]
    if (draftOwner && startTimeOf(Number(draftOwner)) === undefined) {
      rmSync(join(LABS_FOLDER, entry), { recursive: true, force: true })
    }
  }
  return labNames().filter((name) => {
    const record = readLab(name)
    // A folder without a readable record is one whose removal was cut short.
    return !record || (!record.kept && startTimeOf(record.owner.pid) !== record.owner.startTime)
  })
}

/** Clock ticks after boot at which a process started (proc(5), stat field 22); undefined: there is no such process. */
export function startTimeOf(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
    // The name in field 2 may hold blanks and brackets; field 3 follows its last bracket.
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]
  } catch {
    return undefined
  }
}

function labNames(): string[] {
  return entries().filter((entry) => !entry.startsWith('.'))
}

function entries(): string[] {
  try {
    return readdirSync(LABS_FOLDER)
  } catch {
    return []
  }
}

function write(folder: string, record: LabRecord): void {
  const file = join(folder, 'lab.json')
  writeFileSync(`${file}.new`, `${JSON.stringify(record)}\n`)
  renameSync(`${file}.new`, file)
}
