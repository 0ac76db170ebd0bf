/**
 * The lab: a pool of real director processes, real servers and clients, in network namespaces of this machine. What
 * `director lab` does, and what drills and tests stand on.
 *
 * Nothing outside the lab's namespaces and its folder is touched, and nothing outlives a lab: one that was not left standing on
 * purpose is ended with the work it was made for, and if its owner is killed, by the next call of withLab(), labUp() or labDown().
 */
import { spawn } from 'node:child_process'
import { constants } from 'node:os'
import { DirectorError } from '../../protocol/errors.ts'
import { untilInterrupted } from './interruption.ts'
import { createNetwork, destroyNetwork, inNamespace, namespacesOf } from './lab-network.ts'
import { checkLabName, hostNamed, type LabOptions, type LabPlan, planLab, VIRTUAL_ADDRESSES } from './lab-plan.ts'
import {
  type BulkFile,
  type LabProcess,
  prepareFiles,
  startAgents,
  startDirector,
  startDirectors,
  startServers,
} from './lab-programs.ts'
import { bringUpPool } from './lab-ready.ts'
import { abandonedLabs, claimLab, keepLab, type LabRecord, readLab, readLabs, releaseLab } from './lab-state.ts'

export interface Lab {
  readonly plan: LabPlan
  readonly folder: string
  readonly bulkFiles: readonly BulkFile[]
  readonly processes: readonly LabProcess[]
  /** Starts the director of a host again, which has ended. */
  startDirector(host: string): void
}

/**
 * Runs `work` in a lab that is there only for it.
 * `onFailure` is called with the lab's folder, while it still exists, when the lab does not come up or the work fails.
 * @throws DirectorError LAB_EXISTS, LAB_FAILED, PRIVILEGE_MISSING, INPUT_INVALID, and what `work` throws
 */
export async function withLab<T>(
  options: LabOptions,
  signal: AbortSignal,
  work: (lab: Lab) => Promise<T>,
  onFailure: (folder: string, error: unknown) => void = () => {},
): Promise<T> {
  const plan = planLab(options)
  await sweep()
  const folder = claimLab(plan)
  const processes: LabProcess[] = []
  try {
    return await work(await build(plan, folder, signal, processes))
  } catch (error) {
    onFailure(folder, error)
    throw error
  } finally {
    await demolish(plan.name, processes)
  }
}

/** Builds a lab and leaves it standing. @throws as withLab */
export async function labUp(options: LabOptions): Promise<LabDescription> {
  const plan = planLab(options)
  await sweep()
  const folder = claimLab(plan)
  const processes: LabProcess[] = []
  return await untilInterrupted(async (signal) => {
    try {
      await build(plan, folder, signal, processes)
      // Whoever has interrupted it does not expect it to stand.
      signal.throwIfAborted()
      keepLab(plan.name)
      return describe(readLab(plan.name)!)
    } catch (error) {
      await demolish(plan.name, processes)
      throw error
    }
  })
}

/** Ends a lab, whoever made it. @throws DirectorError LAB_MISSING */
export async function labDown(name: string): Promise<void> {
  checkLabName(name)
  await sweep(name)
  if (!readLab(name) && namespacesOf(name).length === 0) throw labMissing(name)
  await demolish(name)
}

/**
 * Runs a command on a host of a lab, with this process's terminal.
 * @returns its exit code; 128 and the signal's number when a signal ended it
 * @throws DirectorError LAB_MISSING, INPUT_INVALID
 */
export async function labExec(name: string, host: string, command: readonly string[]): Promise<number> {
  checkLabName(name)
  const record = readLab(name)
  if (!record) throw labMissing(name)
  if (command.length === 0) throw new DirectorError('INPUT_INVALID', 'no command: give one after --')
  const { namespace } = hostNamed(record.plan, host)
  const [program, ...args] = inNamespace(namespace, command)
  const child = spawn(program, args, { stdio: 'inherit' })
  // Ctrl-C goes to the command as well, and it is the command that decides.
  const ignore = () => {}
  process.on('SIGINT', ignore)
  try {
    return await new Promise<number>((resolve, reject) => {
      child.once('error', (error) => reject(new DirectorError('LAB_FAILED', `${program}: ${error.message}`)))
      child.once('exit', (code, signal) => resolve(code ?? 128 + constants.signals[signal!]))
    })
  } finally {
    process.off('SIGINT', ignore)
  }
}

export interface LabDescription {
  name: string
  method: string
  virtualAddresses: string[]
  /** Left standing on purpose; false: it belongs to a running drill or test. */
  kept: boolean
  createdAt: Date
  hosts: { name: string; addresses: string[] }[]
}

/** The labs of this machine that stand, or are being built. */
export function labList(): LabDescription[] {
  const abandoned = new Set(abandonedLabs())
  return readLabs()
    .filter((record) => !abandoned.has(record.plan.name))
    .map(describe)
}

/** Ends what dead owners left, except one lab that the caller is about to end anyway. */
async function sweep(except?: string): Promise<void> {
  for (const name of abandonedLabs()) if (name !== except) await demolish(name)
}

/** @param processes where each is added that is started */
async function build(plan: LabPlan, folder: string, signal: AbortSignal, processes: LabProcess[]): Promise<Lab> {
  await createNetwork(plan)
  signal.throwIfAborted()
  const bulkFiles = prepareFiles(plan, folder)
  const onStart = (started: LabProcess) => void processes.push(started)
  startServers(plan, folder, onStart)
  await startDirectors(plan, folder, onStart)
  startAgents(plan, folder, onStart)
  await bringUpPool(plan, folder, processes, signal)
  return {
    plan,
    folder,
    bulkFiles,
    processes,
    startDirector: (host) => startDirector(folder, hostNamed(plan, host), onStart),
  }
}

/**
 * The folder goes last: until then the lab can be found.
 * @param processes of those that this process has started: one that is just about to enter its namespace is not found in it
 */
async function demolish(name: string, processes: readonly LabProcess[] = []): Promise<void> {
  for (const { child } of processes) child.kill('SIGKILL')
  await destroyNetwork(name)
  releaseLab(name)
}

function describe({ plan, kept, createdAt }: LabRecord): LabDescription {
  return {
    name: plan.name,
    method: plan.method,
    virtualAddresses: Object.values(VIRTUAL_ADDRESSES),
    kept,
    createdAt: new Date(createdAt * 1000),
    hosts: plan.hosts.map(({ name, interfaces }) => ({
      name,
      addresses: interfaces.flatMap(({ address, ipv6Address }) => [address, ipv6Address]),
    })),
  }
}

function labMissing(name: string): DirectorError {
  return new DirectorError('LAB_MISSING', `there is no lab ${name}: \`director lab list\` shows those that there are`)
}
