/**
 * Frames to fuzz with, from a seed: valid ones of every kind that the forwarder handles, and what becomes of them when bits
 * flip, ends are cut off, lengths lie and halves of two frames are put together. Most mutated frames get their IP checksum
 * made right again, since otherwise nothing would come past the first check.
 */
import { VNET_GSO_TCPV4, VNET_GSO_UDP_L4, VNET_HEADER_LENGTH } from '../../forwarder/link/link.ts'
import { ARP_FRAME_LENGTH, writeArpFrame } from '../../protocol/packet/arp.ts'
import { parseIPv4, parseMac, writeUint16 } from '../../protocol/packet/bytes.ts'
import { checksum, pseudoHeaderSum } from '../../protocol/packet/checksum.ts'
import { refreshIPv4Checksum } from '../../protocol/packet/ipv4.ts'
import type { Random } from '../random.ts'
import { fragmentsOf, icmpFrame, ipPacketFrame, packetOf, sctpFrame, tcpFrame, udpFrame } from '../support/frames.ts'
import { segmentationHeader, tunnelled, unfinish, unfinishedHeader } from '../support/scene.ts'
import { repairTransport6, validIPv6Frame } from './ipv6-frames.ts'
import { GUE_PORT } from './judge.ts'
import {
  CLIENTS,
  INSIDE,
  INSIDE_SOURCE,
  MACS,
  NAT_SERVER_PORT,
  OUTSIDE,
  ROUTER,
  SERVERS,
  SERVERS_ROUTER,
  SERVICES,
  serverMac,
  VIPS,
  VIRTUAL_MACS,
} from './world.ts'

export interface FuzzFrame {
  readonly link: string
  readonly frame: Uint8Array
  readonly vnetHeader: Uint8Array
}

/** Valid frames made in advance, to be mutated: making one costs more than handling it. */
const CORPUS = 3000
const CLIENT_PORTS = 60
const FLAGS = [0x02, 0x02, 0x12, 0x10, 0x10, 0x18, 0x11, 0x04, 0x14, 0x00, 0xff]
const LENGTHS = [0, 1, 2, 7, 8, 18, 100, 1000, 1380, 1410, 1431, 1460]
const LARGE = [2920, 9000, 65_495]
const INTERESTING = [0, 1, 4, 5, 7, 8, 19, 20, 21, 27, 28, 60, 127, 128, 255, 256, 0x7fff, 0x8000, 0xfffe, 0xffff]
const noOffload = new Uint8Array(VNET_HEADER_LENGTH)

export class FrameSource {
  readonly #random: Random
  readonly #corpus: FuzzFrame[] = []

  constructor(random: Random) {
    this.#random = random
    for (let number = 0; number < CORPUS; number++) this.#corpus.push(this.#valid())
  }

