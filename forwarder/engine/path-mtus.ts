/**
 * What routers have said about the way to a tunnel's far end: a packet of IPv6 that is too long for a link on the way is not cut there,
 * and the client inside may not be able to send shorter ones. RFC 8201 section 4 and 5.2, RFC 2473 section 7.
 */
import { IPV6_MINIMUM_MTU } from '../../protocol/packet/ipv6.ts'

/** After this long a greater size is tried again. */
const LIFETIME_MS = 600_000

export class PathMtus {
  /** By address number; of real servers alone, so there are no more than those. */
  readonly #known = new Map<number, { mtu: number; untilMs: number }>()

  learn(address: number, mtu: number, nowMs: number): void {
    this.#known.set(address, { mtu: Math.max(IPV6_MINIMUM_MTU, mtu), untilMs: nowMs + LIFETIME_MS })
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
