/**
 * The network that packet tests play in: a director with a link to the clients' side and one to the servers', two real
 * servers, a client behind a router. Frames have their MACs filled in, so that a test names only what it is about.
 */
import type { VirtualAddress } from '../../forwarder/commands.ts'
import { VNET_GSO_TCPV4, VNET_HEADER_LENGTH, VNET_NEEDS_CSUM } from '../../forwarder/link/link.ts'
import type {
  ForwardingMethod,
  RealServerSpec,
  ServiceProtocol,
  ServiceSpec,
  TunnelSpec,
} from '../../forwarder/service.ts'
import { parseIPv4, parseMac, writeUint16 } from '../../protocol/packet/bytes.ts'
import { checksum, fold, pseudoHeaderSum } from '../../protocol/packet/checksum.ts'
import { ETHERNET_HEADER_LENGTH, ETHERTYPE_IPV4, writeEthernet } from '../../protocol/packet/ethernet.ts'
import { DONT_FRAGMENT, IPV4_HEADER_LENGTH, PROTOCOL_IPIP, writeIPv4 } from '../../protocol/packet/ipv4.ts'
import { TCP } from '../../protocol/packet/tcp.ts'
import { UDP } from '../../protocol/packet/udp.ts'
import { DirectorBench, type DirectorBenchOptions } from './director-bench.ts'
import { type FrameFields, packetOf, type SctpFields, sctpFrame, type TcpFields, tcpFrame, udpFrame } from './frames.ts'

export const OUTSIDE = 'outside'
export const INSIDE = 'inside'
export const MAC = {
  outside: '02:00:00:00:00:01',
  inside: '02:00:00:00:00:02',
  router: '02:00:00:00:01:01',
  otherRouter: '02:00:00:00:01:02',
  server1: '02:00:00:00:02:01',
  server2: '02:00:00:00:02:02',
} as const
export const VIP = '198.51.100.10'
export const VIRTUAL = `${VIP}:80`
export const CLIENT_ADDRESS = '203.0.113.7'
export const CLIENT = `${CLIENT_ADDRESS}:3456`
export const ROUTER = '198.51.100.254'
export const SERVER1_ADDRESS = '10.1.0.1'
export const SERVER2_ADDRESS = '10.1.0.2'
export const OUTSIDE_SOURCE = '198.51.100.1'
export const INSIDE_SOURCE = '10.1.0.254'
/** With NAT servers listen on another port than the service; with the other methods they cannot. */
export const SERVER1 = `${SERVER1_ADDRESS}:8000`
export const SERVER2 = `${SERVER2_ADDRESS}:8000`

export interface SceneOptions extends Partial<DirectorBenchOptions> {
  method?: ForwardingMethod
  protocol?: ServiceProtocol
  scheduler?: string
  /** Weights of the servers, oldest first; there are as many servers. One server of weight 1 unless given. */
  weights?: readonly number[]
  state?: VirtualAddress['state']
  tunnel?: TunnelSpec
  mss?: 'clamp'
  outsideMtu?: number
  insideMtu?: number
}

export function service(options: SceneOptions = {}): ServiceSpec {
  const method = options.method ?? 'nat'
  return {
    protocol: options.protocol ?? 'tcp',
    address: VIP,
    port: 80,
    scheduler: options.scheduler ?? 'rr',
    mss: options.mss,
    servers: (options.weights ?? [1]).map(
      (weight, index): RealServerSpec => ({
        address: `10.1.0.${index + 1}`,
        port: method === 'nat' ? 8000 : 80,
        method,
        weight,
        tunnel: options.tunnel,
      }),
    ),
  }
}

export function scene(options: SceneOptions = {}): DirectorBench {
  return new DirectorBench({
    links: [
      { name: OUTSIDE, mac: MAC.outside, mtu: options.outsideMtu },
      { name: INSIDE, mac: MAC.inside, mtu: options.insideMtu },
    ],
    addresses: [{ address: VIP, link: OUTSIDE, state: options.state ?? 'active' }],
    routes: [
      { destination: '0.0.0.0', prefixLength: 0, gateway: ROUTER, link: OUTSIDE, source: OUTSIDE_SOURCE },
      { destination: '198.51.100.0', prefixLength: 24, link: OUTSIDE, source: OUTSIDE_SOURCE },
      { destination: '10.1.0.0', prefixLength: 24, link: INSIDE, source: INSIDE_SOURCE },
    ],
    services: [service(options)],
    neighbours: { [SERVER1_ADDRESS]: MAC.server1, [SERVER2_ADDRESS]: MAC.server2 },
    ...options,
  })
}

const fromClient = { sourceMac: MAC.router, destinationMac: MAC.outside, from: CLIENT, to: VIRTUAL }
const fromServer = { sourceMac: MAC.server1, destinationMac: MAC.inside, from: SERVER1, to: CLIENT }
const toServer = { sourceMac: MAC.inside, destinationMac: MAC.server1, from: CLIENT, to: SERVER1, ttl: 63 }
const toClient = { sourceMac: MAC.outside, destinationMac: MAC.router, from: VIRTUAL, to: CLIENT, ttl: 63 }

