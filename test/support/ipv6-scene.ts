/** The network of scene.ts, in IPv6: the same links and MACs, a VIP, two real servers, a client behind a router. */
import type { VirtualAddress } from '../../forwarder/commands.ts'
import { VNET_GSO_TCPV6, VNET_GSO_UDP_L4, VNET_HEADER_LENGTH, VNET_NEEDS_CSUM } from '../../forwarder/link/link.ts'
import type { ForwardingMethod, RealServerSpec, ServiceProtocol, ServiceSpec } from '../../forwarder/service.ts'
import { writeUint16 } from '../../protocol/packet/bytes.ts'
import { checksum, fold } from '../../protocol/packet/checksum.ts'
import { pseudoHeaderSumIPv6 } from '../../protocol/packet/ipv6.ts'
import { DirectorBench, type DirectorBenchOptions } from './director-bench.ts'
import { type FrameFields6, type TcpFields6, tcpFrame6, udpFrame6 } from './ipv6-frames.ts'
import { INSIDE, INSIDE_SOURCE, MAC, OUTSIDE, OUTSIDE_SOURCE, SERVER1_ADDRESS, SERVER2_ADDRESS } from './scene.ts'

export const VIP6 = '2001:db8:1::10'
export const VIRTUAL6 = `[${VIP6}]:80`
export const CLIENT6_ADDRESS = '2001:db8:c::7'
export const CLIENT6 = `[${CLIENT6_ADDRESS}]:3456`
export const ROUTER6 = 'fe80::1'
export const SERVER1_ADDRESS6 = '2001:db8:2::1'
export const SERVER2_ADDRESS6 = '2001:db8:2::2'
export const OUTSIDE_SOURCE6 = '2001:db8:1::1'
export const INSIDE_SOURCE6 = '2001:db8:2::fe'
export const SERVER1_6 = `[${SERVER1_ADDRESS6}]:8000`

export interface SceneOptions6 extends Partial<DirectorBenchOptions> {
  method?: ForwardingMethod
  protocol?: ServiceProtocol
  scheduler?: string
  /** Weights of the servers, oldest first; there are as many servers. One server of weight 1 unless given. */
  weights?: readonly number[]
  state?: VirtualAddress['state']
  outsideMtu?: number
  insideMtu?: number
}

export function service6(options: SceneOptions6 = {}): ServiceSpec {
  const method = options.method ?? 'nat'
  return {
    protocol: options.protocol ?? 'tcp',
    address: VIP6,
    port: 80,
    scheduler: options.scheduler ?? 'rr',
    servers: (options.weights ?? [1]).map(
      (weight, index): RealServerSpec => ({
        address: `2001:db8:2::${index + 1}`,
        port: method === 'nat' ? 8000 : 80,
        method,
        weight,
      }),
    ),
  }
}

/** IPv4 routes are there too, for tunnels between the families. */
export function scene6(options: SceneOptions6 = {}): DirectorBench {
  return new DirectorBench({
    links: [
      { name: OUTSIDE, mac: MAC.outside, mtu: options.outsideMtu },
      { name: INSIDE, mac: MAC.inside, mtu: options.insideMtu },
    ],
    addresses: [{ address: VIP6, link: OUTSIDE, state: options.state ?? 'active' }],
    routes: [
      { destination: '::', prefixLength: 0, gateway: ROUTER6, link: OUTSIDE, source: OUTSIDE_SOURCE6 },
      { destination: '2001:db8:1::', prefixLength: 64, link: OUTSIDE, source: OUTSIDE_SOURCE6 },
      { destination: '2001:db8:2::', prefixLength: 64, link: INSIDE, source: INSIDE_SOURCE6 },
      { destination: '10.1.0.0', prefixLength: 24, link: INSIDE, source: INSIDE_SOURCE },
      { destination: '198.51.100.0', prefixLength: 24, link: OUTSIDE, source: OUTSIDE_SOURCE },
    ],
    services: [service6(options)],
    neighbours: {
      [SERVER1_ADDRESS6]: MAC.server1,
      [SERVER2_ADDRESS6]: MAC.server2,
      [SERVER1_ADDRESS]: MAC.server1,
      [SERVER2_ADDRESS]: MAC.server2,
    },
    ...options,
  })
}

