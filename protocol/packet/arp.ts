/**
 * Address resolution for IPv4 over Ethernet (RFC 826).
 *
 * ```
 *  0 hardware type (1) 2 protocol type (0x0800) 4 sizes (6, 4) 6 operation
 *  8 sender MAC (6)   14 sender address (4)    18 target MAC (6)   24 target address (4)
 * ```
 */
import { readInt32, readUint16, writeInt32, writeUint16 } from './bytes.ts'
import { ETHERNET_HEADER_LENGTH, ETHERTYPE_ARP, writeEthernet } from './ethernet.ts'

export const ARP_LENGTH = 28
export const ARP_REQUEST = 1
export const ARP_REPLY = 2
export const ARP_FRAME_LENGTH = ETHERNET_HEADER_LENGTH + ARP_LENGTH

export const ARP = { operation: 6, senderMac: 8, senderAddress: 14, targetMac: 18, targetAddress: 24 } as const

/** Whether an ARP message for IPv4 over Ethernet lies at `at`. */
export function isIPv4Arp(bytes: Uint8Array, at: number, available: number): boolean {
  return (
    available >= ARP_LENGTH &&
    readUint16(bytes, at) === 1 &&
    readUint16(bytes, at + 2) === 0x0800 &&
    readUint16(bytes, at + 4) === 0x0604
  )
}

export interface ArpMessage {
  operation: number
  senderMac: Uint8Array
  /** 32-bit, signed or unsigned. */
  senderAddress: number
  targetMac: Uint8Array
  targetAddress: number
}

/** Writes a whole Ethernet frame of ARP_FRAME_LENGTH bytes from `at`. */
export function writeArpFrame(bytes: Uint8Array, at: number, destination: Uint8Array, message: ArpMessage): void {
  writeEthernet(bytes, at, destination, message.senderMac, ETHERTYPE_ARP)
  const arp = at + ETHERNET_HEADER_LENGTH
  writeUint16(bytes, arp, 1)
  writeUint16(bytes, arp + 2, 0x0800)
  writeUint16(bytes, arp + 4, 0x0604)
  writeUint16(bytes, arp + ARP.operation, message.operation)
  bytes.set(message.senderMac, arp + ARP.senderMac)
  writeInt32(bytes, arp + ARP.senderAddress, message.senderAddress)
  bytes.set(message.targetMac, arp + ARP.targetMac)
  writeInt32(bytes, arp + ARP.targetAddress, message.targetAddress)
}

/** Reads the ARP message at `at`; isIPv4Arp() has said that there is one. */
export function readArp(bytes: Uint8Array, at: number): ArpMessage {
  return {
    operation: readUint16(bytes, at + ARP.operation),
    senderMac: bytes.slice(at + ARP.senderMac, at + ARP.senderMac + 6),
    senderAddress: readInt32(bytes, at + ARP.senderAddress),
    targetMac: bytes.slice(at + ARP.targetMac, at + ARP.targetMac + 6),
    targetAddress: readInt32(bytes, at + ARP.targetAddress),
  }
}
