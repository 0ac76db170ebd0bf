/**
 * IPv6 addresses: four signed 32-bit words in network order, and text in the one form that RFC 5952 recommends. Also what is
 * asked of an address whichever of the two families it is of.
 */
import { isIP } from 'node:net'
import { formatIPv4, parseIPv4, readInt32, writeInt32 } from './bytes.ts'

export const ADDRESS_WORDS = 4
export const ADDRESS_BYTES = 16

/** Whether address text is of IPv6 and not of IPv4. */
export function isIPv6Text(text: string): boolean {
  return text.includes(':')
}

/** The words of an address. The text must be an IPv6 address, without a zone. */
export function parseIPv6(text: string): Int32Array {
  const [head, tail] = text.split('::').map(groupsOf)
  const groups = tail === undefined ? head : [...head, ...Array(8 - head.length - tail.length).fill(0), ...tail]
  const words = new Int32Array(ADDRESS_WORDS)
  for (let word = 0; word < ADDRESS_WORDS; word++) words[word] = (groups[word * 2] << 16) | groups[word * 2 + 1]
  return words
}

/** @param words that hold the address from `at` */
export function formatIPv6(words: ArrayLike<number>, at = 0): string {
  if (words[at] === 0 && words[at + 1] === 0 && words[at + 2] === 0xffff) return `::ffff:${formatIPv4(words[at + 3])}`
  const groups = Array.from({ length: 8 }, (_, group) => (words[at + (group >> 1)] >>> (group & 1 ? 0 : 16)) & 0xffff)
  // The longest run of zeros, of equals the first, of at least two (RFC 5952 section 4.2).
  let start = -1
  let length = 1
  for (let from = 0; from < 8; from++) {
    let to = from
    while (to < 8 && groups[to] === 0) to++
    if (to - from > length) {
      start = from
      length = to - from
    }
  }
  const text = groups.map((group) => group.toString(16))
  if (start < 0) return text.join(':')
  return `${text.slice(0, start).join(':')}::${text.slice(start + length).join(':')}`
}

/** The address in 16 bytes, as text. */
export function readIPv6Text(bytes: Uint8Array, at: number): string {
  return formatIPv6([0, 4, 8, 12].map((offset) => readInt32(bytes, at + offset)))
}

/** Writes the words of an address as 16 bytes. */
export function writeIPv6Words(bytes: Uint8Array, at: number, words: ArrayLike<number>, from = 0): void {
  for (let word = 0; word < ADDRESS_WORDS; word++) writeInt32(bytes, at + word * 4, words[from + word])
}

/** Address text of either family in the form in which it is compared and shown: RFC 5952 for IPv6. */
export function canonicalAddress(text: string): string {
  return isIPv6Text(text) ? formatIPv6(parseIPv6(text)) : text
}

/** The order of two addresses of one family as numbers: below 0, 0 or above 0. */
export function compareAddresses(one: string, other: string): number {
  const words = wordsOf(one)
  const others = wordsOf(other)
  const at = words.findIndex((word, index) => word !== others[index])
  return at < 0 ? 0 : (words[at] >>> 0) - (others[at] >>> 0)
}

export interface Endpoint {
  readonly address: string
  readonly port: number
}

/** "10.0.0.1:80" or "[2001:db8::1]:80" (RFC 5952 section 6). */
export function formatEndpoint(address: string, port: number): string {
  return isIPv6Text(address) ? `[${address}]:${port}` : `${address}:${port}`
}

/** What formatEndpoint() has written, its address in canonical form; undefined when the text is no endpoint. */
export function parseEndpoint(text: string): Endpoint | undefined {
  const [, bracketed, plain, digits] = /^(?:\[([\da-f:.]+)\]|([\d.]+)):(\d{1,5})$/i.exec(text) ?? []
  const port = Number(digits)
  if (isIP(bracketed ?? plain ?? '') !== (bracketed === undefined ? 4 : 6) || port > 65_535) return undefined
  return { address: canonicalAddress(bracketed ?? plain), port }
}

/**
 * Whether an address can be one host's in a packet that has travelled: not unspecified, loopback or multicast, not an IPv4
 * address in disguise, which no packet on a wire has, and not link-local, which is never forwarded (RFC 4291 section 2.5,
 * RFC 4007).
 */
export function isHostIPv6(first: number, second: number, third: number, fourth: number): boolean {
  if (first === 0 && second === 0) return third !== 0xffff && (third !== 0 || (fourth !== 0 && fourth !== 1))
  return first >>> 24 !== 0xff && first >>> 22 !== 0xfe80 >>> 6
}

function wordsOf(address: string): Int32Array {
  return isIPv6Text(address) ? parseIPv6(address) : Int32Array.of(parseIPv4(address))
}

function groupsOf(text: string): number[] {
  if (text === '') return []
  return text.split(':').flatMap((group) => {
    if (!group.includes('.')) return [Number.parseInt(group, 16)]
    const address = parseIPv4(group)
    return [address >>> 16, address & 0xffff]
  })
}
