/** A packet's way into the tunnel to its real server: cut, finished and wrapped up, since no card can do it behind the outer header. */
import { ETHERNET_HEADER_LENGTH } from '../../protocol/packet/ethernet.ts'
import { IPV4 } from '../../protocol/packet/ipv4.ts'
import type { Frame } from '../link/link.ts'
import { decrementTtl } from '../method/direct-routing.ts'
import { finishChecksum, hasUnfinishedChecksum, isTcpToSegment, segmentSize, wireLength } from '../method/offload.ts'
import { encapsulate, IPIP_OVERHEAD } from '../method/tunnel.ts'
import type { RealServer } from '../table/service-table.ts'
import type { Answers } from './answers.ts'
import { type Drops, dropCode } from './drop-reason.ts'
import type { Egress } from './egress.ts'
import type { Verdict } from './verdict.ts'

const DROP_BAD_HEADER = dropCode('bad-header')
const DROP_NO_ROUTE = dropCode('no-route')
const DROP_UNSUPPORTED = dropCode('unsupported')

export class Tunnels {
  readonly #egress: Egress
  readonly #answers: Answers
  readonly #drops: Drops

  constructor(egress: Egress, answers: Answers, drops: Drops) {
    this.#egress = egress
    this.#answers = answers
    this.#drops = drops
  }

  toServer(frame: Frame, link: number, headerLength: number, server: RealServer): Verdict {
    const egress = this.#egress
    const hop = egress.nextHop(server)
    if (hop === undefined) return this.#drops.drop(DROP_NO_ROUTE)
    const view = frame.memory.view
    const ip = frame.start + ETHERNET_HEADER_LENGTH
    const mtu = egress.mtus[hop.link] - IPIP_OVERHEAD
    const isLarge = segmentSize(frame) !== 0
    if (isLarge && !isTcpToSegment(frame, headerLength)) return this.#drops.drop(DROP_UNSUPPORTED)
    if (frame.length - ETHERNET_HEADER_LENGTH > mtu && wireLength(frame, headerLength) > mtu) {
      return this.#answers.tooBig(frame, link, mtu, view.getInt32(ip + IPV4.destination))
    }
    decrementTtl(view, ip)
    if (isLarge) return egress.segmentsToServer(frame, headerLength, hop, server.address)
    if (hasUnfinishedChecksum(frame) && !finishChecksum(frame)) return this.#drops.drop(DROP_BAD_HEADER)
    encapsulate(frame, hop.source, server.address)
    return egress.toServer(frame, server)
  }
}
