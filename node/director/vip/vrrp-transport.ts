/**
 * How advertisements travel: one transport an interface and address family, shared by every virtual router of it.
 * Implementations: the raw socket (vrrp-socket.ts) and memory (memory-network.ts, for tests and simulation).
 */
import type { VrrpDatagram } from '../../../protocol/packet/vrrp.ts'

export interface VrrpTransport {
  /**
   * What its messages come from, and so its family: the primary address of IPv4; of IPv6 a link-local one, or a global one if
   * the peers are named by theirs. Breaks ties.
   */
  readonly address: string
  /**
   * Sends one VRRP message, to the group or to a peer. What cannot be sent is lost, as on the wire.
   * @param groupMac the virtual router MAC that it goes to the group from; the interface's own unless given
   * @returns whether this host has let it out
   */
  send(message: Uint8Array, destination: string, groupMac?: Uint8Array): boolean
  /** One handler, for every sound IP packet of the protocol; the bytes are the handler's to keep. */
  onDatagram(handler: (datagram: VrrpDatagram) => void): void
  /** Hands out, before it returns, whatever has arrived and waits; bounded. */
  drain(): void
  close(): void
}
