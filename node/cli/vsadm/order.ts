/**
 * The order of listings. vsadm's: marks last, then IP version, protocol, address, port, each by its number.
 *
 * ipvsadm's takes the difference of two numbers for a signed one, so that those 2^31 or more apart come the wrong way round, and
 * which of them where depends on where they begin and on how they are sorted. To be like it to the letter, services begin in
 * the order of the kernel's hash table and servers newest first, and both are merged as the C library's qsort(3) merges.
 *
 * Source: Linux net/netfilter/ipvs/ip_vs_ctl.c ip_vs_svc_hashkey(), whose seed is an address in memory; here it is a
 * number.
 */
import { parseAddress } from './values.ts'

/** Negative when `a` is less. */
export type CompareNumbers = (a: number, b: number) => number

export const compareNumbers: CompareNumbers = (a, b) => a - b
export const compareWrapping: CompareNumbers = (a, b) => (a - b) | 0

interface Endpoint {
  readonly address: string
  readonly port: number
}
interface ServiceEndpoint extends Endpoint {
  readonly protocol: string
  readonly mark?: number
}

/** IP protocol numbers; a firewall mark's service counts as TCP. */
const PROTOCOLS: Readonly<Record<string, number>> = { udp: 17, sctp: 132 }
const TCP = 6

const BUCKETS = 256
/** As good as any other that agrees with the recordings, as 31 of 32 do. */
const SEED = 128

export function sortServices<T extends ServiceEndpoint>(services: readonly T[], compare: CompareNumbers): T[] {
  const byBucket = (a: T, b: T) => bucketOf(a) - bucketOf(b)
  // Within a bucket the newest is first, and mostly has the greater number.
  const begin = compare === compareWrapping ? services.toReversed().toSorted(byBucket) : services
  return sorted(begin, compare, (service) => {
    const words = service.mark === undefined ? parseAddress(service.address) : Array(familyLength(service)).fill(0)
    return [service.mark ?? 0, words.length, PROTOCOLS[service.protocol] ?? TCP, ...words, service.port]
  })
}

export function sortServers<T extends Endpoint>(servers: readonly T[], compare: CompareNumbers): T[] {
  return sorted(servers, compare, ({ address, port }) => [...parseAddress(address), port])
}

function familyLength({ address }: Endpoint): number {
  return parseAddress(address).length
}

/** Marks have a table of their own, behind the other. */
function bucketOf({ mark, protocol, address, port }: ServiceEndpoint): number {
  if (mark !== undefined) return BUCKETS + ((mark ^ SEED) & (BUCKETS - 1))
  const folded = parseAddress(address).reduce((fold, word) => fold ^ word, 0)
  return ((PROTOCOLS[protocol] ?? TCP) ^ folded ^ SEED ^ (port >> 8) ^ port) & (BUCKETS - 1)
}

/** Both lengths of keys may meet: what is compared first is in the same place of each. */
function sorted<T>(elements: readonly T[], compare: CompareNumbers, keyOf: (element: T) => number[]): T[] {
  const keyed = elements.map((element) => ({ element, key: keyOf(element) }))
  const compareKeys = (a: { key: number[] }, b: { key: number[] }) => {
    for (let at = 0; at < a.key.length; at++) {
      const difference = compare(a.key[at], b.key[at] ?? 0)
      if (difference !== 0) return difference
    }
    return 0
  }
  return mergeSorted(keyed, compareKeys).map(({ element }) => element)
}

function mergeSorted<T>(elements: readonly T[], compare: (a: T, b: T) => number): readonly T[] {
  if (elements.length < 2) return elements
  const middle = elements.length >> 1
  const left = mergeSorted(elements.slice(0, middle), compare)
  const right = mergeSorted(elements.slice(middle), compare)
  const merged: T[] = []
  let l = 0
  let r = 0
  while (l < left.length && r < right.length) merged.push(compare(left[l], right[r]) <= 0 ? left[l++] : right[r++])
  return [...merged, ...left.slice(l), ...right.slice(r)]
}
