/**
 * Generic UDP Encapsulation, variant 0 (draft-ietf-intarea-gue-09 section 3), as Linux speaks it (include/net/gue.h): behind the
 * UDP header.
 *
 * ```
 *  0               1               2               4
 * +---------------+---------------+-------------------------------+
 * |Ver|C|  Hlen   | protocol      | flags                         |
 * +---------------+---------------+-------------------------------+
 * | private flags, when the lowest of the flags is set            |
 * +-------------------------------+-------------------------------+
 * | checksum start                | checksum field                |   when the highest private flag is set
 * +-------------------------------+-------------------------------+
 * ```
 * Hlen counts the words behind the first. Remote checksum offload (draft-herbert-remotecsumoffload-02): the sender has left the
 * inner transport checksum unfinished; start and field are offsets from the end of this header, and whoever takes the packet out
 * puts the checksum from the start on into the field.
 */
import { PROTOCOL_IPIP } from './ipv4.ts'
import { PROTOCOL_IPV6 } from './ipv6.ts'

export const GUE_HEADER_LENGTH = 4
/** Private flags, and the two offsets. */
export const GUE_REMOTE_CHECKSUM_LENGTH = 8
export const GUE_PRIVATE_FLAGS_PRESENT = 0x0001
export const GUE_REMOTE_CHECKSUM = 0x8000_0000 | 0

export const GUE = { lengths: 0, protocol: 1, flags: 2, privateFlags: 4, checksumStart: 8, checksumField: 10 } as const

/**
 * Length of the header at `at`, or 0 when it is none that we understand: another variant, a control message, something else than
 * an IP packet inside, flags or a length that do not belong together.
 */
export function gueHeaderLength(view: DataView, at: number, available: number): number {
  if (available < GUE_HEADER_LENGTH) return 0
  const protocol = view.getUint8(at + GUE.protocol)
  if (protocol !== PROTOCOL_IPIP && protocol !== PROTOCOL_IPV6) return 0
  const lengths = view.getUint8(at)
  // Variant and control bit are 0.
  const length = lengths > 0x1f ? 0 : GUE_HEADER_LENGTH + lengths * 4
  const flags = view.getUint16(at + GUE.flags)
  if (length === 0 || available < length) return 0
  if (flags === 0) return length === GUE_HEADER_LENGTH ? length : 0
  if (flags !== GUE_PRIVATE_FLAGS_PRESENT || length !== GUE_HEADER_LENGTH + GUE_REMOTE_CHECKSUM_LENGTH) return 0
  return view.getInt32(at + GUE.privateFlags) === GUE_REMOTE_CHECKSUM ? length : 0
}

/** Whether a sound header asks for the inner checksum to be finished. */
export function hasRemoteChecksum(view: DataView, at: number): boolean {
  return view.getUint16(at + GUE.flags) === GUE_PRIVATE_FLAGS_PRESENT
}
