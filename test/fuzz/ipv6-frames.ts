/** Valid IPv6 frames of every kind that the forwarder handles, from a seed, and the repair of mutated ones. */
import { VNET_HEADER_LENGTH } from '../../forwarder/link/link.ts'
import { parseMac, writeUint16 } from '../../protocol/packet/bytes.ts'
import { checksum } from '../../protocol/packet/checksum.ts'
import { pseudoHeaderSumIPv6 } from '../../protocol/packet/ipv6.ts'
import { parseIPv6 } from '../../protocol/packet/ipv6-address.ts'
import { unsolicitedAdvertisement, writeSolicitation } from '../../protocol/packet/neighbour-discovery.ts'
import type { Random } from '../random.ts'
import { icmpFrame, ipPacketFrame, packetOf, tcpFrame } from '../support/frames.ts'
import { type Extension, fragmentsOf6, icmpFrame6, ipv6Frame, tcpFrame6, udpFrame6 } from '../support/ipv6-frames.ts'
import { segmentationHeader6, unfinish6, unfinishedHeader6 } from '../support/ipv6-scene.ts'
import type { FuzzFrame } from './frames.ts'
import { GUE_PORT } from './judge.ts'
import {
  CLIENTS,
  CLIENTS6,
  INSIDE,
  INSIDE_SOURCE,
  INSIDE_SOURCE6,
  MACS,
  NAT_SERVER_PORT,
  OUTSIDE,
  ROUTER,
  ROUTER6,
  SERVERS,
  SERVERS_ROUTER,
  SERVERS6,
  SERVICES,
  serverMac,
  VIPS,
  VIPS6,
} from './world.ts'

const CLIENT_PORTS = 60
const FLAGS = [0x02, 0x02, 0x12, 0x10, 0x10, 0x18, 0x11, 0x04, 0x14, 0x00, 0xff]
const LENGTHS = [0, 1, 2, 7, 8, 18, 100, 1000, 1360, 1390, 1411, 1440]
const LARGE = [2920, 9000, 65_000]
const noOffload = new Uint8Array(VNET_HEADER_LENGTH)

