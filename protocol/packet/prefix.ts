/** Prefixes of either family as text, "10.0.0.0/8" or "2001:db8::/32" (RFC 4632 section 3.1, RFC 4291 section 2.3). */
import { isIPv4, isIPv6 as isIPv6Address } from 'node:net'
import { formatIPv4, parseIPv4 } from './bytes.ts'
import { ADDRESS_WORDS, formatIPv6, isIPv6Text, parseIPv6 } from './ipv6-address.ts'

/** Network and mask in four words: all of IPv6's, or IPv4's one and 0, 0, 0. */
export interface Prefix {
  readonly isIPv6: boolean
  /** Without bits behind the prefix. */
  readonly network: Int32Array
  readonly mask: Int32Array
}

/** The text must be an address, which stands for itself, or one with a length from 0 to that of an address. */
export function parsePrefix(text: string): Prefix {
  const { isIPv6, address, length } = partsOf(text)
  const mask = prefixMask(length)
  const words = isIPv6 ? parseIPv6(address) : Int32Array.of(parseIPv4(address), 0, 0, 0)
  return { isIPv6, network: words.map((word, index) => word & mask[index]), mask }
}

/** Whether text is what parsePrefix() reads. */
export function isPrefix(text: string): boolean {
  const { isIPv6, address, length } = partsOf(text)
  if (!/^[^/]+(\/(\d|[1-9]\d|1\d\d))?$/.test(text) || length > (isIPv6 ? 128 : 32)) return false
  // A zone is this machine's own, and no packet has one.
  return isIPv6 ? isIPv6Address(address) && !address.includes('%') : isIPv4(address)
}

/** The prefix as it is compared and shown: without bits behind it, and with its length. */
export function canonicalPrefix(text: string): string {
  const { isIPv6, network } = parsePrefix(text)
  return `${isIPv6 ? formatIPv6(network) : formatIPv4(network[0])}/${partsOf(text).length}`
}

/** Whether an address is in the network of a prefix; one of the other family never is. */
export function isCovered(address: string, prefix: string): boolean {
  const { isIPv6, network, mask } = parsePrefix(prefix)
  if (isIPv6Text(address) !== isIPv6) return false
  return parsePrefix(address).network.every((word, index) => (word & mask[index]) === network[index])
}

/** Whether packets can be from one prefix to the other; undefined stands for both families. */
export function isOneFamily(source: string | undefined, destination: string | undefined): boolean {
  return source === undefined || destination === undefined || isIPv6Text(source) === isIPv6Text(destination)
}

/** The mask of a prefix of so many bits. */
export function prefixMask(length: number): Int32Array {
  return Int32Array.from({ length: ADDRESS_WORDS }, (_, word) => {
    const bits = Math.max(0, Math.min(32, length - word * 32))
    return bits === 0 ? 0 : -1 << (32 - bits)
  })
}

function partsOf(text: string): { isIPv6: boolean; address: string; length: number } {
  const isIPv6 = isIPv6Text(text)
  const [address, length = isIPv6 ? '128' : '32'] = text.split('/')
  return { isIPv6, address, length: Number(length) }
}
