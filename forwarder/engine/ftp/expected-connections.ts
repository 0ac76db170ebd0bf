/**
 * FTP's data connections, from when a control connection has announced one until its first packet comes.
 *
 * An expected connection is an entry of the connection table in state LISTEN, as in IPVS (ip_vs_tcp_conn_listen()): peers are
 * told of it, it expires, and it is listed, like any other. What is not known yet stands as port 0: the client's
 * (passive mode), and with TUN and DR, where the server's reply does not pass here, the service's as well. The oldest of too many is given up.
 *
 * Source: Linux net/netfilter/ipvs/ip_vs_ftp.c; for TUN and DR, where IPVS asks for a persistent service, our own.
 */
import { PROTOCOL_TCP } from '../../../protocol/packet/ipv4.ts'
import {
  type ConnectionIndex,
  FLAG_FTP_DATA,
  FLAG_INACTIVE,
  KEY,
  KEY_WORDS,
  NO_CONNECTION,
  STATE,
  STATE_WORDS,
} from '../../table/connection-layout.ts'
import { METHOD_MASK, METHOD_SHIFT, methodFlags } from '../../table/record-codec.ts'
import { isOneWay } from '../../table/service-table.ts'
import type { Connections } from '../connections.ts'
import type { Replication } from '../replication.ts'
import { TCP_STATE } from '../tcp-states.ts'

/** Data connections that are waited for at the same time. */
export const MAX_EXPECTED = 4096
const FIRST_USER_PORT = 1024

export class ExpectedConnections {
  readonly #connections: Connections
  readonly #replication: Replication
  /** The last that were made, in turn; 0 where none was. */
  readonly #made = new Int32Array(MAX_EXPECTED)
  #next = 0

  constructor(connections: Connections, replication: Replication) {
    this.#connections = connections
    this.#replication = replication
  }

  /**
   * Expects a connection of the client and the server of `control`.
   * @param clientPort 0: any
   * @param virtualPort 0: any, and serverPort the same
   */
  expect(control: ConnectionIndex, clientPort: number, virtualPort: number, serverPort: number): void {
    const { table, services } = this.#connections
    const { keys } = table.memory
    const key = control * KEY_WORDS
    const client = keys[key + KEY.clientAddress]
    const virtual = keys[key + KEY.virtualAddress]
    const ports = (clientPort << 16) | virtualPort
    const server = services.serverBySlot[table.server(control)]
    if (server === undefined || server.removed) return
    const known = table.findByClient(PROTOCOL_TCP, client, virtual, ports)
    if (known !== NO_CONNECTION) {
      if (!this.#isWaiting(known)) return
      this.#connections.discard(known)
    }
    const method = (table.flags(control) & METHOD_MASK) >> METHOD_SHIFT
    const index = this.#connections.insert(
      PROTOCOL_TCP,
      client,
      virtual,
      ports,
      server,
      serverPort,
      methodFlags(method, isOneWay(method)) | FLAG_INACTIVE | FLAG_FTP_DATA,
    )
    if (index === NO_CONNECTION) return
    // In active mode the server speaks first, and its packet goes where the client's control connection comes from.
    const { states } = table.memory
    const path = states[control * STATE_WORDS + STATE.flagsReturnPath] & 0xffff
    states[index * STATE_WORDS + STATE.flagsReturnPath] |= path
    this.#connections.setState(index, TCP_STATE.LISTEN)
    this.#connections.schedule(index, true)
    this.#replication.publish(index)
    this.#remember(index)
  }

  /**
   * The connection that a client's SYN begins, if it was expected; NO_CONNECTION otherwise.
   * @param ports client port << 16 | virtual port
   * @param isAnyPort whether it may be one of which the virtual port was not known: there is no service for it
   */
  claim(client: number, virtual: number, ports: number, isAnyPort: boolean): ConnectionIndex {
    const { table, services } = this.#connections
    const virtualPort = ports & 0xffff
    if (isAnyPort && virtualPort < FIRST_USER_PORT) return NO_CONNECTION
    const expected = table.findByClient(PROTOCOL_TCP, client, virtual, isAnyPort ? 0 : virtualPort)
    if (expected === NO_CONNECTION || !this.#isWaiting(expected)) return NO_CONNECTION
    const server = services.serverBySlot[table.server(expected)]
    if (server === undefined || server.removed) return NO_CONNECTION
    const method = (table.flags(expected) & METHOD_MASK) >> METHOD_SHIFT
    const serverPort = table.serverPort(expected) || virtualPort
    this.#connections.discard(expected)
    const index = this.#connections.insert(
      PROTOCOL_TCP,
      client,
      virtual,
      ports,
      server,
      serverPort,
      methodFlags(method, isOneWay(method)) | FLAG_INACTIVE | FLAG_FTP_DATA,
    )
    if (index === NO_CONNECTION) return NO_CONNECTION
    this.#connections.schedule(index, true)
    return index
  }

  #isWaiting(index: ConnectionIndex): boolean {
    const { table } = this.#connections
    return (table.flags(index) & FLAG_FTP_DATA) !== 0 && table.state(index) === TCP_STATE.LISTEN
  }

  /** What stood in the place for MAX_EXPECTED expectations has been waited for long enough. */
  #remember(index: ConnectionIndex): void {
    const oldest = this.#made[this.#next] as ConnectionIndex
    if (oldest !== NO_CONNECTION && oldest !== index && this.#isWaiting(oldest)) this.#connections.discard(oldest)
    this.#made[this.#next] = index
    this.#next = (this.#next + 1) % MAX_EXPECTED
  }
}