  /** A frame for the director; its bytes are the caller's to keep. */
  next(): FuzzFrame {
    const random = this.#random
    const { link, frame, vnetHeader } = this.#pick(this.#corpus)
    if (random.oneIn(3)) return { link, frame, vnetHeader }
    if (random.oneIn(50)) return { link, frame: this.#noise(random.below(200)), vnetHeader }
    let mutated: Uint8Array = frame.slice()
    for (let change = random.below(3); change >= 0; change--) mutated = this.#mutate(mutated)
    if (random.oneIn(8) && mutated.length >= 6) mutated.set(this.#pick(VIRTUAL_MACS))
    if (!isIPv6(mutated) && !random.oneIn(4)) repairIPv4(mutated)
    if (random.oneIn(2)) (isIPv6(mutated) ? repairTransport6 : repairTransport)(mutated)
    return {
      link: random.oneIn(20) ? this.#pick([OUTSIDE, INSIDE]) : link,
      frame: mutated,
      vnetHeader: random.oneIn(20) ? this.#noise(VNET_HEADER_LENGTH) : vnetHeader,
    }
  }

  #pick<T>(list: readonly T[]): T {
    return list[this.#random.below(list.length)]
  }

  #noise(length: number): Uint8Array {
    return Uint8Array.from({ length }, () => this.#random.below(256))
  }

  #mutate(frame: Uint8Array): Uint8Array {
    const random = this.#random
    const at = random.below(Math.min(frame.length, 100))
    switch (random.below(7)) {
      case 0:
        for (let flip = random.below(8); flip >= 0; flip--) frame[random.below(frame.length)] ^= 1 << random.below(8)
        return frame
      case 1:
        return frame.slice(0, 1 + random.below(frame.length))
      case 2: {
        const longer = new Uint8Array(frame.length + random.below(40))
        longer.set(frame)
        return longer
      }
      case 3: {
        const other = this.#pick(this.#corpus).frame
        const spliced = new Uint8Array(Math.max(at + 1, other.length))
        spliced.set(other)
        spliced.set(frame.subarray(0, at))
        return spliced
      }
      case 4:
        frame[at] = this.#pick(INTERESTING)
        return frame
      case 5:
        if (at + 2 <= frame.length) writeUint16(frame, at, this.#pick(INTERESTING))
        return frame
      default: {
        // Header length, total length, fragment, TTL, protocol, UDP length or TCP offset, in the place where they stand.
        // Of IPv6: payload length, next header, hop limit, type or length of what follows.
        const field = isIPv6(frame)
          ? this.#pick([14, 18, 19, 20, 21, 54, 55, 57])
          : this.#pick([14, 16, 17, 20, 21, 22, 23, 36, 38, 39, 46, 47])
        if (field < frame.length) frame[field] = this.#pick(INTERESTING)
        return frame
      }
    }
  }

  #valid(): FuzzFrame {
    const random = this.#random
    if (random.oneIn(4)) return validIPv6Frame(random)
    switch (random.below(15)) {
      case 0:
        return this.#arp()
      case 1:
        return this.#echo()
      case 2:
        return this.#icmpError()
      case 3:
        return this.#ipsec()
      case 4:
      case 5:
      case 6:
        return this.#offloaded(INSIDE, this.#reply())
      case 7:
        return this.#fragment()
      default:
        return this.#offloaded(OUTSIDE, this.#request())
    }
  }

  #payload(): Uint8Array {
    const random = this.#random
    if (random.oneIn(8)) return this.#ftpLine()
    if (random.oneIn(8)) return this.#sipMessage()
    return this.#noise(this.#pick(random.oneIn(20) ? LARGE : LENGTHS))
  }

