/**
 * Tells when a used interface loses its carrier and when it has it again: a director that hears nobody because its own cable
 * is out must not hold a VIP. So must not one whose VRRP has lost the address that it speaks from: nobody would hear it, and two
 * would hold the VIP. (Of IPv6, an interface that was down has none until the kernel has made sure of it anew.) An interface that was
 * deleted and made anew under the same name, or that has another MAC, is well to look at; but sockets and rings are bound to the one
 * that was, and neighbours are told of the MAC that was. One that was in another network namespace for a while comes back with its number
 * and its MAC, and without all that: for its sockets it was deleted.
 *
 * Tells also when addresses, routes, rules or forwarding may have changed. rtnetlink(7) reports changes; "ip monitor" brings them here, and
 * the state itself is read anew each time.
 */
import { once } from 'node:events'
import { setTimeout as wait } from 'node:timers/promises'
import { formatMac } from '../../../protocol/packet/bytes.ts'
import { canonicalAddress } from '../../../protocol/packet/ipv6-address.ts'
import { type Clock, systemClock } from '../clock.ts'
import { startProgram } from '../program-start.ts'
import { SpacedTask } from '../spaced-task.ts'
import { type IpAddress, type IpLink, type RunIp, runIp } from './ip-command.ts'
import { RetriedLook } from './retried-look.ts'

const MONITOR = ['ip', '-oneline', 'monitor', 'link', 'address', 'route', 'rule', 'netconf']
/** The monitor ends when the kernel has more to tell than its socket holds: then it is started again after this time. */
const RESTART_MS = 1000
/** When a monitor that was started listens for certain; what changed before is found by reading once more. */
const LISTENING_MS = 1000
/** What the operator is to do, or the supervisor. */
const RESTART = 'the director must be started again'
/** Where routes come and go all the time, reading is to be a small part of it. */
const SPACING = { restMs: 200, retryMs: 1000 }

export interface LinkWatch {
  /** Resolves when all has been read once, and onFault has told of what is wrong. */
  readonly known: Promise<void>
  close(): void
}

/** What is watched: an interface, or an address on it. */
export interface Watched {
  readonly name: string
  readonly address?: string
  /** As it was when it was taken into use. */
  readonly identity?: InterfaceIdentity
}

export interface InterfaceIdentity {
  /** Kernel's number of the interface. */
  readonly index: number
  readonly mac: Uint8Array
}

export interface LinkWatchHandlers {
  /** With what is wrong, or undefined when it is well again; the first time only if something is wrong. */
  readonly onFault: (watched: Watched, fault: string | undefined) => void
  /** The interface is not the one any more that was taken into use, which only a new start mends; onFault has told of it. */
  readonly onReplaced: (watched: Watched, fault: string) => void
  /** Something about links, addresses, routes, rules or forwarding is or may be other than before. */
  readonly onActivity: () => void
  /** A line for the log: nothing is seen any more, and why. */
  readonly warn: (message: string) => void
}

export function watchLinks(
  all: readonly Watched[],
  { onFault, onReplaced, onActivity, warn }: LinkWatchHandlers,
  { run, clock }: { run: RunIp; clock: Clock } = { run: runIp, clock: systemClock },
): LinkWatch {
  const closed = new AbortController()
  const known = new Map<Watched, string | undefined>()
  /** That were not there at a look, by name. */
  const gone = new Set<string>()
  const listing = () => run(['address', 'show']) as Promise<IpLink[]>
  const looks = new RetriedLook('the interfaces and their addresses', listing, clock, warn)
  const first = Promise.withResolvers<void>()
  const read = async () => {
    const links = await looks.take()
    if (!links) return false
    if (closed.signal.aborted) return true
    for (const watched of all) {
      const link = links.find(({ ifname }) => ifname === watched.name)
      if (!link) gone.add(watched.name)
      const replacement = findReplacement(watched, link, gone)
      const fault = replacement ?? findFault(watched, link)
      if (fault === known.get(watched)) continue
      known.set(watched, fault)
      onFault(watched, fault)
      if (replacement !== undefined) onReplaced(watched, replacement)
    }
    first.resolve()
    return true
  }
  const reading = new SpacedTask(read, SPACING, clock)
  void followChanges(closed.signal, () => {
    if (closed.signal.aborted) return
    // First, since a lost link is to be found at once: programs that others start for this wait their turn behind it.
    reading.request()
    onActivity()
  })
  return {
    known: first.promise,
    close() {
      closed.abort()
      reading.stop()
    },
  }
}

async function followChanges(closed: AbortSignal, changed: () => void): Promise<void> {
  while (!closed.aborted) {
    // Without a monitor the state is looked at each time that one would have been started.
    await runMonitor(closed, changed).catch(changed)
    await wait(RESTART_MS, undefined, { signal: closed }).catch(() => {})
  }
}

/** Resolves when the monitor has ended. @throws Error when it cannot be started */
async function runMonitor(closed: AbortSignal, changed: () => void): Promise<void> {
  const monitor = await startProgram(MONITOR, { stdio: ['ignore', 'pipe', 'ignore'] }, closed)
  const ended = once(monitor, 'close')
  const kill = () => monitor.kill()
  closed.addEventListener('abort', kill)
  if (closed.aborted) kill()
  monitor.stdout!.on('data', changed)
  changed()
  const listening = setTimeout(changed, LISTENING_MS)
  await ended
  clearTimeout(listening)
  closed.removeEventListener('abort', kill)
}

function findReplacement(
  { name, identity }: Watched,
  link: IpLink | undefined,
  gone: ReadonlySet<string>,
): string | undefined {
  if (!link || !identity) return undefined
  const { index, mac } = identity
  if (link.ifindex !== index)
    return `${name} is another interface by now, number ${link.ifindex} in place of ${index}: ${RESTART}`
  const was = formatMac(mac)
  if (link.address !== was) return `${name} has another MAC by now, ${link.address} in place of ${was}: ${RESTART}`
  return gone.has(name) ? `${name} was gone, and the kernel has forgotten who uses it: ${RESTART}` : undefined
}

function findFault({ name, address }: Watched, link: IpLink | undefined): string | undefined {
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
