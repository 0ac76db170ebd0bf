/**
 * What is done about packets that are longer than the way on: those that may be cut are, of others the sender is told what fits;
 * and a SYN may be kept from announcing more than fits in the first place.
 *
 * Source: RFC 1812 section 4.2.2.7 and 4.3.2.3; Linux net/netfilter/ipvs/ip_vs_xmit.c ensure_mtu_is_adequate().
 */
import { ETHERNET_HEADER_LENGTH } from '../../protocol/packet/ethernet.ts'
import { IPV4, IPV4_HEADER_LENGTH } from '../../protocol/packet/ipv4.ts'
import { TCP_HEADER_LENGTH } from '../../protocol/packet/tcp.ts'
import type { Frame } from '../link/link.ts'
import { decrementTtl } from '../method/direct-routing.ts'
import { mayBeCut } from '../method/fragmentation.ts'
import { rewriteDestination, rewriteSource } from '../method/nat.ts'
import { finishChecksum, hasUnfinishedChecksum } from '../method/offload.ts'
import { lowerSegmentSize } from '../method/segment-size.ts'
import { longestShim, outerHeaderLength } from '../method/tunnel.ts'
import { type ConnectionIndex, KEY, KEY_WORDS, STATE, STATE_WORDS } from '../table/connection-layout.ts'
import type { ConnectionTable } from '../table/connection-table.ts'
import { isOneWay, METHOD_TUN, type RealServer } from '../table/real-server.ts'
import { METHOD_MASK, METHOD_SHIFT } from '../table/record-codec.ts'
import type { ServiceTable } from '../table/service-table.ts'
import type { Answers } from './answers.ts'
import { type Drops, dropCode } from './drop-reason.ts'
import type { Egress } from './egress.ts'
import type { Verdict } from './verdict.ts'

const DROP_BAD_HEADER = dropCode('bad-header')

export interface PacketSizeParts {
  readonly table: ConnectionTable
  readonly services: ServiceTable
  readonly egress: Egress
  readonly answers: Answers
  readonly drops: Drops
}

export class PacketSize {
  readonly #parts: PacketSizeParts

  constructor(parts: PacketSizeParts) {
    this.#parts = parts
  }

  /** A client's packet, by any method but TUN, that is longer than `mtu`. */
  tooLongToServer(
    frame: Frame,
    link: number,
    headerLength: number,
    server: RealServer,
    method: number,
    port: number,
    mtu: number,
  ): Verdict {
    const { egress, answers, drops } = this.#parts
    const view = frame.memory.view
    const ip = frame.start + ETHERNET_HEADER_LENGTH
    if (!mayBeCut(frame)) return answers.tooBig(frame, link, mtu, view.getInt32(ip + IPV4.destination))
    if (hasUnfinishedChecksum(frame) && !finishChecksum(frame)) return drops.drop(DROP_BAD_HEADER)
    if (!isOneWay(method)) rewriteDestination(view, ip, ip + headerLength, server.address, port, false)
    else decrementTtl(view, ip)
    return egress.piecesToServer(frame, headerLength, server)
  }

  /** A server's packet, by NAT, that is longer than `mtu`. */
  tooLongToClient(
    frame: Frame,
    link: number,
    headerLength: number,
    virtual: number,
    virtualPort: number,
    path: number,
    client: number,
    mtu: number,
  ): Verdict {
    const { egress, answers, drops } = this.#parts
    const view = frame.memory.view
    const ip = frame.start + ETHERNET_HEADER_LENGTH
    if (!mayBeCut(frame)) return answers.tooBig(frame, link, mtu, egress.sourceOn(link))
    if (hasUnfinishedChecksum(frame) && !finishChecksum(frame)) return drops.drop(DROP_BAD_HEADER)
    rewriteSource(view, ip, ip + headerLength, virtual, virtualPort, false)
    return egress.piecesToClient(frame, headerLength, path, client)
  }

  /** Lowers what a SYN announces, from either side, if the connection's service asks for that. */
  clamp(frame: Frame, headerLength: number, index: ConnectionIndex): void {
    const { table, services, egress } = this.#parts
    const { keys, states } = table.memory
    const server = services.serverBySlot[table.server(index)]
    if (server === undefined || !server.clampsSegmentSize) return
    const word = states[index * STATE_WORDS + STATE.flagsReturnPath]
    const method = ((word >>> 16) & METHOD_MASK) >> METHOD_SHIFT
    let mtu = egress.mtuToServer(server)
    if (method === METHOD_TUN) mtu -= outerHeaderLength(server.address) + longestShim(server.tunnel)
    // Replies pass here by NAT and from this host alone.
    if (!isOneWay(method)) {
      mtu = Math.min(mtu, egress.mtuToClient(word & 0xffff, keys[index * KEY_WORDS + KEY.clientAddress]))
    }
    const tcp = frame.start + ETHERNET_HEADER_LENGTH + headerLength
    const most = mtu - IPV4_HEADER_LENGTH - TCP_HEADER_LENGTH
    lowerSegmentSize(frame.memory.view, tcp, frame.start + frame.length, most, hasUnfinishedChecksum(frame))
  }
}
