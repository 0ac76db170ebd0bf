/**
 * Connections that were in their handshake when the director before this one fell silent, so that nobody was told of them (sync:
 * established). Where the scheduler is a hash, the choice that led their SYN to a server leads what follows to the same one.
 *
 * It need not: a weight may have changed since, and in a partition an established connection is unknown on one side for a while. A
 * server resets what it does not know, or says something of an older connection between the same ports (TIME_WAIT). So the
 * connection is tentative until an answer of its server proves that it has the client's: its sequence number is where the client's
 * acknowledgement was (RFC 9293 section 3.4), or near it. No other answer reaches the client, and no peer is told before. For that
 * the answers must pass here: by NAT alone.
 *
 * A tentative TCP connection is half open, in state NONE and FLAG_UNANSWERED; the word of its version, which it has none of, holds the
 * client's acknowledgement.
 */
import { PORT_FTP } from '../../protocol/packet/ftp.ts'
import { PROTOCOL_TCP } from '../../protocol/packet/ipv4.ts'
import { TCP, TCP_ACK, TCP_RST, TCP_SYN } from '../../protocol/packet/tcp.ts'
import type { ConnectionKey } from '../table/connection-key.ts'
import { type ConnectionIndex, FLAG_UNANSWERED, STATE, STATE_WORDS } from '../table/connection-layout.ts'
import { METHOD_NAT, type RealServer } from '../table/real-server.ts'
import type { Service } from '../table/virtual-service.ts'
import type { Connections } from './connections.ts'
import { TCP_STATE } from './tcp-states.ts'
import type { VirtualAddresses } from './virtual-addresses.ts'

/**
 * So long after a takeover, and at no other time: strangers' packets cost nothing then. A client sends again after 1, 2 and 4 s (RFC
 * 6298), so one that a takeover of some seconds has cut off has done so by then.
 */
const AFTER_TAKEOVER_MS = 10_000
/** What a server has sent and not had acknowledged, or sends again: a window without scaling. */
const NEAR = 0x10000

export class TentativeConnections {
  readonly #connections: Connections
  readonly #addresses: VirtualAddresses

  constructor(connections: Connections, addresses: VirtualAddresses) {
    this.#connections = connections
    this.#addresses = addresses
  }

  /** Whether a packet that begins no connection may be of one that the director before this one had. */
  mayBeOf(view: DataView, transport: number, key: ConnectionKey): boolean {
    if (!this.#addresses.wasTakenWithin(AFTER_TAKEOVER_MS, key.virtual) || key.protocol !== PROTOCOL_TCP) return false
    return (view.getUint8(transport + TCP.flags) & (TCP_ACK | TCP_SYN | TCP_RST)) === TCP_ACK
  }

  /**
   * Whether a service's choice can be relied on to be that of any director. A template may lead elsewhere, and what is said in an FTP
   * session may lead to more connections: it is not to be read by a director that knows nothing of the session.
   */
  isFor(service: Service): boolean {
    return service.scheduler.isHash === true && service.persistence === undefined && service.port !== PORT_FTP
  }

  isTo(server: RealServer | undefined): boolean {
    return server?.method === METHOD_NAT
  }

  /** Makes a connection tentative that was just made for a packet of its client. */
  begin(index: ConnectionIndex, view: DataView, transport: number): void {
    const { table } = this.#connections
    table.setFlags(index, table.flags(index) | FLAG_UNANSWERED)
    const acknowledgement = view.getInt32(transport + TCP.acknowledgement)
    table.memory.states[index * STATE_WORDS + STATE.versionSynced] = acknowledgement
  }

  /** Whether the server's answer may go on: then the connection is tentative no more. One that ends its handshake is as after the SYN that was not seen. */
  accepts(index: ConnectionIndex, view: DataView, transport: number): boolean {
    const { table } = this.#connections
    const at = index * STATE_WORDS + STATE.versionSynced
    const { states } = table.memory
    if ((view.getUint8(transport + TCP.flags) & TCP_RST) !== 0) {
      this.#connections.discard(index)
      return false
    }
    if (Math.abs((view.getInt32(transport + TCP.sequence) - states[at]) | 0) > NEAR) return false
    states[at] = 0
    table.setFlags(index, table.flags(index) & ~FLAG_UNANSWERED)
    if ((view.getUint8(transport + TCP.flags) & TCP_SYN) !== 0) this.#connections.setState(index, TCP_STATE.SYN_RECV)
    return true
  }
}
