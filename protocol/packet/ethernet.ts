/** Ethernet II framing (IEEE 802.3): destination (6), source (6), type (2). */
import { writeUint16 } from './bytes.ts'

export const ETHERNET_HEADER_LENGTH = 14
export const ETHERTYPE_IPV4 = 0x0800
export const ETHERTYPE_ARP = 0x0806
export const ETHERTYPE_IPV6 = 0x86dd

export const BROADCAST_MAC: Uint8Array = new Uint8Array(6).fill(0xff)

export function writeEthernet(
  bytes: Uint8Array,
  at: number,
  destination: Uint8Array,
  source: Uint8Array,
  type: number,
): void {
  bytes.set(destination, at)
  bytes.set(source, at + 6)
  writeUint16(bytes, at + 12, type)
}
