/**
 * A tunnel's far end, for a real server whose kernel has no such device or should not use it: `director agent --decapsulate`.
 *
 * It creates a TUN device, puts the VIPs on it (VIP/32, VIP/128) and hands the kernel, through it, what is inside the tunnel packets
 * addressed to this host: IPIP, GRE and GUE, those that are asked for, over IPv4 and IPv6. The device is not persistent: when this
 * process ends, however it ends, the kernel takes the device and the VIPs with it away.
 *
 * What it sees to itself: packets of clients come in by the device although the way back to them is another interface, which
 * strict reverse path filtering (RFC 3704) would drop; so the device is set to loose (rp_filter = 2, which wins over 1 in
 * conf.all: Documentation/networking/ip-sysctl.rst). IPv6 knows no such filter; it is switched on for the device where it is not.
 *
 * What it only warns of, as LVS leaves it to the operator too: a server that answers for the VIP takes it away from the director.
 * ARP is answered for every address of the host, on any interface (arp_ignore = 1, arp_announce = 2 end that). A neighbour
 * solicitation is answered only on the interface that has the address (net/ipv6/ndisc.c ndisc_recv_ns()): nothing is to be
 * set, but the VIP must not be on another interface too.
 */
import { execFile } from 'node:child_process'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { networkInterfaces } from 'node:os'
import { setTimeout as delay } from 'node:timers/promises'
import { promisify } from 'node:util'
import { Worker } from 'node:worker_threads'
import { DirectorError, type ErrorCode } from '../protocol/errors.ts'
import { canonicalAddress, isIPv6Text, parseIPv6 } from '../protocol/packet/ipv6-address.ts'
import { monotonicMs } from './clock.ts'
import type { DecapsulationRefusal } from './decapsulate.ts'
import { programFile } from './program-file.ts'
import type { TunnelSpec } from './service.ts'
import { createEventFd, wake } from './sys/event-fd.ts'
import { closeDescriptor } from './sys/socket.ts'

/** A kind of tunnel that ends here; `port` is the UDP port of gue, 0 for the others. */
export type TunnelEnd = Pick<TunnelSpec, 'type' | 'port'>

export interface DecapsulatorOptions {
  /** Name of the TUN device to create; default "director0". */
  device?: string
  /** Each once; ipip alone unless given. */
  tunnels?: readonly TunnelEnd[]
  /** The VIPs, put on the device; only packets for them are let in. None: any packet is, and the operator sets the device up. */
  virtualAddresses: readonly string[]
}

export interface DecapsulatorCounters {
  delivered: number
  deliveredBytes: number
  /** device-refused: the kernel did not take the packet from the TUN device. */
  refused: Record<DecapsulationRefusal | 'device-refused', number>
}

export interface Decapsulator {
  readonly device: string
  /** What the operator should mend on this host, one line each. */
  readonly warnings: readonly string[]
  counters(): DecapsulatorCounters
  /** Called once if the loop dies. */
  onFailure(handler: (error: Error) => void): void
  stop(): Promise<void>
}

/** Places in the shared counters. */
export const COUNTERS = {
  delivered: 0,
  deliveredBytes: 1,
  malformed: 2,
  'not-virtual': 3,
  congestion: 4,
  'device-refused': 5,
} as const

/** Place in `control` that the loop watches. */
export const STOP = 0

/** What the loop's thread starts with. */
export interface DecapsulatorData {
  device: string
  tunnels: readonly TunnelEnd[]
  /** None: any inner destination is let in. */
  virtualAddresses: readonly string[]
  counters: Float64Array<SharedArrayBuffer>
  control: Int32Array<SharedArrayBuffer>
  wakeDescriptor: number
}

export type DecapsulatorMessage = { kind: 'ready' } | { kind: 'failed'; code: ErrorCode; message: string }

const SETTINGS = '/proc/sys/net/ipv4/conf'
const SETTINGS6 = '/proc/sys/net/ipv6/conf'
const LOOSE = 2
/** linux/ipv6_route.h; a number of 32 bits with a sign, as & makes it. */
const RTF_LOCAL = 0x8000_0000 | 0
const LOOK_MS = 2
const LOCAL_WITHIN_MS = 5000
const run = promisify(execFile)

/** @throws DirectorError PRIVILEGE_MISSING, MODULE_MISSING, SOCKET_BUSY, HOST_INTERFERES, FORWARDER_FAILED */
export async function startDecapsulator(options: DecapsulatorOptions): Promise<Decapsulator> {
  const { device = 'director0', tunnels = [{ type: 'ipip', port: 0 }], virtualAddresses } = options
  const counters = new Float64Array(new SharedArrayBuffer(8 * Object.keys(COUNTERS).length))
  const control = new Int32Array(new SharedArrayBuffer(4))
  const wakeDescriptor = createEventFd()
  const workerData: DecapsulatorData = {
    device,
    tunnels,
    virtualAddresses,
    counters,
    control,
    wakeDescriptor,
  }
  const worker = new Worker(programFile('forwarder/decapsulator-worker'), {
    workerData,
    name: 'decapsulator',
  })
  const exited = new Promise<void>((resolve) => worker.once('exit', () => resolve()))
  let failure: Error | undefined
  const failureHandlers: ((error: Error) => void)[] = []
  const fail = (error: Error) => {
    failure ??= error
    for (const handler of failureHandlers.splice(0)) handler(failure)
  }
  worker.on('error', (error) => fail(error as Error))

  let stopped: Promise<void> | undefined
  const stop = () => {
    Atomics.store(control, STOP, 1)
    if (!stopped) wake(wakeDescriptor)
    stopped ??= exited.then(() => closeDescriptor(wakeDescriptor))
    return stopped
  }

  try {
    await new Promise<void>((resolve, reject) => {
      failureHandlers.push(reject)
      worker.on('message', (message: DecapsulatorMessage) => {
        if (message.kind === 'ready') resolve()
        else fail(new DirectorError(message.code, message.message))
      })
    })
    allowAsymmetricPaths(device)
    if (virtualAddresses.some(isIPv6Text)) enableIPv6(device)
    for (const address of virtualAddresses) await addAddress(address, device)
  } catch (error) {
    await stop()
    throw error
  }
  failureHandlers.length = 0

  return {
    device,
    warnings: warningsFor(virtualAddresses, device),
    counters: () => ({
      delivered: counters[COUNTERS.delivered],
      deliveredBytes: counters[COUNTERS.deliveredBytes],
      refused: {
        malformed: counters[COUNTERS.malformed],
        'not-virtual': counters[COUNTERS['not-virtual']],
        congestion: counters[COUNTERS.congestion],
        'device-refused': counters[COUNTERS['device-refused']],
      },
    }),
    onFailure(handler) {
      if (failure) handler(failure)
      else failureHandlers.push(handler)
    },
    stop,
  }
}

