/**
 * Who talks to whom: what a connection of either family is found by, as an object that is written over and over. For new
 * connections and for what is known of old ones; the path of an established connection's packet goes by plain numbers.
 */
import { ADDRESS_WORDS } from '../../protocol/packet/ipv6-address.ts'

export class ConnectionKey {
  protocol = 0
  isIPv6 = false
  /** All four words of an IPv6 address, or the IPv4 address and 0, 0, 0. */
  readonly client: Int32Array = new Int32Array(ADDRESS_WORDS)
  /** The virtual address by its number (address-book.ts); of a firewall mark's template the mark. */
  virtual = 0
  /** client port << 16 | virtual port */
  ports = 0

  setIPv4(protocol: number, client: number, virtual: number, ports: number): void {
    this.setIPv6(protocol, client, 0, 0, 0, virtual, ports)
    this.isIPv6 = false
  }

  setIPv6(
    protocol: number,
    first: number,
    second: number,
    third: number,
    fourth: number,
    virtual: number,
    ports: number,
  ): void {
    const { client } = this
    client[0] = first
    client[1] = second
    client[2] = third
    client[3] = fourth
    this.protocol = protocol
    this.isIPv6 = true
    this.virtual = virtual
    this.ports = ports
  }
}
