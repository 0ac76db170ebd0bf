/**
 * How advertisements travel: one transport an interface, shared by every virtual router on it.
 * Implementations: the raw socket (vrrp-socket.ts) and memory (memory-network.ts, for tests and simulation).
 */
import type { VrrpDatagram } from '../../../protocol/packet/vrrp.ts'

export interface VrrpTransport {
  /** Sends one VRRP message to the group. What cannot be sent is lost, as on the wire. */
  send(message: Uint8Array): void
  /** One handler, for every sound IP packet of the protocol; the bytes are the handler's to keep. */
  onDatagram(handler: (datagram: VrrpDatagram) => void): void
  /** Hands out, before it returns, whatever has arrived and waits; bounded. */
  drain(): void
  close(): void
}
