/**
 * What routers have said about the way to a tunnel's far end. A packet of IPv6 that is too long for a link on the way is not cut there,
 * and the client inside may not be able to send shorter ones; nor is one of IPv4 whose DF bit the client has set, and a router does not
 * answer every client's. RFC 8201 section 4 and 5.2, RFC 2473 section 7; RFC 1191 section 6.3, RFC 2003 section 5.1.
 */
import { IPV6_MINIMUM_MTU } from '../../protocol/packet/ipv6.ts'
import { isIPv6Number } from '../table/address-book.ts'

/**
 * What is said to carry less is not believed further than this: senders do not go below it, and who forges such a thing is to slow nobody
 * down more than so. Source: Linux net/ipv4/route.c ip_rt_min_pmtu.
 */
const SMALLEST_IPV4_MTU = 552
/** After this long a greater size is tried again. */
const LIFETIME_MS = 600_000

export class PathMtus {
  /** By address number; of real servers alone, so there are no more than those. */
  readonly #known = new Map<number, { mtu: number; untilMs: number }>()

  learn(address: number, mtu: number, nowMs: number): void {
    const smallest = isIPv6Number(address) ? IPV6_MINIMUM_MTU : SMALLEST_IPV4_MTU
    this.#known.set(address, { mtu: Math.max(smallest, mtu), untilMs: nowMs + LIFETIME_MS })
  }

  /** The way's MTU, which is at most that of its first link. */
  find(address: number, linkMtu: number, nowMs: number): number {
    if (this.#known.size === 0) return linkMtu
    const known = this.#known.get(address)
    if (known === undefined) return linkMtu
    if (known.untilMs > nowMs) return Math.min(known.mtu, linkMtu)
    this.#known.delete(address)
    return linkMtu
  }
}
