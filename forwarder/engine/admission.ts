/**
 * Which packets begin a connection: what may be the first one, and when it takes the place of one that is known.
 *
 * Source: Linux net/netfilter/ipvs/ip_vs_core.c is_new_conn_expected(), ip_vs_in_hook(); ip_vs_proto_tcp.c tcp_conn_schedule(),
 * ip_vs_proto_sctp.c sctp_conn_schedule().
 */
import { PROTOCOL_SCTP, PROTOCOL_TCP } from '../../protocol/packet/ipv4.ts'
import { SCTP, SCTP_CHUNK } from '../../protocol/packet/sctp.ts'
import { TCP, TCP_RST, TCP_SYN } from '../../protocol/packet/tcp.ts'
import type { EngineSettings } from '../settings.ts'
import {
  type ConnectionIndex,
  FLAG_CONTROLLED,
  FLAG_FTP_DATA,
  FLAG_ONE_WAY,
  isTentative,
} from '../table/connection-layout.ts'
import type { ConnectionTable } from '../table/connection-table.ts'
import type { RealServer } from '../table/real-server.ts'
import type { ServiceTable } from '../table/service-table.ts'
import { SYNC_ESTABLISHED } from '../table/virtual-service.ts'
import { isOverState } from './protocols/registry.ts'
import { TCP_STATE } from './tcp-states.ts'

/** Of conn_reuse_mode. */
const FROM_OVER = 1
const FROM_FIN_WAIT = 2

export class Admission {
  readonly #table: ConnectionTable
  readonly #services: ServiceTable
  readonly #settings: EngineSettings

  constructor(table: ConnectionTable, services: ServiceTable, settings: EngineSettings) {
    this.#table = table
    this.#services = services
    this.#settings = settings
  }

  /** Whether this packet may be a connection's first: a SYN or an INIT, or with the sloppy settings what else there is. */
  mayBegin(view: DataView, transport: number, protocol: number): boolean {
    if (protocol === PROTOCOL_TCP) {
      const flags = view.getUint8(transport + TCP.flags) & (TCP_SYN | TCP_RST)
      return flags === TCP_SYN || (flags === 0 && this.#settings.sloppyTcp !== 0)
    }
    if (protocol !== PROTOCOL_SCTP) return true
    const chunk = view.getUint8(transport + SCTP.firstChunk)
    return chunk === SCTP_CHUNK.INIT || (chunk !== SCTP_CHUNK.ABORT && this.#settings.sloppySctp !== 0)
  }

  /** Whether this packet of a known connection's client starts a new one in its place. */
  isReopened(index: ConnectionIndex, view: DataView, transport: number, protocol: number): boolean {
    return isOpening(view, transport, protocol) && this.givesWay(index, protocol)
  }

  /**
   * Whether this packet, right after a takeover, may be of a connection that is not known yet, instead of the known one: that is over,
   * and the packet opens none.
   */
  mayBeOfNext(index: ConnectionIndex, view: DataView, transport: number, protocol: number): boolean {
    return this.isOver(index, protocol) && !isOpening(view, transport, protocol)
  }

  /**
   * Whether a SYN or an INIT for a known connection starts a new one in its place: when it is over (conn_reuse_mode), unless another
   * decides on its server, which then is the same again: its template, or the control connection of FTP. (What is to be confirmed is
   * begun anew all the same, and so confirmed.) Or when its server takes no new connections any more, so that the client does not wait for
   * the dead. With a server that was removed, and an established one altogether, the latter needs expire_nodest_conn. A data connection of
   * FTP has nowhere else to go, and in active mode its client's first packet is a SYN as well. A tentative one is none yet.
   */
  givesWay(index: ConnectionIndex, protocol: number): boolean {
    const flags = this.#table.flags(index)
    if (isTentative(flags)) return true
    const { connReuseMode, expireNodestConn } = this.#settings
    const server = this.#services.serverBySlot[this.#table.server(index)]
    const isControlled = (flags & (FLAG_CONTROLLED | FLAG_FTP_DATA)) !== 0 && server?.service?.sync === SYNC_ESTABLISHED
    if (connReuseMode !== 0 && !isControlled && this.isOver(index, protocol, connReuseMode)) return true
    if (server?.weight !== 0 || (flags & FLAG_FTP_DATA) !== 0) return false
    if (expireNodestConn !== 0) return true
    return protocol === PROTOCOL_TCP && !server.isRetired && this.#table.state(index) !== TCP_STATE.ESTABLISHED
  }

  /**
   * Whether the connection is over. After a takeover a packet of its client may then be of the next one between the same ports, which the
   * director before this one has told of a moment ago; led to the server of the one that is over, it would be reset.
   */
  isOver(index: ConnectionIndex, protocol: number, connReuseMode: number = FROM_OVER): boolean {
    const state = this.#table.state(index)
    if (!isOverState(protocol, state)) return false
    if (protocol !== PROTOCOL_TCP || state !== TCP_STATE.FIN_WAIT) return true
    return (connReuseMode & FROM_FIN_WAIT) !== 0 && (this.#table.flags(index) & FLAG_ONE_WAY) !== 0
  }

  /**
   * Whether a connection's server is not there: it was removed or, with expire_nodest_conn, its health checks fail and others take
   * connections. To whom all servers look dead, the network may be cut, and what a director ends it ends for all: nobody would gain.
   */
  isGone(server: RealServer): boolean {
    if (server.removed) return true
    if (!server.down || this.#settings.expireNodestConn === 0) return false
    return server.service?.servers.some(takesConnections) === true
  }

  /** Whether expire_nodest_conn ends the connection, whose server is not there, at this packet of its client. */
  isToLeave(index: ConnectionIndex, protocol: number): boolean {
    if (this.#settings.expireNodestConn === 0) return false
    // IPsec's packets go the way of a connection that is not theirs to end.
    if (this.#table.protocol(index) !== protocol) return false
    const server = this.#services.serverBySlot[this.#table.server(index)]
    return server !== undefined && (server.isRetired || server.down)
  }
}

/** Whether a client opens a connection with this packet. */
function isOpening(view: DataView, transport: number, protocol: number): boolean {
  if (protocol === PROTOCOL_TCP) return (view.getUint8(transport + TCP.flags) & (TCP_SYN | TCP_RST)) === TCP_SYN
  return protocol === PROTOCOL_SCTP && view.getUint8(transport + SCTP.firstChunk) === SCTP_CHUNK.INIT
}

function takesConnections({ weight }: RealServer): boolean {
  return weight > 0
}
