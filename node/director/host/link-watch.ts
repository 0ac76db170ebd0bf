/**
 * Tells when a used interface loses its carrier and when it has it again: a director that hears nobody because its own cable
 * is out must not hold a VIP. So must not one whose VRRP has lost the address that it speaks from: nobody would hear it, and two
 * would hold the VIP. (Of IPv6, an interface that was down has none until the kernel has made sure of it anew.) Tells also when addresses or routes may have changed. rtnetlink(7) reports changes; "ip monitor"
 * brings them here, and the state itself is read anew each time.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { canonicalAddress } from '../../../protocol/packet/ipv6-address.ts'
import { type IpAddress, type IpLink, runIp } from './ip-command.ts'

/** The monitor ends when the kernel has more to tell than its socket holds: then it is started again after this time. */
const RESTART_MS = 1000
/** When a monitor that was started listens for certain; what changed before is found by reading once more. */
const LISTENING_MS = 1000

export interface LinkWatch {
  close(): void
}

/** What is watched: an interface, or an address on it. */
export interface Watched {
  readonly name: string
  readonly address?: string
}

export interface LinkWatchHandlers {
  /** With what is wrong, or undefined when it is well again; the first time only if something is wrong. */
  readonly onFault: (watched: Watched, fault: string | undefined) => void
  /** Something about links, addresses or routes is or may be other than before. */
  readonly onActivity: () => void
}

export function watchLinks(all: readonly Watched[], { onFault, onActivity }: LinkWatchHandlers): LinkWatch {
  let closed = false
  const known = new Map<Watched, string | undefined>()
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
      const links = (await runIp(['address', 'show']).catch(() => undefined)) as IpLink[] | undefined
      if (!links || closed) continue
      for (const watched of all) {
        const fault = findFault(watched, links)
        if (fault === known.get(watched)) continue
        known.set(watched, fault)
        onFault(watched, fault)
      }
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

function findFault({ name, address }: Watched, links: readonly IpLink[]): string | undefined {
  const link = links.find(({ ifname }) => ifname === name)
  if (address !== undefined) return findAddressFault(name, address, link?.addr_info)
  if (!link) return `${name} is gone`
  if (!link.flags.includes('UP')) return `${name} is down`
  if (!link.flags.includes('LOWER_UP')) return `${name} has no carrier`
  return undefined
}

function findAddressFault(name: string, address: string, all: readonly IpAddress[] = []): string | undefined {
  const found = all.find(({ local }) => canonicalAddress(local) === address)
  if (!found) return `${address} is no longer on ${name}`
  if (found.dadfailed) return `somebody else on ${name} has ${address} too`
  return found.tentative ? `the kernel is making sure that nobody else on ${name} has ${address}` : undefined
}
