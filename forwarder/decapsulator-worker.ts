/**
 * The decapsulator's loop, on its own thread: tunnel packets from raw sockets, their insides to a TUN device.
 *
 * One recvmmsg(2) takes up to 32 packets; a TUN device takes one packet a write(2). Idle, the thread sleeps in poll(2). It
 * never returns to the event loop, so it is stopped through shared memory and an eventfd.
 */
import { existsSync } from 'node:fs'
import { parentPort, workerData } from 'node:worker_threads'
import { DirectorError } from '../protocol/errors.ts'
import { PROTOCOL_GRE } from '../protocol/packet/gre.ts'
import { PROTOCOL_IPIP, PROTOCOL_UDP } from '../protocol/packet/ipv4.ts'
import { PROTOCOL_IPV6 } from '../protocol/packet/ipv6.ts'
import { AddressSet } from './address-set.ts'
import { decapsulate } from './decapsulate.ts'
import { COUNTERS, type DecapsulatorData, type DecapsulatorMessage, STOP, type TunnelEnd } from './decapsulator.ts'
import { createFrames, type Frame } from './link/link.ts'
import { LONGEST_WAIT_MS, PollSet } from './sys/poll.ts'
import { openRawIp, type RawIpOptions, type RawIpSocket } from './sys/raw-ip.ts'
import { openSilentUdp } from './sys/silent-udp.ts'
import { openTun, type TunDevice } from './sys/tun.ts'

const { device, tunnels, virtualAddresses, counters, control, wakeDescriptor } = workerData as DecapsulatorData

/** What the outer header of each kind of tunnel names; ipip says which family is inside. */
const PROTOCOLS = { ipip: [PROTOCOL_IPIP, PROTOCOL_IPV6], gre: [PROTOCOL_GRE], gue: [PROTOCOL_UDP] } as const

/** Families that tunnels can come by: a kernel without IPv6 receives none of it. */
const FAMILIES = existsSync('/proc/net/if_inet6') ? [false, true] : [false]

/** The raw sockets on which a tunnel's packets arrive. */
function socketsOf({ type, port }: TunnelEnd): RawIpOptions[] {
  const udpPort = type === 'gue' ? port : undefined
  return FAMILIES.flatMap((isIPv6) => PROTOCOLS[type].map((protocol) => ({ protocol, isIPv6, udpPort })))
}

function say(message: DecapsulatorMessage): void {
  parentPort?.postMessage(message)
}

function run(): void {
  const opened: { close(): void }[] = []
  const open = <T extends { close(): void }>(one: T): T => {
    opened.push(one)
    return one
  }
  try {
    const tun = open(openTun(device))
    const guePorts = new Set(tunnels.filter(({ type }) => type === 'gue').map(({ port }) => port))
    // Nobody listens there: without a socket the kernel would answer that the port is not served.
    for (const port of guePorts) for (const isIPv6 of FAMILIES) open(openSilentUdp(port, isIPv6))
    const sockets = tunnels.flatMap(socketsOf).map((socket) => open(openRawIp(socket)))
    unpack(sockets, tun, guePorts)
  } finally {
    // A descriptor does not end with its thread.
    for (const one of opened) one.close()
  }
}

function unpack(sockets: readonly RawIpSocket[], tun: TunDevice, guePorts: ReadonlySet<number>): void {
  const addresses = virtualAddresses.length > 0 ? new AddressSet(virtualAddresses) : undefined
  const packets: Frame[] = createFrames(Math.max(...sockets.map(({ batch }) => batch)))
  const poll = new PollSet([...sockets.map(({ descriptor }) => descriptor), wakeDescriptor])
  say({ kind: 'ready' })
  while (Atomics.load(control, STOP) === 0) {
    let received = 0
    for (const socket of sockets) {
      const count = socket.receive(packets)
      received += count
      for (let index = 0; index < count; index++) {
        const packet = packets[index]
        const refusal = decapsulate(packet, guePorts, addresses)
        if (refusal) counters[COUNTERS[refusal]]++
        else if (tun.write(packet)) {
          counters[COUNTERS.delivered]++
          counters[COUNTERS.deliveredBytes] += packet.length
        } else counters[COUNTERS['device-refused']]++
      }
    }
    if (received === 0) poll.wait(LONGEST_WAIT_MS)
  }
}

try {
  run()
} catch (error) {
  const code = error instanceof DirectorError ? error.code : 'FORWARDER_FAILED'
  say({ kind: 'failed', code, message: (error as Error).message })
}
