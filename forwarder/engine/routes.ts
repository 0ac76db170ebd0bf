/**
 * The forwarder's routing table: longest prefix first. Asked once a next hop; once a packet only on the way to clients whose own packets
 * have not come here yet.
 */
import { parseIPv4 } from '../../protocol/packet/bytes.ts'
import { IPV4_MINIMUM_MTU } from '../../protocol/packet/ipv4.ts'
import { IPV6_MINIMUM_MTU } from '../../protocol/packet/ipv6.ts'
import { ADDRESS_WORDS, isIPv6Text, parseIPv6 } from '../../protocol/packet/ipv6-address.ts'
import { prefixMask } from '../../protocol/packet/prefix.ts'
import type { Route } from '../commands.ts'
import { type AddressBook, isIPv6Number, NO_ADDRESS } from '../table/address-book.ts'

/** Addresses by their numbers (address-book.ts). One object, which the next find() writes over. */
export interface NextHop {
  link: number
  /** The address to resolve on that link. */
  address: number
  /** Our own address on that link. */
  source: number
  /** What the route carries; Infinity when it says nothing. */
  mtu: number
}

interface Entry {
  readonly destination: number
  readonly mask: number
  readonly gateway: number | undefined
  readonly link: number
  readonly source: number
  readonly mtu: number
}

interface Entry6 {
  readonly destination: Int32Array
  readonly mask: Int32Array
  readonly gateway: number | undefined
  readonly link: number
  readonly source: number
  readonly mtu: number
}

export class Routes {
  #entries: Entry[] = []
  #entries6: Entry6[] = []
  readonly #book: AddressBook
  readonly #found: NextHop = { link: 0, address: 0, source: 0, mtu: 0 }
  /** The smallest that a route says; Infinity when none says any. */
  smallestMtu = Number.POSITIVE_INFINITY

  constructor(book: AddressBook) {
    this.#book = book
  }

  /** @param links names by link number; routes over other links are left out */
  replace(routes: readonly Route[], links: readonly string[]): void {
    const known = routes
      .filter((route) => links.includes(route.link))
      .toSorted((a, b) => b.prefixLength - a.prefixLength)
    this.#entries = known
      .filter((route) => !isIPv6Text(route.destination))
      .map((route) => {
        const mask = route.prefixLength === 0 ? 0 : -1 << (32 - route.prefixLength)
        return {
          destination: parseIPv4(route.destination) & mask,
          mask,
          gateway: route.gateway === undefined ? undefined : parseIPv4(route.gateway),
          link: links.indexOf(route.link),
          source: parseIPv4(route.source),
          mtu: Math.max(IPV4_MINIMUM_MTU, route.mtu ?? Number.POSITIVE_INFINITY),
        }
      })
    this.#replace6(
      known.filter((route) => isIPv6Text(route.destination)),
      links,
    )
    this.smallestMtu = Number.POSITIVE_INFINITY
    for (const { mtu } of [...this.#entries, ...this.#entries6]) this.smallestMtu = Math.min(this.smallestMtu, mtu)
  }

  #replace6(routes: readonly Route[], links: readonly string[]): void {
    const before = this.#entries6
    this.#entries6 = routes.map((route) => {
      const mask = prefixMask(route.prefixLength)
      return {
        destination: parseIPv6(route.destination).map((word, index) => word & mask[index]),
        mask,
        gateway: route.gateway === undefined ? undefined : this.#retained(route.gateway),
        link: links.indexOf(route.link),
        source: this.#retained(route.source),
        mtu: Math.max(IPV6_MINIMUM_MTU, route.mtu ?? Number.POSITIVE_INFINITY),
      }
    })
    for (const { gateway, source } of before) {
      if (gateway !== undefined) this.#book.release(gateway)
      this.#book.release(source)
    }
  }

  #retained(address: string): number {
    const number = this.#book.internText(address)
    this.#book.retain(number)
    return number
  }

  /** Where a packet goes next to the IPv6 address in the words from `at`; undefined when there is no route. */
  find6(words: Int32Array, at: number): Readonly<NextHop> | undefined {
    const entry = this.#entry6(words, at)
    if (entry === undefined) return undefined
    const address = entry.gateway ?? this.#book.intern(words[at], words[at + 1], words[at + 2], words[at + 3])
    return address === NO_ADDRESS || entry.source === NO_ADDRESS ? undefined : this.#hop(entry, address)
  }

  /** What the route to the IPv6 address in the words from `at` says that it carries; Infinity when it says nothing. */
  mtuTo6(words: Int32Array, at: number): number {
    return this.#entry6(words, at)?.mtu ?? Number.POSITIVE_INFINITY
  }

  /** Our own IPv6 address on a link; NO_ADDRESS when it has none. */
  source6On(link: number): number {
    return this.#entries6.find((entry) => entry.link === link)?.source ?? NO_ADDRESS
  }

  /** Where a packet to the address with this number goes next; undefined when there is no route. */
  find(destination: number): Readonly<NextHop> | undefined {
    if (isIPv6Number(destination)) return this.find6(this.#book.words, destination * ADDRESS_WORDS)
    const entry = this.#entry(destination)
    return entry && this.#hop(entry, entry.gateway ?? destination)
  }

  /** As mtuTo6(), of an IPv4 address. */
  mtuTo(destination: number): number {
    return this.#entry(destination)?.mtu ?? Number.POSITIVE_INFINITY
  }

  #entry(destination: number): Entry | undefined {
    for (const entry of this.#entries) {
      if ((destination & entry.mask) === entry.destination) return entry
    }
    return undefined
  }

  #entry6(words: Int32Array, at: number): Entry6 | undefined {
    for (const entry of this.#entries6) {
      const { destination, mask } = entry
      if (
        (words[at] & mask[0]) === destination[0] &&
        (words[at + 1] & mask[1]) === destination[1] &&
        (words[at + 2] & mask[2]) === destination[2] &&
        (words[at + 3] & mask[3]) === destination[3]
      )
        return entry
    }
    return undefined
  }

  #hop({ link, source, mtu }: Entry | Entry6, address: number): NextHop {
    const found = this.#found
    found.link = link
    found.address = address
    found.source = source
    found.mtu = mtu
    return found
  }

  /** Our own address on a link; 0 when it has none. */
  sourceOn(link: number): number {
    return this.#entries.find((entry) => entry.link === link)?.source ?? 0
  }
}
