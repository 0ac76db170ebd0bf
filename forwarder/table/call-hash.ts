/**
 * A name of 128 bits for a SIP call: the same at every director, and of one length whatever the Call-ID's.
 *
 * It is no secret and need not be: two calls with one name share a server, which is all that somebody can have who makes them up.
 * Chains of the connection table go by a keyed hash of it.
 *
 * Source: MurmurHash3_x86_128 (Austin Appleby, 2011, public domain).
 */
import { mix } from '../../protocol/mix.ts'

const C1 = 0x239b961b
const C2 = 0xab0e9789
const C3 = 0x38b34ae5
const C4 = 0xa1e38b93

/** Writes the hash of the first `length` bytes into the four words of `hash`. */
export function hashCall(bytes: Uint8Array, length: number, hash: Int32Array): void {
  let h1 = 0
  let h2 = 0
  let h3 = 0
  let h4 = 0
  const whole = length & ~15
  for (let at = 0; at < whole; at += 16) {
    h1 = (Math.imul(rotate(h1 ^ scramble(word(bytes, at, 4), C1, 15, C2), 19) + h2, 5) + 0x561ccd1b) | 0
    h2 = (Math.imul(rotate(h2 ^ scramble(word(bytes, at + 4, 4), C2, 16, C3), 17) + h3, 5) + 0x0bcaa747) | 0
    h3 = (Math.imul(rotate(h3 ^ scramble(word(bytes, at + 8, 4), C3, 17, C4), 15) + h4, 5) + 0x96cd1c35) | 0
    h4 = (Math.imul(rotate(h4 ^ scramble(word(bytes, at + 12, 4), C4, 18, C1), 13) + h1, 5) + 0x32ac3b17) | 0
  }
  const rest = length - whole
  h4 ^= scramble(word(bytes, whole + 12, rest - 12), C4, 18, C1)
  h3 ^= scramble(word(bytes, whole + 8, rest - 8), C3, 17, C4)
  h2 ^= scramble(word(bytes, whole + 4, rest - 4), C2, 16, C3)
  h1 ^= scramble(word(bytes, whole, rest), C1, 15, C2)
  h1 ^= length
  h2 ^= length
  h3 ^= length
  h4 ^= length
  h1 = (h1 + h2 + h3 + h4) | 0
  h2 = mix((h2 + h1) | 0)
  h3 = mix((h3 + h1) | 0)
  h4 = mix((h4 + h1) | 0)
  h1 = mix(h1)
  h1 = (h1 + h2 + h3 + h4) | 0
  hash[0] = h1
  hash[1] = h2 + h1
  hash[2] = h3 + h1
  hash[3] = h4 + h1
}

/** Up to four bytes, the first one lowest; those that are not there are 0. */
function word(bytes: Uint8Array, at: number, count: number): number {
  let value = 0
  for (let i = Math.min(count, 4) - 1; i >= 0; i--) value = (value << 8) | bytes[at + i]
  return value
}

function scramble(value: number, first: number, bits: number, second: number): number {
  return Math.imul(rotate(Math.imul(value, first), bits), second)
}

function rotate(value: number, bits: number): number {
  return (value << bits) | (value >>> (32 - bits))
}
