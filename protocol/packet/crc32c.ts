/**
 * CRC32c, SCTP's checksum (RFC 9260 section 6.8 and appendix A): polynomial 0x1EDC6F41, bits reflected, register begun and
 * ended with all ones. By table, one byte a step.
 *
 * The code is linear: what a change of some bytes does to the checksum depends on the change and on how many bytes follow it,
 * not on what they are. So a port is rewritten without looking at the data, and data that was damaged on its way here still
 * does not match its checksum afterwards.
 */

/** 0x1EDC6F41 with its bits reversed. */
const POLYNOMIAL = 0x82f63b78

const table = new Int32Array(256)
for (let byte = 0; byte < 256; byte++) {
  let register = byte
  for (let bit = 0; bit < 8; bit++) register = (register >>> 1) ^ (register & 1 ? POLYNOMIAL : 0)
  table[byte] = register
}

/** Moves a register over `length` bytes from `at`. */
export function advanceCrc32c(register: number, view: DataView, at: number, length: number): number {
  for (let i = at; i < at + length; i++) register = table[(register ^ view.getUint8(i)) & 255] ^ (register >>> 8)
  return register
}

/** Moves a register over as many bytes of 0. */
export function advanceCrc32cOverZeros(register: number, length: number): number {
  for (let i = 0; i < length; i++) register = table[register & 255] ^ (register >>> 8)
  return register
}

/** The register as a checksum is written down: its least significant byte first. Signed 32-bit, to be stored big endian. */
export function crc32cField(register: number): number {
  return ((register & 255) << 24) | ((register & 0xff00) << 8) | ((register >>> 8) & 0xff00) | ((register >>> 24) & 255)
}
