/**
 * Spreads what two numbers of 32 bits differ in over all bits, without two that become one.
 * Source: MurmurHash3's fmix32 (Austin Appleby, 2011, public domain).
 */
export function mix(value: number): number {
  let hash = Math.imul(value ^ (value >>> 16), 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
  return hash ^ (hash >>> 16)
}
