/**
 * What becomes of an ICMP packet: echo to an address of ours is answered, an error that belongs to a connection is passed on to
 * its client or its server, and anything else is the host's.
 *
 * Source: Linux net/netfilter/ipvs/ip_vs_core.c ip_vs_in_icmp(), ip_vs_out_icmp(); RFC 792, RFC 1812 section 4.3.
 */
import { checksum } from '../../protocol/packet/checksum.ts'
import { ETHERNET_HEADER_LENGTH } from '../../protocol/packet/ethernet.ts'
import { PROTOCOL_GRE } from '../../protocol/packet/gre.ts'
import {
  ICMP,
  ICMP_CODE_FRAGMENTATION_NEEDED,
  ICMP_ECHO_REQUEST,
  ICMP_HEADER_LENGTH,
  ICMP_UNREACHABLE,
  isIcmpError,
} from '../../protocol/packet/icmp.ts'
import { FRAGMENT_OFFSET_MASK, IPV4, MORE_FRAGMENTS, PROTOCOL_IPIP, PROTOCOL_UDP } from '../../protocol/packet/ipv4.ts'
import { tunnelledPacket } from '../../protocol/packet/tunnel.ts'
import type { Frame } from '../link/link.ts'
import { decrementTtl } from '../method/direct-routing.ts'
import { KEY, KEY_WORDS, NO_CONNECTION, STATE, STATE_WORDS } from '../table/connection-layout.ts'
import type { ConnectionTable } from '../table/connection-table.ts'
import { METHOD_MASK, METHOD_SHIFT } from '../table/record-codec.ts'
import { METHOD_DR, METHOD_LOCAL, METHOD_NAT, type RealServer, type ServiceTable } from '../table/service-table.ts'
import type { Answers } from './answers.ts'
import { type Drops, dropCode } from './drop-reason.ts'
import type { Egress } from './egress.ts'
import { turnIntoEchoReply } from './icmp-answers.ts'
import { type QuotedPacket, readQuotedPacket, translateForClient, translateForServer } from './icmp-errors.ts'
import type { Tunnels } from './tunnels.ts'
import { DROPPED, TO_HOST, type Verdict } from './verdict.ts'
import { ADDRESS_STANDBY, ADDRESS_UNKNOWN, type VirtualAddresses } from './virtual-addresses.ts'

const DROP_TRUNCATED = dropCode('truncated')
const DROP_BAD_HEADER = dropCode('bad-header')
const DROP_FRAGMENT = dropCode('fragment')
const DROP_TTL = dropCode('ttl-exceeded')
const DROP_STANDBY = dropCode('standby')
const DROP_ICMP_UNRELATED = dropCode('icmp-unrelated')
const DROP_MARTIAN = dropCode('martian-source')
const DROP_UNSUPPORTED = dropCode('unsupported')

/** Every link carries packets of this length whole (RFC 791). */
const SMALLEST_MTU = 68

export interface IcmpParts {
  readonly table: ConnectionTable
  readonly services: ServiceTable
  readonly addresses: VirtualAddresses
  readonly egress: Egress
  readonly tunnels: Tunnels
  readonly answers: Answers
  readonly drops: Drops
}

export class Icmp {
  readonly #parts: IcmpParts
  readonly #quoted = noPacket()
  readonly #outer = noPacket()

  constructor(parts: IcmpParts) {
    this.#parts = parts
  }

  /** @param addressState what the packet's destination is to us */
  handle(frame: Frame, link: number, headerLength: number, addressState: number): Verdict {
    const { addresses, drops } = this.#parts
    const view = frame.memory.view
    const ip = frame.start + ETHERNET_HEADER_LENGTH
    const icmp = ip + headerLength
    const length = frame.length - ETHERNET_HEADER_LENGTH - headerLength
    if (length < ICMP_HEADER_LENGTH) return this.#ours(addressState, DROP_TRUNCATED)
    if ((view.getUint16(ip + IPV4.fragment) & (MORE_FRAGMENTS | FRAGMENT_OFFSET_MASK)) !== 0) {
      return this.#ours(addressState, DROP_FRAGMENT)
    }
    const type = view.getUint8(icmp + ICMP.type)
    const isError = isIcmpError(type)
    if (addressState === ADDRESS_UNKNOWN && !isError) return TO_HOST
    // It will leave with a checksum made anew, which must not cover up what happened to it on its way here.
    if (checksum(frame.memory.bytes, icmp, length) !== 0) return this.#ours(addressState, DROP_BAD_HEADER)
    if (isError) return this.#passError(frame, link, headerLength, addressState)
    if (type !== ICMP_ECHO_REQUEST) return drops.drop(DROP_UNSUPPORTED)
    if (addressState === ADDRESS_STANDBY) return drops.drop(DROP_STANDBY)
    if (addresses.isMartian(view.getInt32(ip + IPV4.source))) return drops.drop(DROP_MARTIAN)
    turnIntoEchoReply(frame, headerLength)
    return link
  }

