/**
 * CRC-32C, with which LevelDB guards its files, and its masking: a CRC is stored in what other CRCs are taken over.
 *
 * Source: RFC 3720 appendix B.4 (polynomial); LevelDB util/crc32c.h (the mask).
 */
const table = new Uint32Array(256)
for (let byte = 0; byte < 256; byte++) {
  let remainder = byte
  for (let bit = 0; bit < 8; bit++) remainder = remainder & 1 ? (remainder >>> 1) ^ 0x82f63b78 : remainder >>> 1
  table[byte] = remainder
}

/** To begin with. */
export const CRC_SEED = 0xffffffff

/** The state of a CRC after one more byte. */
export function extendCrc(state: number, byte: number): number {
  return table[(state ^ byte) & 0xff] ^ (state >>> 8)
}

/** What is stored for a state. */
export function maskCrc(state: number): number {
  const crc = ~state >>> 0
  return (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0
}

export function maskedCrc32c(bytes: Uint8Array): number {
  let state = CRC_SEED
  for (let at = 0; at < bytes.length; at++) state = extendCrc(state, bytes[at])
  return maskCrc(state)
}
