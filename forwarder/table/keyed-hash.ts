/**
 * A keyed hash of a 5-tuple, so that nobody outside can choose which bucket a connection falls into.
 *
 * Source: Bob Jenkins's lookup3 (2006), as the kernel uses it in jhash_3words() with a random initial value
 * (Linux include/linux/jhash.h, net/netfilter/ipvs/ip_vs_conn.c ip_vs_conn_hashkey).
 */
const GOLDEN = 0xdeadbeef + (3 << 2)

/** Hash of three words under `key`; a signed 32-bit integer. */
export function hashWords(first: number, second: number, third: number, key: number): number {
  const initial = (GOLDEN + key) | 0
  let a = (first + initial) | 0
  let b = (second + initial) | 0
  let c = (third + initial) | 0
  c = ((c ^ b) - ((b << 14) | (b >>> 18))) | 0
  a = ((a ^ c) - ((c << 11) | (c >>> 21))) | 0
  b = ((b ^ a) - ((a << 25) | (a >>> 7))) | 0
  c = ((c ^ b) - ((b << 16) | (b >>> 16))) | 0
  a = ((a ^ c) - ((c << 4) | (c >>> 28))) | 0
  b = ((b ^ a) - ((a << 14) | (a >>> 18))) | 0
  return ((c ^ b) - ((b << 24) | (b >>> 8))) | 0
}

/** Hash of an IPv6 address under `key`; a signed 32-bit integer. */
export function hashAddress(first: number, second: number, third: number, fourth: number, key: number): number {
  return hashWords(hashWords(first, second, third, key), fourth, 0, key)
}
