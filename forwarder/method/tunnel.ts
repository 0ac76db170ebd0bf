/**
 * IP tunnelling: the packet travels to the real server inside another (IPIP, RFC 2003).
 * Source: Linux net/netfilter/ipvs/ip_vs_xmit.c ip_vs_tunnel_xmit(): the outer TTL is the inner one after its decrement, TOS
 * and DF are copied, the identification is 0.
 */
import * as checksums from '../../protocol/packet/checksum.ts'
import * as ethernet from '../../protocol/packet/ethernet.ts'
import * as ipv4 from '../../protocol/packet/ipv4.ts'
import type { Frame } from '../link/link.ts'
import * as offload from './offload.ts'

// Names of this module's own, for speed: see engine.ts.
const { fold } = checksums
const { ETHERNET_HEADER_LENGTH, ETHERTYPE_IPV4 } = ethernet
const { DONT_FRAGMENT, IPV4, IPV4_HEADER_LENGTH, PROTOCOL_IPIP } = ipv4
const { clearOffload } = offload

/** Bytes that the outer header costs. */
export const IPIP_OVERHEAD = IPV4_HEADER_LENGTH

/**
 * Puts an outer header between the Ethernet header and the packet, in the headroom before the frame: frame.start moves back.
 * The caller writes the Ethernet addresses; the packet's checksums must be finished.
 */
export function encapsulate(frame: Frame, outerSource: number, outerDestination: number): void {
  const view = frame.memory.view
  const inner = frame.start + ETHERNET_HEADER_LENGTH
  const outer = inner - IPIP_OVERHEAD
  frame.start -= IPIP_OVERHEAD
  frame.length += IPIP_OVERHEAD
  clearOffload(frame)
  view.setUint16(frame.start + 12, ETHERTYPE_IPV4)
  // Written by the word: version, length and TOS | total length, identification | flags, TTL | protocol | checksum.
  const first = ((0x4500 | view.getUint8(inner + IPV4.tos)) << 16) | (frame.length - ETHERNET_HEADER_LENGTH)
  const fragment = view.getUint16(inner + IPV4.fragment) & DONT_FRAGMENT
  const third = (view.getUint8(inner + IPV4.ttl) << 24) | (PROTOCOL_IPIP << 16)
  const sum = halves(first) + fragment + halves(third) + halves(outerSource) + halves(outerDestination)
  view.setInt32(outer, first)
  view.setInt32(outer + IPV4.identification, fragment)
  view.setInt32(outer + IPV4.ttl, third | (~fold(sum) & 0xffff))
  view.setInt32(outer + IPV4.source, outerSource)
  view.setInt32(outer + IPV4.destination, outerDestination)
}

/** The two 16-bit words of a word, summed. */
function halves(word: number): number {
  return (word >>> 16) + (word & 0xffff)
}