const fromClient = { sourceMac: MAC.router, destinationMac: MAC.outside, from: CLIENT6, to: VIRTUAL6 }
const fromServer = { sourceMac: MAC.server1, destinationMac: MAC.inside, from: SERVER1_6, to: CLIENT6 }
const toServer = { sourceMac: MAC.inside, destinationMac: MAC.server1, from: CLIENT6, to: SERVER1_6, hopLimit: 63 }
const toClient = { sourceMac: MAC.outside, destinationMac: MAC.router, from: VIRTUAL6, to: CLIENT6, hopLimit: 63 }

type Tcp = Partial<TcpFields6>
type Udp = Partial<FrameFields6 & { checksum: boolean }>

/** What the client sends to the service, and what must come of it: the four packets of a NAT table. */
export const clientTcp6 = (fields: Tcp = {}): Uint8Array => tcpFrame6({ ...fromClient, ...fields })
export const serverTcp6 = (fields: Tcp = {}): Uint8Array => tcpFrame6({ ...fromServer, ...fields })
export const tcpToServer6 = (fields: Tcp = {}): Uint8Array => tcpFrame6({ ...toServer, ...fields })
export const tcpToClient6 = (fields: Tcp = {}): Uint8Array => tcpFrame6({ ...toClient, ...fields })
export const clientUdp6 = (fields: Udp = {}): Uint8Array => udpFrame6({ ...fromClient, ...fields })
export const serverUdp6 = (fields: Udp = {}): Uint8Array => udpFrame6({ ...fromServer, ...fields })
export const udpToServer6 = (fields: Udp = {}): Uint8Array => udpFrame6({ ...toServer, ...fields })
export const udpToClient6 = (fields: Udp = {}): Uint8Array => udpFrame6({ ...toClient, ...fields })

const TRANSPORT6 = 54

/** As unfinish() in scene.ts; for packets without extension headers. */
export function unfinish6(frame: Uint8Array): Uint8Array {
  const copy = frame.slice()
  const sum = fold(pseudoHeaderSumIPv6(copy, 14, copy[20], copy.length - TRANSPORT6))
  writeUint16(copy, TRANSPORT6 + checksumOffset(copy), sum)
  return copy
}

export function unfinishedHeader6(frame: Uint8Array): Uint8Array {
  const header = new Uint8Array(VNET_HEADER_LENGTH)
  header[0] = VNET_NEEDS_CSUM
  header[6] = TRANSPORT6
  header[8] = checksumOffset(frame)
  return header
}

/** The virtio header of a frame that is to be cut into pieces of `size` bytes of data. */
export function segmentationHeader6(frame: Uint8Array, size: number): Uint8Array {
  const header = unfinishedHeader6(frame)
  const isUdp = frame[20] === 17
  header[1] = isUdp ? VNET_GSO_UDP_L4 : VNET_GSO_TCPV6
  header[2] = TRANSPORT6 + (isUdp ? 8 : 20)
  header[4] = size & 255
  header[5] = size >> 8
  return header
}

/** What the card makes of a frame and its virtio header: the checksum is finished. */
export function finish6(frame: Uint8Array, header: Uint8Array): Uint8Array {
  const copy = frame.slice()
  const start = header[6] | (header[7] << 8)
  const at = start + (header[8] | (header[9] << 8))
  writeUint16(copy, at, checksum(copy, start, copy.length - start) || (copy[20] === 17 ? 0xffff : 0))
  return copy
}

function checksumOffset(frame: Uint8Array): number {
  return frame[20] === 17 ? 6 : 16
}
