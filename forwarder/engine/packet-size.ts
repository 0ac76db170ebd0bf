/**
 * What is done about packets that are longer than the way on: those that may be cut are, of others the sender is told what fits.
 *
 * Source: RFC 1812 section 4.2.2.7 and 4.3.2.3; Linux net/netfilter/ipvs/ip_vs_xmit.c ensure_mtu_is_adequate().
 */
import { ETHERNET_HEADER_LENGTH } from '../../protocol/packet/ethernet.ts'
import { IPV4 } from '../../protocol/packet/ipv4.ts'
import type { Frame } from '../link/link.ts'
import { decrementTtl } from '../method/direct-routing.ts'
import { mayBeCut } from '../method/fragmentation.ts'
import { rewriteDestination, rewriteSource } from '../method/nat.ts'
import { finishChecksum, hasUnfinishedChecksum } from '../method/offload.ts'
import { isOneWay, type RealServer } from '../table/real-server.ts'
import type { Answers } from './answers.ts'
import { type Drops, dropCode } from './drop-reason.ts'
import type { Egress } from './egress.ts'
import type { Verdict } from './verdict.ts'

const DROP_BAD_HEADER = dropCode('bad-header')

export interface PacketSizeParts {
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
    if (!mayBeCut(frame)) return answers.tooBig(frame, link, mtu, egress.sourceOn(link, virtual))
    if (hasUnfinishedChecksum(frame) && !finishChecksum(frame)) return drops.drop(DROP_BAD_HEADER)
    rewriteSource(view, ip, ip + headerLength, virtual, virtualPort, false)
    return egress.piecesToClient(frame, headerLength, path, client, mtu)
  }
}