  #passError(frame: Frame, link: number, headerLength: number, addressState: number): Verdict {
    const { drops } = this.#parts
    const icmp = frame.start + ETHERNET_HEADER_LENGTH + headerLength
    const available = frame.start + frame.length - icmp - ICMP_HEADER_LENGTH
    if (!readQuotedPacket(frame.memory.bytes, icmp + ICMP_HEADER_LENGTH, available, this.#quoted))
      return this.#ours(addressState, DROP_ICMP_UNRELATED)
    const { protocol } = this.#quoted
    if (protocol === PROTOCOL_IPIP || protocol === PROTOCOL_GRE) {
      return addressState === ADDRESS_UNKNOWN ? this.#passTunnelError(frame, icmp) : drops.drop(DROP_ICMP_UNRELATED)
    }
    return addressState === ADDRESS_UNKNOWN
      ? this.#passToClient(frame, headerLength)
      : this.#passToServer(frame, link, headerLength)
  }

  #passToServer(frame: Frame, link: number, headerLength: number): Verdict {
    const { table, services, egress, tunnels, drops } = this.#parts
    const { view, bytes } = frame.memory
    const ip = frame.start + ETHERNET_HEADER_LENGTH
    const { protocol, source, destination, sourcePort, destinationPort } = this.#quoted
    const ports = (destinationPort << 16) | sourcePort
    const index = table.findByClient(protocol, destination, source, ports)
    const server = index === NO_CONNECTION ? undefined : services.serverBySlot[table.server(index)]
    if (server === undefined || server.removed) return drops.drop(DROP_ICMP_UNRELATED)
    if (view.getUint8(ip + IPV4.ttl) <= 1) return drops.drop(DROP_TTL)
    const method = (table.flags(index) & METHOD_MASK) >> METHOD_SHIFT
    if (method === METHOD_NAT || method === METHOD_LOCAL) {
      const length = frame.length - ETHERNET_HEADER_LENGTH - headerLength
      translateForServer(bytes, ip, ip + headerLength, length, this.#quoted, server.address, table.serverPort(index))
      return egress.toServer(frame, server)
    }
    if (method !== METHOD_DR) return tunnels.toServer(frame, link, headerLength, server)
    decrementTtl(view, ip)
    return egress.toServer(frame, server)
  }

  #passToClient(frame: Frame, headerLength: number): Verdict {
    const { table, egress, drops } = this.#parts
    const { keys, states } = table.memory
    const { view, bytes } = frame.memory
    const ip = frame.start + ETHERNET_HEADER_LENGTH
    const { protocol, source, destination, sourcePort, destinationPort } = this.#quoted
    const index = table.findByServer(protocol, destination, destinationPort, source, sourcePort)
    // A datagram of ours that belongs to no connection may be a tunnel's.
    if (index === NO_CONNECTION) return this.#passTunnelError(frame, ip + headerLength)
    if (view.getUint8(ip + IPV4.ttl) <= 1) return drops.drop(DROP_TTL)
    const key = index * KEY_WORDS
    const virtual = keys[key + KEY.virtualAddress]
    const virtualPort = keys[key + KEY.ports] & 0xffff
    const length = frame.length - ETHERNET_HEADER_LENGTH - headerLength
    translateForClient(bytes, ip, ip + headerLength, length, this.#quoted, virtual, virtualPort)
    const path = states[index * STATE_WORDS + STATE.flagsReturnPath] & 0xffff
    return egress.toClient(frame, path, keys[key + KEY.clientAddress])
  }

  /** Somebody on the way to a real server cannot pass the tunnel on: the client is told, as if it were about its own packet. */
  #passTunnelError(frame: Frame, icmp: number): Verdict {
    const { table, services, egress, answers } = this.#parts
    const { view, bytes } = frame.memory
    const quoted = this.#quoted
    Object.assign(this.#outer, quoted)
    const outer = this.#outer
    const inner = tunnelledPacket(view, quoted.protocol, quoted.transport, frame.start + frame.length)
    const available = frame.start + frame.length - inner
    if (inner === 0 || !readQuotedPacket(bytes, inner, available, quoted)) return TO_HOST
    const { protocol, source, destination, sourcePort, destinationPort } = quoted
    const ports = (sourcePort << 16) | destinationPort
    const index = table.findByClient(protocol, source, destination, ports)
    const server = index === NO_CONNECTION ? undefined : services.serverBySlot[table.server(index)]
    if (server === undefined || !isTunnelTo(server, outer)) return TO_HOST
    const type = view.getUint8(icmp + ICMP.type)
    const code = view.getUint8(icmp + ICMP.code)
    let rest = view.getInt32(icmp + ICMP.rest)
    if (type === ICMP_UNREACHABLE && code === ICMP_CODE_FRAGMENTATION_NEEDED) {
      rest = Math.max(SMALLEST_MTU, (rest & 0xffff) - (inner - outer.ip))
    }
    const start = inner - ETHERNET_HEADER_LENGTH
    bytes.copyWithin(start, frame.start, frame.start + ETHERNET_HEADER_LENGTH)
    frame.start = start
    frame.length = ETHERNET_HEADER_LENGTH + available
    if (!answers.turnIntoError(frame, type, code, rest, destination)) return DROPPED
    const path = table.memory.states[index * STATE_WORDS + STATE.flagsReturnPath] & 0xffff
    return egress.toClient(frame, path, source)
  }

  /** A bad packet for an address of ours is dropped; any other is the host's to judge. */
  #ours(addressState: number, reason: number): Verdict {
    return addressState === ADDRESS_UNKNOWN ? TO_HOST : this.#parts.drops.drop(reason)
  }
}

/** Whether a quoted packet is one of those in which a server's packets travel. */
function isTunnelTo({ address, tunnel }: RealServer, outer: QuotedPacket): boolean {
  if (outer.destination !== address || outer.protocol !== tunnel.protocol) return false
  return outer.protocol !== PROTOCOL_UDP || outer.destinationPort === tunnel.port
}

function noPacket(): QuotedPacket {
  return {
    protocol: 0,
    source: 0,
    destination: 0,
    sourcePort: 0,
    destinationPort: 0,
    hasPorts: true,
    ip: 0,
    transport: 0,
  }
}
