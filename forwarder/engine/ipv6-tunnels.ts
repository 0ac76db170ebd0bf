/**
 * An IPv6 packet's way into the tunnel to its real server, of either family: cut, finished and wrapped up, since no card can do it
 * behind the outer header. A router does not cut IPv6 packets: the sender is told what fits. But what is no longer than any link must
 * carry, nobody sends shorter: its tunnel packet is cut (RFC 2473 section 7.1).
 */
import { ETHERNET_HEADER_LENGTH } from '../../protocol/packet/ethernet.ts'
import { IPV6_MINIMUM_MTU } from '../../protocol/packet/ipv6.ts'
import type { Frame } from '../link/link.ts'
import { decrementHopLimit } from '../method/ipv6-nat.ts'
import {
  checksumIsInside,
  cuttableHeaderLength,
  finishChecksum,
  hasUnfinishedChecksum,
  segmentSize,
  wireLength,
} from '../method/offload.ts'
import { outerHeaderLength, shimLength } from '../method/tunnel.ts'
import type { RealServer } from '../table/real-server.ts'
import { type Drops, dropCode } from './drop-reason.ts'
import type { Egress } from './egress.ts'
import type { IPv6Answers } from './ipv6-answers.ts'
import { DROPPED, type Verdict } from './verdict.ts'

const DROP_BAD_HEADER = dropCode('bad-header')
const DROP_NO_ROUTE = dropCode('no-route')
const DROP_TOO_BIG = dropCode('too-big')
const DROP_UNSUPPORTED = dropCode('unsupported')

export class IPv6Tunnels {
  readonly #egress: Egress
  readonly #answers: IPv6Answers
  readonly #drops: Drops

  constructor(egress: Egress, answers: IPv6Answers, drops: Drops) {
    this.#egress = egress
    this.#answers = answers
    this.#drops = drops
  }

  /** @param isSilent nobody is told that the packet is too big: it is an ICMPv6 error (RFC 4443 section 2.4 e) or no first fragment */
  toServer(
    frame: Frame,
    link: number,
    headerLength: number,
    protocol: number,
    server: RealServer,
    isSilent: boolean,
  ): Verdict {
    const egress = this.#egress
    const hop = egress.nextHop(server)
    if (hop === undefined) return this.#drops.drop(DROP_NO_ROUTE)
    const { tunnel } = server
    const outerLength = outerHeaderLength(server.address)
    const mtu = egress.mtuToServer(server) - outerLength - shimLength(tunnel, frame)
    const isLarge = segmentSize(frame) !== 0
    const transportLength = isLarge ? cuttableHeaderLength(frame, headerLength, protocol) : 0
    if (isLarge && transportLength === 0) return this.#drops.drop(DROP_UNSUPPORTED)
    const isTooLong = frame.length - ETHERNET_HEADER_LENGTH > mtu && wireLength(frame, headerLength, protocol) > mtu
    if (isTooLong && wireLength(frame, headerLength, protocol) > IPV6_MINIMUM_MTU) {
      if (!isSilent) return this.#answers.fromDestination(frame).tooBig(frame, link, mtu)
      this.#drops.add(DROP_TOO_BIG, 1)
      return DROPPED
    }
    decrementHopLimit(frame.memory.view, frame.start + ETHERNET_HEADER_LENGTH)
    if (isLarge) return egress.segmentsToServer(frame, headerLength, protocol, transportLength, hop, server)
    if (hasUnfinishedChecksum(frame) && !(tunnel.isRemote ? checksumIsInside(frame) : finishChecksum(frame))) {
      return this.#drops.drop(DROP_BAD_HEADER)
    }
    egress.wrap(frame, hop, server)
    return isTooLong ? egress.piecesToServer(frame, outerLength, server) : egress.toServer(frame, server)
  }
}
