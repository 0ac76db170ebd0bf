/**
 * A packet's way into the tunnel to its real server: cut, finished and wrapped up, since no card can do it behind the outer header.
 *
 * Source: Linux net/netfilter/ipvs/ip_vs_xmit.c ensure_mtu_is_adequate() (what is answered, what is cut).
 */
import { ETHERNET_HEADER_LENGTH } from '../../protocol/packet/ethernet.ts'
import { DONT_FRAGMENT, IPV4 } from '../../protocol/packet/ipv4.ts'
import type { Frame } from '../link/link.ts'
import { decrementTtl } from '../method/direct-routing.ts'
import {
  checksumIsInside,
  cuttableHeaderLength,
  finishChecksum,
  hasUnfinishedChecksum,
  segmentSize,
  wireLength,
} from '../method/offload.ts'
import { outerHeaderLength, shimLength } from '../method/tunnel.ts'
import type { EngineSettings } from '../settings.ts'
import type { RealServer } from '../table/real-server.ts'
import type { Answers } from './answers.ts'
import { type Drops, dropCode } from './drop-reason.ts'
import type { Egress } from './egress.ts'
import type { Verdict } from './verdict.ts'

const DROP_BAD_HEADER = dropCode('bad-header')
const DROP_NO_ROUTE = dropCode('no-route')
const DROP_UNSUPPORTED = dropCode('unsupported')

const LONGEST_PACKET = 65_535

export class Tunnels {
  readonly #egress: Egress
  readonly #answers: Answers
  readonly #settings: EngineSettings
  readonly #drops: Drops

  constructor(egress: Egress, answers: Answers, settings: EngineSettings, drops: Drops) {
    this.#egress = egress
    this.#answers = answers
    this.#settings = settings
    this.#drops = drops
  }

  toServer(frame: Frame, link: number, headerLength: number, server: RealServer): Verdict {
    const egress = this.#egress
    const hop = egress.nextHop(server)
    if (hop === undefined) return this.#drops.drop(DROP_NO_ROUTE)
    const view = frame.memory.view
    const ip = frame.start + ETHERNET_HEADER_LENGTH
    const { tunnel } = server
    const outerLength = outerHeaderLength(server.address)
    const added = outerLength + shimLength(tunnel, frame)
    const mtu = egress.mtuToServer(server) - added
    const protocol = frame.memory.bytes[frame.start + ETHERNET_HEADER_LENGTH + IPV4.protocol]
    const isLarge = segmentSize(frame) !== 0
    const transportLength = isLarge ? cuttableHeaderLength(frame, headerLength, protocol) : 0
    if (segmentSize(frame) !== 0 && transportLength === 0) return this.#drops.drop(DROP_UNSUPPORTED)
    const isTooLong = frame.length - ETHERNET_HEADER_LENGTH > mtu && wireLength(frame, headerLength, protocol) > mtu
    if (
      isTooLong &&
      !this.#mayBeCut(view.getUint16(ip + IPV4.fragment), wireLength(frame, headerLength, protocol) + added)
    ) {
      return this.#answers.tooBig(frame, link, mtu, view.getInt32(ip + IPV4.destination))
    }
    decrementTtl(view, ip)
    if (transportLength !== 0)
      return egress.segmentsToServer(frame, headerLength, protocol, transportLength, hop, server)
    if (hasUnfinishedChecksum(frame) && !(tunnel.isRemote ? checksumIsInside(frame) : finishChecksum(frame))) {
      return this.#drops.drop(DROP_BAD_HEADER)
    }
    egress.wrap(frame, hop, server)
    return isTooLong ? egress.piecesToServer(frame, outerLength, server) : egress.toServer(frame, server)
  }

  #mayBeCut(fragment: number, outerLength: number): boolean {
    const isForbidden = this.#settings.pmtuDisc !== 0 && (fragment & DONT_FRAGMENT) !== 0
    return !isForbidden && outerLength <= LONGEST_PACKET
  }
}
