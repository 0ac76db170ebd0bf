/**
 * FTP's data connections, from when a control connection has announced one until its first packet comes.
 *
 * An expected connection is an entry of the connection table in state LISTEN, as in IPVS (ip_vs_tcp_conn_listen()): peers are
 * told of it, it expires, and it is listed, like any other. What is not known yet stands as port 0: the client's
 * (passive mode), and with TUN and DR, where the server's reply does not pass here, the service's as well. A control connection has one
 * at a time, its last, as its server has; so nobody makes many by saying much. The oldest of too many is given up.
 *
 * Source: Linux net/netfilter/ipvs/ip_vs_ftp.c; for TUN and DR, where IPVS asks for a persistent service, our own.
 */
import { PROTOCOL_TCP } from '../../../protocol/packet/ipv4.ts'
import { ConnectionKey } from '../../table/connection-key.ts'
import {
  type ConnectionIndex,
  FLAG_FTP_DATA,
  FLAG_INACTIVE,
  FLAG_REPLICATED,
  NO_CONNECTION,
  STATE,
  STATE_WORDS,
} from '../../table/connection-layout.ts'
import { isOneWay, type RealServer } from '../../table/real-server.ts'
import { METHOD_MASK, METHOD_SHIFT, methodFlags } from '../../table/record-codec.ts'
import type { Connections } from '../connections.ts'
import type { Replication } from '../replication.ts'
import { TCP_STATE } from '../tcp-states.ts'

/** Data connections that are waited for at the same time. */
export const MAX_EXPECTED = 4096
const FIRST_USER_PORT = 1024

interface Expectation {
  readonly index: ConnectionIndex
  /** By then another may stand in the same place of the table. */
  readonly expires: number
}

export class ExpectedConnections {
  readonly #connections: Connections
  readonly #replication: Replication
  /** By control connection the last that it announced, the oldest first. Those of which a peer told are not among them. */
  readonly #made = new Map<ConnectionIndex, Expectation>()
  readonly #key = new ConnectionKey()

  constructor(connections: Connections, replication: Replication) {
    this.#connections = connections
    this.#replication = replication
  }

  /**
   * Expects a connection of the client and the server of `control`, instead of what it announced before.
   * @param control past its handshake: one that is half open may be given up to make room
   * @param clientPort 0: any
   * @param virtualPort 0: any, and serverPort the same
   */
  expect(control: ConnectionIndex, clientPort: number, virtualPort: number, serverPort: number): void {
    const { table, services } = this.#connections
    const server = services.serverBySlot[table.server(control)]
    if (server === undefined || server.removed) return
    const key = this.#key
    table.readKey(control, key)
    key.ports = (clientPort << 16) | virtualPort
    const known = table.find(key)
    if (known !== NO_CONNECTION && !this.#isWaiting(known)) return
    this.#forget(control, known)
    let versionBefore = 0
    if (known !== NO_CONNECTION) {
      versionBefore = this.#replication.versionOf(known)
      this.#connections.discard(known)
    }
    const index = this.#insert(key, server, serverPort, table.flags(control), 0)
    if (index === NO_CONNECTION) return
    this.#replication.continueFrom(index, versionBefore)
    // In active mode the server speaks first, and its packet goes where the client's control connection comes from.
    const { states } = table.memory
    states[index * STATE_WORDS + STATE.flagsReturnPath] |= table.returnPath(control)
    this.#connections.setState(index, TCP_STATE.LISTEN)
    this.#connections.schedule(index, true)
    this.#replication.publish(index)
    this.#remember(control, index)
  }

  /**
   * What expects the connection that a client's SYN asks for; NO_CONNECTION when nothing does.
   * @param isAnyPort whether it may be one of which the virtual port was not known: there is no service for it
   */
  find(asked: ConnectionKey, isAnyPort: boolean): ConnectionIndex {
    if (asked.protocol !== PROTOCOL_TCP) return NO_CONNECTION
    const { table, services } = this.#connections
    const virtualPort = asked.ports & 0xffff
    if (isAnyPort && virtualPort < FIRST_USER_PORT) return NO_CONNECTION
    const key = this.#key
    const [first, second, third, fourth] = asked.client
    key.setIPv6(PROTOCOL_TCP, first, second, third, fourth, asked.virtual, isAnyPort ? 0 : virtualPort)
    key.isIPv6 = asked.isIPv6
    const expected = table.find(key)
    if (expected === NO_CONNECTION || !this.#isWaiting(expected)) return NO_CONNECTION
    const server = services.serverBySlot[table.server(expected)]
    return server === undefined || server.removed ? NO_CONNECTION : expected
  }

  /**
   * Makes the connection that find() has found to be expected; NO_CONNECTION when there is no room.
   * @param versionBefore of the connection in whose place it is; 0: none
   */
  claim(expected: ConnectionIndex, asked: ConnectionKey, versionBefore: number): ConnectionIndex {
    const { table, services } = this.#connections
    const server = services.serverBySlot[table.server(expected)] as RealServer
    const flags = table.flags(expected)
    const serverPort = table.serverPort(expected) || asked.ports & 0xffff
    this.#giveUp(expected)
    // The peers, who would have let it in, are told of it with its first packet: whoever gets the next one knows where it belongs.
    const index = this.#insert(asked, server, serverPort, flags, FLAG_REPLICATED)
    if (index === NO_CONNECTION) return index
    this.#replication.continueFrom(index, versionBefore)
    this.#connections.schedule(index, true)
    return index
  }

  /** @param flags of the connection whose method it shares */
  #insert(key: ConnectionKey, server: RealServer, serverPort: number, flags: number, more: number): ConnectionIndex {
    const method = (flags & METHOD_MASK) >> METHOD_SHIFT
    const own = methodFlags(method, isOneWay(method)) | FLAG_INACTIVE | FLAG_FTP_DATA
    return this.#connections.insert(key, server, serverPort, own | more)
  }

  /** It is not waited for any more, at any director. */
  #giveUp(expected: ConnectionIndex): void {
    this.#replication.publishEnd(expected)
    this.#connections.discard(expected)
  }

  #isWaiting(index: ConnectionIndex): boolean {
    const { table } = this.#connections
    return (table.flags(index) & FLAG_FTP_DATA) !== 0 && table.state(index) === TCP_STATE.LISTEN
  }

  /** What `control` announced before is not waited for any more, unless it is `known`, which it announces again. */
  #forget(control: ConnectionIndex, known: ConnectionIndex): void {
    const former = this.#made.get(control)
    if (former === undefined) return
    this.#made.delete(control)
    if (former.index !== known && this.#isStillWaiting(former)) this.#giveUp(former.index)
  }

  /** The oldest of too many has been waited for long enough. */
  #remember(control: ConnectionIndex, index: ConnectionIndex): void {
    this.#made.set(control, { index, expires: this.#connections.table.expires(index) })
    if (this.#made.size <= MAX_EXPECTED) return
    const [oldest, expectation] = this.#made.entries().next().value as [ConnectionIndex, Expectation]
    this.#made.delete(oldest)
    if (this.#isStillWaiting(expectation)) this.#giveUp(expectation.index)
  }

  /** If it is over, what stands in its place may be another client's. */
  #isStillWaiting({ index, expires }: Expectation): boolean {
    return this.#isWaiting(index) && this.#connections.table.expires(index) === expires
  }
}