  #client(): string {
    return `${this.#pick(CLIENTS)}:${1000 + this.#random.below(CLIENT_PORTS)}`
  }

  /** One of few, so that replies meet their control connections. */
  #ftpClient(): string {
    return `${CLIENTS[0]}:${1000 + this.#random.below(4)}`
  }

  #ttl(): number {
    return this.#random.oneIn(20) ? this.#random.below(3) : 64
  }

  #request(): Uint8Array {
    const random = this.#random
    const { protocol, port } = this.#pick(SERVICES)
    const fields = {
      sourceMac: ROUTER.mac,
      destinationMac: MACS[OUTSIDE],
      from: protocol === 'tcp' && port === 21 ? this.#ftpClient() : this.#client(),
      to: `${this.#pick(VIPS)}:${random.oneIn(20) ? 9 : port}`,
      ttl: this.#ttl(),
      payload: this.#payload(),
      fragment: random.oneIn(20) ? 0x2000 : random.oneIn(4) ? 0 : 0x4000,
    }
    if (protocol === 'sctp') return sctpFrame({ ...fields, chunks: this.#chunks() })
    return protocol === 'tcp'
      ? tcpFrame({ ...fields, flags: this.#pick(FLAGS), sequence: random.below(2 ** 32) | 0 })
      : udpFrame({ ...fields, checksum: !random.oneIn(4) })
  }

  #reply(): Uint8Array {
    const random = this.#random
    const server = this.#pick(SERVERS)
    const isFtp = random.oneIn(3)
    const fields = {
      sourceMac: serverMac(server),
      destinationMac: MACS[INSIDE],
      from: `${server}:${NAT_SERVER_PORT}`,
      to: isFtp ? this.#ftpClient() : this.#client(),
      ttl: this.#ttl(),
      payload: isFtp ? this.#ftpLine() : this.#payload(),
    }
    if (random.oneIn(4)) return sctpFrame({ ...fields, chunks: this.#chunks() })
    return random.oneIn(3)
      ? udpFrame({ ...fields, checksum: !random.oneIn(4) })
      : tcpFrame({ ...fields, flags: this.#pick(FLAGS) })
  }

  /** A command or a reply, whole or cut off. */
  #ftpLine(): Uint8Array {
    const random = this.#random
    const client = this.#pick(CLIENTS)
    const numbers = `${this.#pick([...SERVERS, ...VIPS, client]).replaceAll('.', ',')},${random.below(300)},${random.below(300)}`
    const line = this.#pick([
      `PORT ${client.replaceAll('.', ',')},${random.below(300)},${random.below(300)}\r\n`,
      `EPRT |1|${client}|${random.below(70_000)}|\r\n`,
      'PASV\r\n',
      'EPSV\r\n',
      `227 Entering Passive Mode (${numbers}).\r\n`,
      `227 =${numbers}\n`,
      `150 first\r\n229 Entering Extended Passive Mode (|||${random.below(70_000)}|)\r\n`,
    ])
    return new TextEncoder().encode(random.oneIn(4) ? line.slice(0, random.below(line.length)) : line)
  }

  /** One of few calls, whole, cut off or out of order. */
  #sipMessage(): Uint8Array {
    const random = this.#random
    const callId = `${random.below(20)}@${'host'.repeat(random.oneIn(8) ? random.below(70) : 1)}`
    const line = this.#pick([`Call-ID: ${callId}`, `i:${callId}`, `CALL-ID :\r\n\t${callId}`, `i ${callId}`, 'Call-ID'])
    const lines = ['INVITE sip:bob SIP/2.0', 'Via: SIP/2.0/UDP a', line, 'CSeq: 1 INVITE', '']
    if (random.oneIn(8)) lines.reverse()
    const message = lines.join(this.#pick(['\r\n', '\r\n', '\n', '\r']))
    return new TextEncoder().encode(random.oneIn(4) ? message.slice(0, random.below(message.length)) : message)
  }

  #chunks(): { type: number; value: Uint8Array }[] {
    const random = this.#random
    return Array.from({ length: random.below(4) }, () => ({
      type: random.oneIn(8) ? random.below(256) : random.below(15),
      value: this.#noise(this.#pick(LENGTHS)),
    }))
  }

  /** Of the key exchange, or what it is for. */
  #ipsec(): FuzzFrame {
    const random = this.#random
    const isReply = random.oneIn(3)
    const server = this.#pick(SERVERS)
    const ends = isReply
      ? { sourceMac: serverMac(server), destinationMac: MACS[INSIDE], from: server, to: this.#pick(CLIENTS) }
      : { sourceMac: ROUTER.mac, destinationMac: MACS[OUTSIDE], from: this.#pick(CLIENTS), to: this.#pick(VIPS) }
    const link = isReply ? INSIDE : OUTSIDE
    const payload = this.#noise(this.#pick(LENGTHS))
    const frame = random.oneIn(2)
      ? ipPacketFrame({ ...ends, protocol: 50 + random.below(2), ttl: this.#ttl(), payload })
      : udpFrame({ ...ends, from: `${ends.from}:500`, to: `${ends.to}:500`, payload })
    return { link, frame, vnetHeader: noOffload }
  }

  /** Sometimes with an unfinished checksum, and always so when it is longer than the wire allows. */
  #offloaded(link: string, frame: Uint8Array): FuzzFrame {
    const random = this.#random
    const isLarge = frame.length > 1514
    if (frame[23] === 132) return { link, frame, vnetHeader: noOffload }
    if (!isLarge && !random.oneIn(4)) return { link, frame, vnetHeader: noOffload }
    const header = isLarge ? segmentationHeader(frame, this.#pick([536, 1000, 1390, 1460])) : unfinishedHeader(frame)
    if (isLarge) header[1] = frame[23] === 6 ? VNET_GSO_TCPV4 : VNET_GSO_UDP_L4
    return { link, frame: unfinish(frame), vnetHeader: header }
  }

  /** Few names, so that fragments of different datagrams meet. */
  #fragment(): FuzzFrame {
    const random = this.#random
    const isReply = random.oneIn(3)
    const whole = isReply ? this.#reply() : this.#request()
    whole[19] = random.below(4)
    const pieces = fragmentsOf(whole, this.#pick([68, 300, 1000, 1450]))
    return { link: isReply ? INSIDE : OUTSIDE, frame: this.#pick(pieces), vnetHeader: noOffload }
  }

  #echo(): FuzzFrame {
    const frame = icmpFrame({
      sourceMac: ROUTER.mac,
      destinationMac: MACS[OUTSIDE],
      from: this.#pick(CLIENTS),
      to: this.#pick(VIPS),
      type: this.#pick([8, 8, 0, 5, 13]),
      payload: this.#noise(this.#pick(LENGTHS)),
    })
    return { link: OUTSIDE, frame, vnetHeader: noOffload }
  }

  #icmpError(): FuzzFrame {
    const random = this.#random
    const type = this.#pick([3, 3, 4, 11, 12])
    const common = { type, code: random.below(6), rest: this.#pick([0, 1400, 576, 68, 0xffff]), ttl: this.#ttl() }
    const quote = (frame: Uint8Array) => packetOf(frame).slice(0, this.#pick([0, 20, 27, 28, 48, 100, 548]))
    if (random.oneIn(2)) {
      const { protocol, port } = this.#pick(SERVICES)
      const vip = this.#pick(VIPS)
      const quoted = (protocol === 'tcp' ? tcpFrame : udpFrame)({ from: `${vip}:${port}`, to: this.#client() })
      const addresses = { sourceMac: ROUTER.mac, destinationMac: MACS[OUTSIDE], from: this.#pick(CLIENTS), to: vip }
      return {
        link: OUTSIDE,
        frame: icmpFrame({ ...common, ...addresses, payload: quote(quoted) }),
        vnetHeader: noOffload,
      }
    }
    const server = this.#pick(SERVERS)
    const client = this.#client()
    const isTunnel = random.oneIn(2)
    const quoted = isTunnel ? this.#inTunnel(server) : tcpFrame({ from: client, to: `${server}:${NAT_SERVER_PORT}` })
    const frame = icmpFrame({
      ...common,
      sourceMac: SERVERS_ROUTER.mac,
      destinationMac: MACS[INSIDE],
      from: SERVERS_ROUTER.address,
      to: isTunnel ? INSIDE_SOURCE : client.split(':')[0],
      payload: quote(quoted),
    })
    return { link: INSIDE, frame, vnetHeader: noOffload }
  }

  #inTunnel(server: string): Uint8Array {
    const ipip = tunnelled(this.#request(), { destination: server })
    const kind = this.#random.below(3)
    if (kind === 0) return ipip
    const header = kind === 1 ? [0, 0, 8, 0] : [0x80, 0, GUE_PORT >> 8, GUE_PORT & 255, 0, 40, 0, 0, 0, 4, 0, 0]
    const frame = Uint8Array.from([...ipip.subarray(0, 34), ...header, ...ipip.subarray(34)])
    frame[23] = kind === 1 ? 47 : 17
    return frame
  }

  #arp(): FuzzFrame {
    const random = this.#random
    const hosts = [
      { link: OUTSIDE, ...ROUTER },
      { link: INSIDE, ...SERVERS_ROUTER },
      ...SERVERS.slice(0, 2).map((address) => ({ link: INSIDE, address, mac: serverMac(address) })),
    ]
    const { link, address, mac } = this.#pick(hosts)
    const frame = new Uint8Array(ARP_FRAME_LENGTH)
    const isRequest = random.oneIn(3)
    writeArpFrame(frame, 0, parseMac(isRequest ? 'ff:ff:ff:ff:ff:ff' : '02:00:00:00:00:01'), {
      operation: isRequest ? 1 : 2,
      senderMac: parseMac(mac),
      senderAddress: parseIPv4(address),
      targetMac: new Uint8Array(6),
      targetAddress: parseIPv4(this.#pick([...VIPS, INSIDE_SOURCE])),
    })
    return { link, frame, vnetHeader: noOffload }
  }
}

function isIPv6(frame: Uint8Array): boolean {
  return frame[12] === 0x86 && frame[13] === 0xdd
}

/** Makes the IP header's checksum right, if there is an IP header. */
function repairIPv4(frame: Uint8Array): void {
  const headerLength = (frame[14] & 15) * 4
  if (headerLength >= 20 && frame.length >= 14 + headerLength) refreshIPv4Checksum(frame, 14, headerLength)
}

/** Makes the checksum behind the IP header right, if there is room for one. */
function repairTransport(frame: Uint8Array): void {
  const transport = 14 + (frame[14] & 15) * 4
  const offset = { 1: 2, 6: 16, 17: 6 }[frame[23]]
  const length = ((frame[16] << 8) | frame[17]) - (transport - 14)
  if (offset === undefined || length < offset + 2 || transport + length > frame.length) return
  const initial = frame[23] === 1 ? 0 : pseudoHeaderSum(frame, 14, frame[23], length)
  writeUint16(frame, transport + offset, 0)
  writeUint16(frame, transport + offset, checksum(frame, transport, length, initial))
}