/** Resolves when the kernel takes packets to the address. */
async function addAddress(address: string, device: string): Promise<void> {
  try {
    // Nobody else is on the device who could have the address already (RFC 4862 section 5.4).
    const rest = isIPv6Text(address) ? [`${address}/128`, 'dev', device, 'nodad'] : [`${address}/32`, 'dev', device]
    await run('ip', ['address', 'add', ...rest])
  } catch (error) {
    const said = (error as { stderr?: string }).stderr?.trim() || (error as Error).message
    throw new DirectorError('FORWARDER_FAILED', `${address} cannot be put on ${device}: ${said}`)
  }
  if (isIPv6Text(address)) await untilLocal(address, device)
}

/**
 * A new address of IPv6 gets its local route from a work queue, after ip(8) has ended (net/ipv6/addrconf.c addrconf_dad_work()); a packet that
 * comes before it is dropped. Of this nobody is told.
 */
async function untilLocal(address: string, device: string): Promise<void> {
  const words = [...parseIPv6(address)].map((word) => (word >>> 0).toString(16).padStart(8, '0'))
  const ofAddress = `${words.join('')} 80 `
  const deadline = monotonicMs() + LOCAL_WITHIN_MS
  while (monotonicMs() < deadline) {
    const isThere = readFileSync('/proc/net/ipv6_route', 'utf8')
      .split('\n')
      .some((line) => {
        if (!line.startsWith(ofAddress)) return false
        const [flags, name] = line.trim().split(/\s+/).slice(-2)
        return name === device && (Number.parseInt(flags, 16) & RTF_LOCAL) !== 0
      })
    if (isThere) return
    await delay(LOOK_MS)
  }
  throw new DirectorError(
    'FORWARDER_FAILED',
    `${address} does not come into force on ${device}: see \`ip -6 address show ${device}\``,
  )
}

function setting(name: string, device: string): number {
  return Number(readFileSync(`${SETTINGS}/${device}/${name}`, 'utf8'))
}

/** The kernel takes the greater of the device's value and that in conf.all, for all three settings used here. */
function effective(name: string, device: string): number {
  return Math.max(setting(name, 'all'), setting(name, device))
}

function allowAsymmetricPaths(device: string): void {
  try {
    writeFileSync(`${SETTINGS}/${device}/rp_filter`, String(LOOSE))
  } catch {
    // /proc/sys is read-only in some containers; what counts is what holds now.
  }
  if (effective('rp_filter', device) !== 1) return
  throw new DirectorError(
    'HOST_INTERFERES',
    `net.ipv4.conf.${device}.rp_filter is 1, so the kernel would drop what comes out of the tunnel: set it to ${LOOSE}`,
  )
}

/** Where IPv6 is off for new devices, as in many containers, the VIP could not be put on this one. */
function enableIPv6(device: string): void {
  try {
    writeFileSync(`${SETTINGS6}/${device}/disable_ipv6`, '0')
  } catch {
    // Not there, or read-only: adding the address says what is wrong.
  }
}

function warningsFor(virtualAddresses: readonly string[], device: string): string[] {
  const ipv6 = virtualAddresses.filter(isIPv6Text)
  return [...(ipv6.length < virtualAddresses.length ? arpWarnings(device) : []), ...neighbourWarnings(ipv6, device)]
}

function arpWarnings(device: string): string[] {
  const others = readdirSync(SETTINGS).filter((name) => !['all', 'default', 'lo', device].includes(name))
  return others.flatMap((name) => {
    const wrong = []
    if (effective('arp_ignore', name) < 1) wrong.push(`net.ipv4.conf.${name}.arp_ignore=1`)
    if (effective('arp_announce', name) < 2) wrong.push(`net.ipv4.conf.${name}.arp_announce=2`)
    const why = `or this host answers ARP for the VIP on ${name} and takes it from the director`
    return wrong.length > 0 ? [`set ${wrong.join(' and ')}, ${why}`] : []
  })
}

function neighbourWarnings(virtualAddresses: readonly string[], device: string): string[] {
  const wanted = virtualAddresses.map(canonicalAddress)
  return Object.entries(networkInterfaces()).flatMap(([name, addresses = []]) => {
    if (name === device) return []
    const wrong = addresses.filter(({ address, internal }) => !internal && wanted.includes(canonicalAddress(address)))
    return wrong.map(
      ({ address }) =>
        `take ${address} from ${name} ("ip address del ${address} dev ${name}"), or this host answers neighbour solicitations for the VIP there and takes it from the director`,
    )
  })
}
