/**
 * The hashes by which IPVS's schedulers find a server, over addresses folded to 32 bits.
 *
 * Source: hash_32() in Linux include/linux/hash.h (Knuth's multiplicative hash by the golden ratio); hsiphash_1u32() in
 * lib/siphash.c, which on 64-bit machines is SipHash-1-3 (Aumasson and Bernstein, 2012) cut to its low 32 bits.
 */

const GOLDEN_RATIO = 0x61c88647
/** Bytes of the message, in the last word's highest byte. */
const MESSAGE_LENGTH = 0x0400_0000

/** Four words of an address, in one. */
export function foldAddress(words: Int32Array): number {
  return words[0] ^ words[1] ^ words[2] ^ words[3]
}

/** The upper `bits` bits of the product with the golden ratio: 0 to 2^bits - 1. */
export function goldenRatioHash(value: number, bits: number): number {
  return Math.imul(value, GOLDEN_RATIO) >>> (32 - bits)
}

/**
 * SipHash-1-3 of one 32-bit word, as an unsigned number of 32 bits.
 *
 * Each of the state's 64-bit words is two halves here, `high` and `low`: JavaScript's bit operations have 32.
 * @param key lower half of both words of the key, whose upper halves are 0
 */
export function sipHash(word: number, key: number): number {
  let low0 = 0x70736575 ^ key
  let high0 = 0x736f6d65
  let low1 = 0x6e646f6d ^ key
  let high1 = 0x646f7261
  let low2 = 0x6e657261 ^ key
  let high2 = 0x6c796765
  let low3 = 0x79746573 ^ key ^ word
  let high3 = 0x74656462 ^ MESSAGE_LENGTH
  for (let round = 0; round < 4; round++) {
    let sum = (low0 >>> 0) + (low1 >>> 0)
    let high = (high0 + high1 + (sum > 0xffff_ffff ? 1 : 0)) | 0
    let low = sum | 0
    let turned = (high1 << 13) | (low1 >>> 19)
    low1 = ((low1 << 13) | (high1 >>> 19)) ^ low
    high1 = turned ^ high
    // Turned by 32 bits: the halves change places.
    high0 = low
    low0 = high

    sum = (low2 >>> 0) + (low3 >>> 0)
    high2 = (high2 + high3 + (sum > 0xffff_ffff ? 1 : 0)) | 0
    low2 = sum | 0
    turned = (high3 << 16) | (low3 >>> 16)
    low3 = ((low3 << 16) | (high3 >>> 16)) ^ low2
    high3 = turned ^ high2

    sum = (low0 >>> 0) + (low3 >>> 0)
    high0 = (high0 + high3 + (sum > 0xffff_ffff ? 1 : 0)) | 0
    low0 = sum | 0
    turned = (high3 << 21) | (low3 >>> 11)
    low3 = ((low3 << 21) | (high3 >>> 11)) ^ low0
    high3 = turned ^ high0

    sum = (low2 >>> 0) + (low1 >>> 0)
    high = (high2 + high1 + (sum > 0xffff_ffff ? 1 : 0)) | 0
    low = sum | 0
    turned = (high1 << 17) | (low1 >>> 15)
    low1 = ((low1 << 17) | (high1 >>> 15)) ^ low
    high1 = turned ^ high
    high2 = low
    low2 = high

    if (round === 0) {
      low0 ^= word
      high0 ^= MESSAGE_LENGTH
      low2 ^= 0xff
    }
  }
  return (low0 ^ low1 ^ low2 ^ low3) >>> 0
}
