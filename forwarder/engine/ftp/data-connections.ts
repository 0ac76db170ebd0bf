/**
 * FTP's control connections are silent for as long as a transfer takes, and that may be longer than their timeout: one that is
 * established is kept while its client has a data connection with its server, or is expected to have one.
 *
 * Which session announced a data connection no record says, and a director that has taken over knows both from records alone. So data
 * connections are counted by what they share with their control connection: the addresses of client, service and server. A client that
 * transfers something thereby keeps what other sessions it has there.
 *
 * The counts are found by a hash of these in 30 bits: where two clients have the same one keeps the other's sessions, and nothing worse.
 *
 * Source: Linux net/netfilter/ipvs/ip_vs_conn.c ip_vs_control_add(), ip_vs_conn_expire().
 */
import { type ConnectionIndex, FLAG_FTP, KEY, KEY_WORDS } from '../../table/connection-layout.ts'
import type { ConnectionTable } from '../../table/connection-table.ts'
import { hashAddress, hashWords } from '../../table/keyed-hash.ts'
import { TCP_STATE } from '../tcp-states.ts'

export class DataConnections {
  readonly #table: ConnectionTable
  readonly #serverAddresses: Int32Array
  /** None is 0. */
  readonly #counts = new Map<number, number>()

  /** @param serverAddresses by slot, as numbers */
  constructor(table: ConnectionTable, serverAddresses: Int32Array) {
    this.#table = table
    this.#serverAddresses = serverAddresses
  }

  /** A data connection has been made, or is about to be taken out of the table. */
  count(index: ConnectionIndex, change: 1 | -1): void {
    const hash = this.#hash(index)
    const count = (this.#counts.get(hash) ?? 0) + change
    if (count === 0) this.#counts.delete(hash)
    else this.#counts.set(hash, count)
  }

  /** Whether it is a control connection that something is still to be said on. */
  keeps(index: ConnectionIndex): boolean {
    const table = this.#table
    if ((table.flags(index) & FLAG_FTP) === 0 || table.state(index) !== TCP_STATE.ESTABLISHED) return false
    return this.#counts.has(this.#hash(index))
  }

  #hash(index: ConnectionIndex): number {
    const { memory, secret } = this.#table
    const { keys } = memory
    const at = index * KEY_WORDS
    const from = at + KEY.clientAddress
    const client = hashAddress(keys[from], keys[from + 1], keys[from + 2], keys[from + 3], secret)
    const server = this.#serverAddresses[this.#table.server(index)]
    return hashWords(client, keys[at + KEY.virtualAddress], server, secret) >>> 2
  }
}
