/**
 * IP tunnelling: the packet travels to the real server inside another: IPIP (RFC 2003), GRE (RFC 2784) or GUE.
 *
 * ```
 * | Ethernet | outer IP |            | packet |   ipip
 * | Ethernet | outer IP | GRE        | packet |   gre
 * | Ethernet | outer IP | UDP | GUE  | packet |   gue
 * ```
 * Source: Linux net/netfilter/ipvs/ip_vs_xmit.c ip_vs_tunnel_xmit(), ipvs_gue_encap(), ipvs_gre_encap(): the outer TTL is the
 * inner one after its decrement, TOS and DF are copied, the identification is 0 as long as DF is set.
 */
import * as checksums from '../../protocol/packet/checksum.ts'
import * as ethernet from '../../protocol/packet/ethernet.ts'
import * as gre from '../../protocol/packet/gre.ts'
import * as gue from '../../protocol/packet/gue.ts'
import * as ipv4 from '../../protocol/packet/ipv4.ts'
import { IPV6_HEADER_LENGTH } from '../../protocol/packet/ipv6.ts'
import { UDP_HEADER_LENGTH } from '../../protocol/packet/udp.ts'
import type { Frame } from '../link/link.ts'
import type { TunnelSpec } from '../service.ts'
import { isIPv6Number } from '../table/address-book.ts'
import * as offload from './offload.ts'
import * as tunnelHeader from './tunnel-header.ts'

// Names of this module's own, for speed: see ipv4-path.ts.
const { fold } = checksums
const { ETHERNET_HEADER_LENGTH, ETHERTYPE_IPV4 } = ethernet
const { GRE_CHECKSUM_LENGTH, GRE_HEADER_LENGTH, PROTOCOL_GRE } = gre
const { GUE_HEADER_LENGTH, GUE_REMOTE_CHECKSUM_LENGTH } = gue
const { DONT_FRAGMENT, IPV4, IPV4_HEADER_LENGTH, PROTOCOL_IPIP, PROTOCOL_UDP } = ipv4
const { clearOffload, hasUnfinishedChecksum } = offload
const { writeGre, writeGue } = tunnelHeader

/** A tunnel as the packet path needs it. */
export interface Tunnel {
  /** What the outer header names as its content. */
  readonly protocol: number
  /** Bytes between the outer IP header and the packet, remote checksum offload aside. */
  readonly shimLength: number
  /** UDP destination port of GUE. */
  readonly port: number
  /** The tunnel's own header carries a checksum over everything in it. */
  readonly hasChecksum: boolean
  /** A transport checksum that is still to be finished is left to the far end. */
  readonly isRemote: boolean
}

export const IPIP: Tunnel = { protocol: PROTOCOL_IPIP, shimLength: 0, port: 0, hasChecksum: false, isRemote: false }

/** By type; as in the kernel, remote checksum offload is GUE's alone, and always comes with the UDP checksum. */
export function tunnelOf(spec: TunnelSpec | undefined): Tunnel {
  if (spec?.type === 'gre') {
    const hasChecksum = spec.checksum === 'plain'
    const shimLength = GRE_HEADER_LENGTH + (hasChecksum ? GRE_CHECKSUM_LENGTH : 0)
    return { protocol: PROTOCOL_GRE, shimLength, port: 0, hasChecksum, isRemote: false }
  }
  if (spec?.type === 'gue') {
    return {
      protocol: PROTOCOL_UDP,
      shimLength: UDP_HEADER_LENGTH + GUE_HEADER_LENGTH,
      port: spec.port,
      hasChecksum: spec.checksum !== 'none',
      isRemote: spec.checksum === 'remote',
    }
  }
  return IPIP
}

/** Bytes that the tunnel's headers cost this frame, but for the outer IP header, whose length is its family's. */
export function shimLength(tunnel: Tunnel, frame: Frame): number {
  const isLeftToRemote = tunnel.isRemote && hasUnfinishedChecksum(frame)
  return isLeftToRemote ? tunnel.shimLength + GUE_REMOTE_CHECKSUM_LENGTH : tunnel.shimLength
}

/** As shimLength(), of the frame that it costs most. */
export function longestShim(tunnel: Tunnel): number {
  return tunnel.isRemote ? tunnel.shimLength + GUE_REMOTE_CHECKSUM_LENGTH : tunnel.shimLength
}

/** Of the tunnel to a server with this address number. */
export function outerHeaderLength(address: number): number {
  return isIPv6Number(address) ? IPV6_HEADER_LENGTH : IPV4_HEADER_LENGTH
}

/**
 * Puts the tunnel's headers between the Ethernet header and the packet, in the headroom before the frame: frame.start moves
 * back. The caller writes the Ethernet addresses; the packet's checksums must be finished, unless the tunnel is remote.
 * @param dontFragment DONT_FRAGMENT: the outer header copies the packet's DF; 0: it never has it
 * @param identification of the outer header where it has no DF
 */
export function encapsulate(
  frame: Frame,
  tunnel: Tunnel,
  outerSource: number,
  outerDestination: number,
  dontFragment: number,
  identification: number,
): void {
  const view = frame.memory.view
  const inner = frame.start + ETHERNET_HEADER_LENGTH
  const added = IPV4_HEADER_LENGTH + shimLength(tunnel, frame)
  const outer = inner - added
  const sumOfAddresses = halves(outerSource) + halves(outerDestination)
  if (tunnel.protocol === PROTOCOL_UDP) writeGue(frame, tunnel, sumOfAddresses)
  else if (tunnel.protocol === PROTOCOL_GRE) writeGre(frame, tunnel)
  frame.start -= added
  frame.length += added
  clearOffload(frame)
  view.setUint16(frame.start + 12, ETHERTYPE_IPV4)
  // Written by the word: version, length and TOS | total length, identification | flags, TTL | protocol | checksum.
  const first = ((0x4500 | view.getUint8(inner + IPV4.tos)) << 16) | (frame.length - ETHERNET_HEADER_LENGTH)
  const fragment = view.getUint16(inner + IPV4.fragment) & dontFragment
  // Only what may be cut needs a name (RFC 6864).
  const second = fragment === DONT_FRAGMENT ? fragment : identification << 16
  const third = (view.getUint8(inner + IPV4.ttl) << 24) | (tunnel.protocol << 16)
  const sum = halves(first) + halves(second) + halves(third) + sumOfAddresses
  view.setInt32(outer, first)
  view.setInt32(outer + IPV4.identification, second)
  view.setInt32(outer + IPV4.ttl, third | (~fold(sum) & 0xffff))
  view.setInt32(outer + IPV4.source, outerSource)
  view.setInt32(outer + IPV4.destination, outerDestination)
}

/** The two 16-bit words of a word, summed. */
export function halves(word: number): number {
  return (word >>> 16) + (word & 0xffff)
}