/** What the client sends to the service, and what must come of it: the four packets of a NAT table. */
export const clientTcp = (fields: Partial<TcpFields> = {}): Uint8Array => tcpFrame({ ...fromClient, ...fields })
export const serverTcp = (fields: Partial<TcpFields> = {}): Uint8Array => tcpFrame({ ...fromServer, ...fields })
export const tcpToServer = (fields: Partial<TcpFields> = {}): Uint8Array => tcpFrame({ ...toServer, ...fields })
export const tcpToClient = (fields: Partial<TcpFields> = {}): Uint8Array => tcpFrame({ ...toClient, ...fields })

type UdpFields = Partial<FrameFields & { checksum: boolean }>
export const clientUdp = (fields: UdpFields = {}): Uint8Array => udpFrame({ ...fromClient, ...fields })
export const serverUdp = (fields: UdpFields = {}): Uint8Array => udpFrame({ ...fromServer, ...fields })
export const udpToServer = (fields: UdpFields = {}): Uint8Array => udpFrame({ ...toServer, ...fields })
export const udpToClient = (fields: UdpFields = {}): Uint8Array => udpFrame({ ...toClient, ...fields })

type Sctp = Pick<SctpFields, 'chunks'> & Partial<SctpFields>
export const clientSctp = (fields: Sctp): Uint8Array => sctpFrame({ ...fromClient, ...fields })
export const serverSctp = (fields: Sctp): Uint8Array => sctpFrame({ ...fromServer, ...fields })
export const sctpToServer = (fields: Sctp): Uint8Array => sctpFrame({ ...toServer, ...fields })
export const sctpToClient = (fields: Sctp): Uint8Array => sctpFrame({ ...toClient, ...fields })

export interface OuterFields {
  tos?: number
  ttl?: number
  fragment?: number
  destination?: string
  identification?: number
}

/** The frame in which `inner` travels through the tunnel to the first server. */
export function tunnelled(inner: Uint8Array, outer: OuterFields = {}): Uint8Array {
  const packet = packetOf(inner)
  const frame = new Uint8Array(ETHERNET_HEADER_LENGTH + IPV4_HEADER_LENGTH + packet.length)
  writeEthernet(frame, 0, parseMac(MAC.server1), parseMac(MAC.inside), ETHERTYPE_IPV4)
  writeIPv4(frame, ETHERNET_HEADER_LENGTH, {
    tos: outer.tos ?? 0,
    totalLength: IPV4_HEADER_LENGTH + packet.length,
    identification: outer.identification ?? 0,
    fragment: outer.fragment ?? DONT_FRAGMENT,
    ttl: outer.ttl ?? 63,
    protocol: PROTOCOL_IPIP,
    source: parseIPv4(INSIDE_SOURCE),
    destination: parseIPv4(outer.destination ?? SERVER1_ADDRESS),
  })
  frame.set(packet, ETHERNET_HEADER_LENGTH + IPV4_HEADER_LENGTH)
  return frame
}

const TRANSPORT = 34

/** Makes a frame's transport checksum one that the card is still to finish: the pseudo-header's sum, not complemented. */
export function unfinish(frame: Uint8Array): Uint8Array {
  const copy = frame.slice()
  const protocol = copy[23]
  const sum = fold(pseudoHeaderSum(copy, 14, protocol, copy.length - TRANSPORT))
  writeUint16(copy, TRANSPORT + checksumOffset(copy), sum)
  return copy
}

/** The virtio header of a frame whose checksum is unfinished. */
export function unfinishedHeader(frame: Uint8Array): Uint8Array {
  const header = new Uint8Array(VNET_HEADER_LENGTH)
  header[0] = VNET_NEEDS_CSUM
  header[6] = TRANSPORT
  header[8] = checksumOffset(frame)
  return header
}

/** The virtio header of a TCP frame that is to be cut into segments of `size` bytes of data. */
export function segmentationHeader(frame: Uint8Array, size: number): Uint8Array {
  const header = unfinishedHeader(frame)
  header[1] = VNET_GSO_TCPV4
  header[2] = TRANSPORT + 20
  header[4] = size & 255
  header[5] = size >> 8
  return header
}

/** Which server a client's frame goes to, by the last byte of its address; undefined: to none. */
export function serverOf(bench: DirectorBench, frame: Uint8Array): number | undefined {
  const [sent] = bench.send(OUTSIDE, frame)
  return sent?.link === INSIDE ? sent.frame[33] : undefined
}

/** What the card makes of a frame and its virtio header: the checksum is finished. */
export function finish(frame: Uint8Array, header: Uint8Array): Uint8Array {
  const copy = frame.slice()
  const start = header[6] | (header[7] << 8)
  const at = start + (header[8] | (header[9] << 8))
  writeUint16(copy, at, checksum(copy, start, copy.length - start) || (copy[23] === 17 ? 0xffff : 0))
  return copy
}

function checksumOffset(frame: Uint8Array): number {
  return frame[23] === 17 ? UDP.checksum : TCP.checksum
}
