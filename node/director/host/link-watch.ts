/**
 * Tells when a used interface loses its carrier and when it has it again: a director that hears nobody because its own cable
 * is out must not hold a VIP. Tells also when addresses or routes may have changed. rtnetlink(7) reports changes; "ip monitor"
 * brings them here, and the state itself is read anew each time.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { type IpLink, runIp } from './ip-command.ts'

/** The monitor ends when the kernel has more to tell than its socket holds: then it is started again after this time. */
const RESTART_MS = 1000
/** When a monitor that was started listens for certain; what changed before is found by reading once more. */
const LISTENING_MS = 1000

export interface LinkWatch {
  close(): void
}

export interface LinkWatchHandlers {
  /** With what is wrong, or undefined when all is well; the first time only if something is wrong. */
  readonly onFault: (fault: string | undefined) => void
  /** Something about links, addresses or routes is or may be other than before. */
  readonly onActivity: () => void
}

export function watchLinks(names: readonly string[], { onFault, onActivity }: LinkWatchHandlers): LinkWatch {
  let closed = false
  let known: string | undefined
  let reading = false
  let readAgain = false
  let monitor: ChildProcess
  let timer: NodeJS.Timeout | undefined

  const read = async () => {
    onActivity()
    readAgain = true
    if (reading) return
    reading = true
    while (readAgain && !closed) {
      readAgain = false
      // A link that vanishes while it is being listed makes ip(8) fail; that change is reported as well.
      const links = (await runIp(['link', 'show']).catch(() => undefined)) as IpLink[] | undefined
      if (!links || closed) continue
      const fault = findFault(names, links)
      if (fault === known) continue
      known = fault
      onFault(fault)
    }
    reading = false
  }
  const start = () => {
    monitor = spawn('ip', ['-oneline', 'monitor', 'link', 'address', 'route'], { stdio: ['ignore', 'pipe', 'ignore'] })
    monitor.stdout!.on('data', read)
    monitor.once('error', () => {})
    monitor.once('close', () => {
      clearTimeout(timer)
      if (!closed) timer = setTimeout(start, RESTART_MS)
    })
    monitor.once('spawn', read)
    timer = setTimeout(read, LISTENING_MS)
  }
  start()
  return {
    close() {
      closed = true
      clearTimeout(timer)
      monitor.kill()
    },
  }
}

function findFault(names: readonly string[], links: readonly IpLink[]): string | undefined {
  for (const name of names) {
    const link = links.find(({ ifname }) => ifname === name)
    if (!link) return `${name} is gone`
    if (!link.flags.includes('UP')) return `${name} is down`
    if (!link.flags.includes('LOWER_UP')) return `${name} has no carrier`
  }
  return undefined
}
