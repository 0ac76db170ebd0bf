/**
 * Big-endian fields of a packet, and addresses as text. Offsets are not checked: callers have checked lengths before.
 */

export function readUint16(bytes: Uint8Array, at: number): number {
  return (bytes[at] << 8) | bytes[at + 1]
}

export function writeUint16(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >> 8
  bytes[at + 1] = value
}

/** Four bytes as a signed 32-bit integer: the form in which the tables hold IPv4 addresses, since it never leaves a register. */
export function readInt32(bytes: Uint8Array, at: number): number {
  return (bytes[at] << 24) | (bytes[at + 1] << 16) | (bytes[at + 2] << 8) | bytes[at + 3]
}

export function writeInt32(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >> 24
  bytes[at + 1] = value >> 16
  bytes[at + 2] = value >> 8
  bytes[at + 3] = value
}

const DOT = 0x2e
const ZERO = 0x30

/** "10.0.0.1" as a signed 32-bit integer. The text must be an IPv4 address. */
export function parseIPv4(text: string): number {
  let address = 0
  let byte = 0
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at)
    if (code === DOT) {
      address = (address << 8) | byte
      byte = 0
    } else byte = byte * 10 + code - ZERO
  }
  return (address << 8) | byte
}

/** @param address signed or unsigned 32-bit */
export function formatIPv4(address: number): string {
  return `${address >>> 24}.${(address >>> 16) & 255}.${(address >>> 8) & 255}.${address & 255}`
}

/** "02:00:00:00:00:01" */
export function formatMac(bytes: Uint8Array, at = 0): string {
  return Array.from(bytes.subarray(at, at + 6), (byte) => byte.toString(16).padStart(2, '0')).join(':')
}

export function parseMac(text: string): Uint8Array {
  return Uint8Array.from(text.split(':'), (byte) => Number.parseInt(byte, 16))
}
