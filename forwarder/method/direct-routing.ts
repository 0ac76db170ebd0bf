/**
 * Direct routing: the packet stays as it is, but for the TTL; only the frame goes to another MAC.
 * Source: Linux net/netfilter/ipvs/ip_vs_xmit.c ip_vs_dr_xmit().
 */
import * as checksums from '../../protocol/packet/checksum.ts'
import * as ipv4 from '../../protocol/packet/ipv4.ts'

// Names of this module's own, for speed: see ipv4-path.ts.
const { difference16, updateChecksum } = checksums
const { IPV4 } = ipv4

/** What the TTL's decrement makes of the header's running sum, whatever the TTL was. */
const TTL_DIFFERENCE = difference16(0x100, 0)

/** Lowers the TTL of the IP header at `ip` by one. */
export function decrementTtl(view: DataView, ip: number): void {
  changeHeader(view, ip, 0)
}

/**
 * Lowers the TTL, and brings the header's checksum up to date with that and with another change.
 * @param difference the running difference of the other change
 */
export function changeHeader(view: DataView, ip: number, difference: number): void {
  // TTL, protocol and checksum are one word, read and written once.
  const word = view.getInt32(ip + IPV4.ttl)
  const checksum = updateChecksum(word & 0xffff, difference + TTL_DIFFERENCE)
  view.setInt32(ip + IPV4.ttl, ((word - 0x0100_0000) & ~0xffff) | checksum)
}
