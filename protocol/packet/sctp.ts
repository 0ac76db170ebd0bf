/**
 * SCTP (RFC 9260 section 3): the common header, the types of chunks, and the checksum.
 *
 * ```
 *  0              2                  4                 8              12
 * +--------------+------------------+-----------------+--------------+---------------------------------------+
 * | source port  | destination port | verification tag| CRC32c       | chunks: type 1, flags 1, length 2, ...|
 * +--------------+------------------+-----------------+--------------+---------------------------------------+
 * ```
 */
import * as crc32c from './crc32c.ts'

const { advanceCrc32c, advanceCrc32cOverZeros, crc32cField } = crc32c

export const SCTP_HEADER_LENGTH = 12
export const SCTP_CHUNK_HEADER_LENGTH = 4

export const SCTP = { sourcePort: 0, destinationPort: 2, verificationTag: 4, checksum: 8, firstChunk: 12 } as const

export const SCTP_CHUNK = {
  DATA: 0,
  INIT: 1,
  INIT_ACK: 2,
  SACK: 3,
  HEARTBEAT: 4,
  HEARTBEAT_ACK: 5,
  ABORT: 6,
  SHUTDOWN: 7,
  SHUTDOWN_ACK: 8,
  ERROR: 9,
  COOKIE_ECHO: 10,
  COOKIE_ACK: 11,
  SHUTDOWN_COMPLETE: 14,
} as const

/**
 * The type of the chunk that the packet is about: its first, or an ABORT that follows a COOKIE ECHO or COOKIE ACK. A control
 * chunk other than those is not bundled with one that would change the association (RFC 9260 sections 3 and 3.3.7).
 * @param length of the SCTP packet; at least a header and a chunk's header
 */
export function sctpChunkType(view: DataView, sctp: number, length: number): number {
  const type = view.getUint8(sctp + SCTP.firstChunk)
  if (type !== SCTP_CHUNK.COOKIE_ECHO && type !== SCTP_CHUNK.COOKIE_ACK) return type
  const chunkLength = view.getUint16(sctp + SCTP.firstChunk + 2)
  const next = SCTP.firstChunk + ((chunkLength + 3) & ~3)
  if (chunkLength < SCTP_CHUNK_HEADER_LENGTH || next + SCTP_CHUNK_HEADER_LENGTH > length) return type
  return view.getUint8(sctp + next) === SCTP_CHUNK.ABORT ? SCTP_CHUNK.ABORT : type
}

/** What belongs into the checksum field of the packet, as a signed 32-bit integer to be stored big endian. */
export function sctpChecksum(view: DataView, sctp: number, length: number): number {
  let register = advanceCrc32c(-1, view, sctp, SCTP.checksum)
  register = advanceCrc32cOverZeros(register, 4)
  return crc32cField(~advanceCrc32c(register, view, sctp + SCTP_HEADER_LENGTH, length - SCTP_HEADER_LENGTH))
}

/** Writes one of the ports, and what follows from it into the checksum. A checksum that was wrong stays wrong. */
export function rewriteSctpPort(view: DataView, sctp: number, field: number, port: number, length: number): void {
  const at = sctp + field
  const change = view.getUint16(at) ^ port
  if (change === 0) return
  view.setUint16(at, port)
  // The field's two bytes through the register, then zeros to the end: see crc32c.ts.
  let register = advanceCrc32cOverZeros(((change & 255) << 8) | (change >>> 8), 2)
  register = advanceCrc32cOverZeros(register, length - field - 2)
  view.setInt32(sctp + SCTP.checksum, view.getInt32(sctp + SCTP.checksum) ^ crc32cField(register))
}
