/**
 * A value as the store keeps it: behind the CRC-32 of key and value (4 bytes, big endian), so that whoever has both can tell
 * that they belong together and are whole, wherever he found them.
 */
import { crc32 } from 'node:zlib'

const CHECKSUM_BYTES = 4

export function seal(key: string, value: Uint8Array): Uint8Array {
  const kept = new Uint8Array(CHECKSUM_BYTES + value.length)
  new DataView(kept.buffer).setUint32(0, checksum(key, value))
  kept.set(value, CHECKSUM_BYTES)
  return kept
}

export function isSealed(key: string, kept: Uint8Array): boolean {
  if (kept.length < CHECKSUM_BYTES) return false
  const expected = new DataView(kept.buffer, kept.byteOffset).getUint32(0)
  return expected === checksum(key, kept.subarray(CHECKSUM_BYTES))
}

/** A copy of the value; undefined when it is not whole, or another key's. */
export function unseal(key: string, kept: Uint8Array): Uint8Array | undefined {
  return isSealed(key, kept) ? new Uint8Array(kept.subarray(CHECKSUM_BYTES)) : undefined
}

function checksum(key: string, value: Uint8Array): number {
  return crc32(value, crc32(key))
}