export function validIPv6Frame(random: Random): FuzzFrame {
  const pick = <T>(list: readonly T[]): T => list[random.below(list.length)]
  const noise = (length: number) => Uint8Array.from({ length }, () => random.below(256))
  const payload = () => noise(pick(random.oneIn(20) ? LARGE : LENGTHS))
  const client = () => `[${pick(CLIENTS6)}]:${1000 + random.below(CLIENT_PORTS)}`
  const hopLimit = () => (random.oneIn(20) ? random.below(3) : 64)
  const extensions = (): Extension[] =>
    random.oneIn(6)
      ? Array.from(
          { length: random.below(random.oneIn(4) ? 14 : 4) },
          () => [pick([0, 43, 60, 44]), extension(pick([1, 1, 2]))] as const,
        )
      : []
  /** Of a length of `units` times eight; of a fragment header the offset is 0 and no more follow, unless by chance. */
  const extension = (units: number) => {
    const bytes = noise(units * 8)
    bytes[1] = units - 1
    if (!random.oneIn(8)) bytes.fill(0, 2, 4)
    return bytes
  }

  /** A command or a reply of FTP, whole or cut off. */
  const ftpLine = () => {
    const port = random.below(70_000)
    const line = pick([
      `EPRT |2|${pick(CLIENTS6)}|${port}|\r\n`,
      `EPRT |2|${pick(CLIENTS6).toUpperCase()}|${port}|\r\n`,
      'EPSV 2\r\n',
      '227 Entering Passive Mode (10,1,0,1,9,9).\r\n',
      `150 first\r\n229 Entering Extended Passive Mode (|||${port}|)\r\n`,
    ])
    return new TextEncoder().encode(random.oneIn(4) ? line.slice(0, random.below(line.length)) : line)
  }

  const request = () => {
    const { protocol, port } = pick(SERVICES)
    const fields = {
      sourceMac: ROUTER.mac,
      destinationMac: MACS[OUTSIDE],
      from: client(),
      to: `[${pick(VIPS6)}]:${random.oneIn(20) ? 9 : port}`,
      hopLimit: hopLimit(),
      extensions: extensions(),
      payload: protocol === 'tcp' && port === 21 ? ftpLine() : payload(),
    }
    return protocol === 'tcp'
      ? tcpFrame6({ ...fields, flags: pick(FLAGS) })
      : udpFrame6({ ...fields, checksum: !random.oneIn(8) })
  }
  const reply = () => {
    const server = pick(SERVERS6)
    const fields = {
      sourceMac: serverMac(server),
      destinationMac: MACS[INSIDE],
      from: `[${server}]:${NAT_SERVER_PORT}`,
      to: client(),
      hopLimit: hopLimit(),
      extensions: extensions(),
      payload: random.oneIn(3) ? ftpLine() : payload(),
    }
    return random.oneIn(3) ? udpFrame6(fields) : tcpFrame6({ ...fields, flags: pick(FLAGS) })
  }
  const offloaded = (link: string, frame: Uint8Array): FuzzFrame => {
    const isPlain = frame[20] === 6 || frame[20] === 17
    const isLarge = frame.length > 1514
    if (!isPlain || (!isLarge && !random.oneIn(4))) return { link, frame, vnetHeader: noOffload }
    const header = isLarge ? segmentationHeader6(frame, pick([536, 1000, 1390, 1440])) : unfinishedHeader6(frame)
    return { link, frame: unfinish6(frame), vnetHeader: header }
  }
  const icmpError = (): FuzzFrame => {
    const common = {
      type: 1 + random.below(5),
      code: random.below(6),
      rest: pick([0, 1400, 1280, 68, -1]),
      hopLimit: hopLimit(),
    }
    const quote = (frame: Uint8Array) => packetOf(frame).slice(0, pick([0, 40, 47, 48, 68, 100, 1200]))
    if (random.oneIn(2)) {
      const { protocol, port } = pick(SERVICES)
      const vip = pick(VIPS6)
      const quoted = (protocol === 'tcp' ? tcpFrame6 : udpFrame6)({ from: `[${vip}]:${port}`, to: client() })
      const addresses = { sourceMac: ROUTER.mac, destinationMac: MACS[OUTSIDE], from: pick(CLIENTS6), to: vip }
      return {
        link: OUTSIDE,
        frame: icmpFrame6({ ...common, ...addresses, payload: quote(quoted) }),
        vnetHeader: noOffload,
      }
    }
    const to = client()
    const quoted = tcpFrame6({ from: to, to: `[${pick(SERVERS6)}]:${NAT_SERVER_PORT}` })
    const addresses = { sourceMac: SERVERS_ROUTER.mac, destinationMac: MACS[INSIDE], from: INSIDE_SOURCE6, to }
    return {
      link: INSIDE,
      frame: icmpFrame6({ ...common, ...addresses, payload: quote(quoted) }),
      vnetHeader: noOffload,
    }
  }
  /** Few names, so that fragments of different datagrams meet. */
  const fragment = (): FuzzFrame => {
    const isReply = random.oneIn(3)
    const whole = isReply ? reply() : request()
    const isChained = [0, 43, 60].includes(whole[20])
    const unfragmentable = isChained && random.oneIn(2) ? (whole[55] + 1) * 8 : 0
    const pieces = fragmentsOf6(whole, pick([72, 300, 1000, 1450]) + unfragmentable, random.below(4), unfragmentable)
    const piece = pick(pieces.length > 1 && random.oneIn(2) ? pieces.slice(0, 2) : pieces)
    return { link: isReply ? INSIDE : OUTSIDE, frame: piece, vnetHeader: noOffload }
  }
  /** About a tunnel packet with IPv6 outside, or inside, or both. */
  const tunnelError = (): FuzzFrame => {
    const isInner6 = random.oneIn(2)
    const isOuter6 = !isInner6 || random.oneIn(2)
    const sourcePort = 1000 + random.below(CLIENT_PORTS)
    const request = isInner6
      ? tcpFrame6({ from: `[${pick(CLIENTS6)}]:${sourcePort}`, to: `[${pick(VIPS6)}]:81`, flags: pick(FLAGS) })
      : tcpFrame({ from: `${pick(CLIENTS)}:${sourcePort}`, to: `${pick(VIPS)}:81`, flags: pick(FLAGS) })
    const number = isInner6 ? 41 : 4
    const ports = [0x80, 0, GUE_PORT >> 8, GUE_PORT & 255]
    const [protocol, shim] = pick([
      [number, []],
      [47, isInner6 ? [0, 0, 0x86, 0xdd] : [0, 0, 8, 0]],
      [17, [...ports, 0, 40, 0, 0, 0, number, 0, 0]],
    ] as [number, number[]][])
    const content = Uint8Array.of(...shim, ...packetOf(request))
    const macs = { sourceMac: SERVERS_ROUTER.mac, destinationMac: MACS[INSIDE] }
    const quote = (frame: Uint8Array) => packetOf(frame).slice(0, pick([40, 68, 88, 100, 128, 1200, 1200]))
    const code = random.below(6)
    const rest = pick([0, 1400, 1280, 68, -1])
    const outer6 = { from: INSIDE_SOURCE6, to: pick(SERVERS6) }
    const outer4 = { from: INSIDE_SOURCE, to: pick(SERVERS) }
    const frame = isOuter6
      ? icmpFrame6({
          ...macs,
          from: '2001:db8:2::99',
          to: INSIDE_SOURCE6,
          type: 1 + random.below(5),
          code,
          rest,
          payload: quote(ipv6Frame(outer6, protocol, content, undefined)),
        })
      : icmpFrame({
          ...macs,
          from: SERVERS_ROUTER.address,
          to: INSIDE_SOURCE,
          type: pick([3, 3, 4, 11, 12]),
          code,
          rest,
          payload: quote(ipPacketFrame({ ...outer4, protocol, payload: content })),
        })
    return { link: INSIDE, frame, vnetHeader: noOffload }
  }
  const neighbour = (): FuzzFrame => {
    const hosts = [
      { link: OUTSIDE, ...ROUTER6 },
      ...SERVERS6.slice(0, 2).map((address) => ({ link: INSIDE, address, mac: serverMac(address) })),
    ]
    const { link, address, mac } = pick(hosts)
    if (random.oneIn(2)) {
      return { link, frame: unsolicitedAdvertisement(parseIPv6(address), parseMac(mac)), vnetHeader: noOffload }
    }
    const frame = new Uint8Array(86)
    const source = random.oneIn(4) ? '::' : address
    writeSolicitation(frame, 0, parseMac(mac), parseIPv6(source), parseIPv6(pick([...VIPS6, INSIDE_SOURCE6])))
    return { link, frame, vnetHeader: noOffload }
  }
  switch (random.below(14)) {
    case 0:
    case 1:
      return neighbour()
    case 2: {
      const addresses = { sourceMac: ROUTER.mac, destinationMac: MACS[OUTSIDE], from: pick(CLIENTS6), to: pick(VIPS6) }
      const type = pick([128, 128, 129, 134, 200])
      const frame = icmpFrame6({ ...addresses, type, extensions: extensions(), payload: payload().subarray(0, 1300) })
      return { link: OUTSIDE, frame, vnetHeader: noOffload }
    }
    case 3:
      return random.oneIn(2) ? icmpError() : tunnelError()
    case 12:
    case 13:
      return fragment()
    case 4:
    case 5:
    case 6:
      return offloaded(INSIDE, reply())
    default:
      return offloaded(OUTSIDE, request())
  }
}

/** Makes the checksum behind an IPv6 header without extension headers right, if there is room for one. */
export function repairTransport6(frame: Uint8Array): void {
  const offset = { 6: 16, 17: 6, 58: 2 }[frame[20]]
  const length = (frame[18] << 8) | frame[19]
  if (offset === undefined || length < offset + 2 || 54 + length > frame.length) return
  writeUint16(frame, 54 + offset, 0)
  const initial = pseudoHeaderSumIPv6(frame, 14, frame[20], length)
  writeUint16(frame, 54 + offset, checksum(frame, 54, length, initial))
}
