/** The pseudo-header that TCP's and UDP's checksums cover, of a packet of either family. */
import { pseudoHeaderSum } from './checksum.ts'
import { pseudoHeaderSumIPv6 } from './ipv6.ts'

/** Its running sum, for the packet whose IP header is at `ip`. */
export function pseudoHeaderSumOf(bytes: Uint8Array, ip: number, protocol: number, transportLength: number): number {
  return bytes[ip] >> 4 === 6
    ? pseudoHeaderSumIPv6(bytes, ip, protocol, transportLength)
    : pseudoHeaderSum(bytes, ip, protocol, transportLength)
}
