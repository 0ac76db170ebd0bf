/**
 * What a packet does to its connection's state and timer, by protocol, and whether the peers are told of it.
 *
 * Source: Linux net/netfilter/ipvs/ip_vs_proto_*.c (state_transition), ip_vs_conn.c ip_vs_conn_put().
 */
import * as ipv4 from '../../protocol/packet/ipv4.ts'
import * as sctp from '../../protocol/packet/sctp.ts'
import * as tcp from '../../protocol/packet/tcp.ts'
import type { Frame } from '../link/link.ts'
import * as offload from '../method/offload.ts'
import type { ConnectionIndex } from '../table/connection-layout.ts'
import * as layout from '../table/connection-layout.ts'
import type { ConnectionTable } from '../table/connection-table.ts'
import type { Connections } from './connections.ts'
import * as sctpStates from './protocols/sctp.ts'
import type { Replication } from './replication.ts'
import type { Scheduling } from './scheduling.ts'
import * as tcpStates from './tcp-states.ts'

// Names of this module's own, for speed: see ipv4-path.ts.
const { PROTOCOL_SCTP, PROTOCOL_TCP } = ipv4
const { sctpChunkType } = sctp
const { finishSctpChecksum, hasUnfinishedChecksum } = offload
const {
  FLAG_CONTROLLED,
  FLAG_FTP_DATA,
  FLAG_HALF_OPEN,
  FLAG_ONE_PACKET,
  FLAG_ONE_WAY,
  FLAG_REPLICATED,
  FLAG_UNANSWERED,
} = layout
const { STATE, STATE_WORDS } = layout
const { nextSctpState, SCTP_STATE } = sctpStates
const { DIRECTION_INPUT, DIRECTION_INPUT_ONLY, DIRECTION_OUTPUT, nextTcpState, SECURE_DIRECTIONS, TCP_STATE } =
  tcpStates
const { TCP, TCP_ACK, TCP_SYN } = tcp
const SYN_OR_ACK = TCP_SYN | TCP_ACK

export class StateMoves {
  readonly #connections: Connections
  readonly #replication: Replication
  readonly #scheduling: Scheduling
  readonly #table: ConnectionTable
  readonly #states: Int32Array
  /** 0, or SECURE_DIRECTIONS: which of TCP's tables apply. */
  #tcpTables = 0
  /** The time, in the table's ticks. */
  tick = 0

  constructor(connections: Connections, replication: Replication, scheduling: Scheduling) {
    this.#scheduling = scheduling
    this.#connections = connections
    this.#replication = replication
    this.#table = connections.table
    this.#states = connections.table.memory.states
  }

  set secureTcp(isSecure: boolean) {
    this.#tcpTables = isSecure ? SECURE_DIRECTIONS : 0
  }

  /**
   * A connection's first packet: as its state will be when it is sent on, the peers are told of it now.
   * @returns whether they are; not of a segment that moves no state, which sloppy_tcp lets begin one
   */
  begin(index: ConnectionIndex, protocol: number, frame: Frame, transport: number): boolean {
    // Of datagrams they have been told.
    if (protocol !== PROTOCOL_TCP && protocol !== PROTOCOL_SCTP) return true
    const flags = this.#table.flags(index) | FLAG_REPLICATED
    this.#table.setFlags(index, flags)
    const direction = flags & FLAG_ONE_WAY ? DIRECTION_INPUT_ONLY : DIRECTION_INPUT
    if (protocol === PROTOCOL_SCTP) this.sctp(index, direction, frame, transport, flags)
    else this.tcp(index, direction, frame.memory.view.getUint8(transport + TCP.flags), flags)
    return this.#table.state(index) !== 0
  }

  /**
   * Moves the TCP state by a segment's flags, and the timer with it.
   *
   * But for one: a server does not acknowledge on its side a handshake that its client has not ended (who begins a data connection of FTP is the
   * server). One that does so still has an older handshake of these ports, and its client will reset that (RFC 9293 section 3.10.7.4, RFC 5961 section 4).
   * With secure_tcp the client's end of a handshake does not show, and the server's acknowledgement is all there is.
   */
  tcp(index: ConnectionIndex, direction: number, tcpFlags: number, flags: number): void {
    const before = this.#table.state(index)
    const after = nextTcpState(direction + this.#tcpTables, tcpFlags, before)
    if (after === before) {
      this.touch(index, PROTOCOL_TCP, before, flags)
      if ((tcpFlags & SYN_OR_ACK) === TCP_SYN && after === TCP_STATE.ESTABLISHED) this.#replication.renewBegun(index)
      return
    }
    // Tentative: what a client says does not show that the server knows of it, and it is not waited for longer.
    if ((flags & FLAG_UNANSWERED) !== 0) return
    const isAccepted = before === TCP_STATE.SYN_RECV && after === TCP_STATE.ESTABLISHED
    const isPlain = this.#tcpTables === 0 && (flags & FLAG_FTP_DATA) === 0
    if (isAccepted && isPlain && direction === DIRECTION_OUTPUT) return
    this.#connections.setState(index, after)
    this.#connections.schedule(index, false)
    if (after === TCP_STATE.ESTABLISHED || (flags & FLAG_REPLICATED) !== 0) this.#replication.publish(index)
    if (after === TCP_STATE.ESTABLISHED && (flags & FLAG_CONTROLLED) !== 0) this.#scheduling.assure(index)
  }

  /** As tcp(), by a packet's chunk. From here on its checksum is finished: no card does that in the manner of SCTP. */
  sctp(index: ConnectionIndex, direction: number, frame: Frame, transport: number, flags: number): void {
    const view = frame.memory.view
    const length = frame.start + frame.length - transport
    if (hasUnfinishedChecksum(frame)) finishSctpChecksum(frame, transport)
    const before = this.#table.state(index)
    const after = nextSctpState(direction, sctpChunkType(view, transport, length), before)
    if (after === before) {
      this.touch(index, PROTOCOL_SCTP, before, flags)
      return
    }
    this.#connections.setState(index, after)
    this.#connections.schedule(index, false)
    if (after === SCTP_STATE.ESTABLISHED || (flags & FLAG_REPLICATED) !== 0) this.#replication.publish(index)
    if (after === SCTP_STATE.ESTABLISHED && (flags & FLAG_CONTROLLED) !== 0) this.#scheduling.assure(index)
  }

  /** A packet that changes nothing else puts the expiry off. */
  touch(index: ConnectionIndex, protocol: number, state: number, flags: number): void {
    if ((flags & (FLAG_HALF_OPEN | FLAG_ONE_PACKET)) !== 0) {
      if ((flags & FLAG_ONE_PACKET) === 0) this.#connections.schedule(index, false)
      return
    }
    const expires = this.tick + this.#connections.timeoutTicks(protocol, state)
    const at = index * STATE_WORDS + STATE.expires
    // What follows depends on time alone, and has been done in this tick.
    const before = this.#states[at]
    if (before === expires) return
    // A timeout that was made shorter needs another slot of the wheel.
    if (before - expires > 0) this.#connections.schedule(index, false)
    this.#states[at] = expires
    if (
      (flags & FLAG_REPLICATED) !== 0 &&
      this.#replication.isStale(index, this.#connections.timeoutSeconds(protocol, state))
    ) {
      this.#replication.renew(index)
    }
  }
}
