/**
 * What a SYN may announce, from either side and of either family, if its connection's service asks for that: no more than fits into the
 * way to the server and back.
 */
import { IPV4_HEADER_LENGTH } from '../../protocol/packet/ipv4.ts'
import { IPV6_HEADER_LENGTH } from '../../protocol/packet/ipv6.ts'
import { TCP_HEADER_LENGTH } from '../../protocol/packet/tcp.ts'
import type { Frame } from '../link/link.ts'
import { isTransportUnfinished } from '../method/offload.ts'
import { lowerSegmentSize } from '../method/segment-size.ts'
import { longestShim, outerHeaderLength } from '../method/tunnel.ts'
import {
  type ConnectionIndex,
  FLAG_IPV6,
  KEY,
  KEY_WORDS,
  RETURN_PATH_MASK,
  STATE,
  STATE_WORDS,
} from '../table/connection-layout.ts'
import type { ConnectionTable } from '../table/connection-table.ts'
import { isOneWay, METHOD_TUN } from '../table/real-server.ts'
import { METHOD_MASK, METHOD_SHIFT } from '../table/record-codec.ts'
import type { ServiceTable } from '../table/service-table.ts'
import type { Egress } from './egress.ts'

export class SegmentClamp {
  readonly #table: ConnectionTable
  readonly #services: ServiceTable
  readonly #egress: Egress

  constructor(table: ConnectionTable, services: ServiceTable, egress: Egress) {
    this.#table = table
    this.#services = services
    this.#egress = egress
  }

  /** Lowers what the SYN announces. @param transport offset of its TCP header */
  lower(frame: Frame, transport: number, index: ConnectionIndex): void {
    const server = this.#services.serverBySlot[this.#table.server(index)]
    if (server === undefined || !server.clampsSegmentSize) return
    const egress = this.#egress
    const { keys, states } = this.#table.memory
    const word = states[index * STATE_WORDS + STATE.flagsReturnPath]
    const flags = word >>> 16
    const path = word & RETURN_PATH_MASK
    const isIPv6 = (flags & FLAG_IPV6) !== 0
    const method = (flags & METHOD_MASK) >> METHOD_SHIFT
    let mtu = egress.mtuToServer(server)
    if (method === METHOD_TUN) mtu -= outerHeaderLength(server.address) + longestShim(server.tunnel)
    // Replies pass here by NAT and from this host alone.
    if (!isOneWay(method)) {
      const client = index * KEY_WORDS + KEY.clientAddress
      const back = isIPv6 ? egress.mtuToClient6(path, keys, client) : egress.mtuToClient(path, keys[client])
      mtu = Math.min(mtu, back)
    }
    const most = mtu - (isIPv6 ? IPV6_HEADER_LENGTH : IPV4_HEADER_LENGTH) - TCP_HEADER_LENGTH
    const isUnfinished = isTransportUnfinished(frame, transport)
    lowerSegmentSize(frame.memory.view, transport, frame.start + frame.length, most, isUnfinished)
  }
}
