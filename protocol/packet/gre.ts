/**
 * Generic Routing Encapsulation (RFC 2784), the header between an outer IP header and the packet inside.
 *
 * ```
 *  0               2               4               6
 * +---------------+---------------+---------------+---------------+
 * |C| reserved |0 | EtherType     | checksum      | reserved      |
 * +---------------+---------------+---------------+---------------+
 * ```
 * The second word is there when C is set; the checksum covers the header and all behind it.
 */
import { ETHERTYPE_IPV4, ETHERTYPE_IPV6 } from './ethernet.ts'

export const PROTOCOL_GRE = 47
export const GRE_HEADER_LENGTH = 4
export const GRE_CHECKSUM_LENGTH = 4
export const GRE_CHECKSUM_PRESENT = 0x8000

export const GRE = { flags: 0, etherType: 2, checksum: 4 } as const

/**
 * Length of the header at `at`, or 0 when it is none of version 0 that carries an IP packet with, at most, a checksum: keys,
 * sequence numbers and source routes have no meaning between a director and its servers.
 */
export function greHeaderLength(view: DataView, at: number, available: number): number {
  if (available < GRE_HEADER_LENGTH) return 0
  const etherType = view.getUint16(at + GRE.etherType)
  if (etherType !== ETHERTYPE_IPV4 && etherType !== ETHERTYPE_IPV6) return 0
  const flags = view.getUint16(at)
  if ((flags & ~GRE_CHECKSUM_PRESENT) !== 0) return 0
  const length = flags === 0 ? GRE_HEADER_LENGTH : GRE_HEADER_LENGTH + GRE_CHECKSUM_LENGTH
  return available < length ? 0 : length
}
