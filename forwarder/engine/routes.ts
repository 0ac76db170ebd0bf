/** The forwarder's routing table: longest prefix first. Asked once a next hop, never once a packet. */
import { parseIPv4 } from '../../protocol/packet/bytes.ts'
import type { Route } from '../commands.ts'

export interface NextHop {
  readonly link: number
  /** The address to resolve on that link, 32-bit. */
  readonly address: number
  /** Our own address on that link. */
  readonly source: number
}

interface Entry {
  readonly destination: number
  readonly mask: number
  readonly gateway: number | undefined
  readonly link: number
  readonly source: number
}

export class Routes {
  #entries: Entry[] = []

  /** @param links names by link number; routes over other links are left out */
  replace(routes: readonly Route[], links: readonly string[]): void {
    this.#entries = routes
      .filter((route) => links.includes(route.link))
      .toSorted((a, b) => b.prefixLength - a.prefixLength)
      .map((route) => {
        const mask = route.prefixLength === 0 ? 0 : -1 << (32 - route.prefixLength)
        return {
          destination: parseIPv4(route.destination) & mask,
          mask,
          gateway: route.gateway === undefined ? undefined : parseIPv4(route.gateway),
          link: links.indexOf(route.link),
          source: parseIPv4(route.source),
        }
      })
  }

  /** Where a packet to `destination` goes next; undefined when there is no route. */
  find(destination: number): NextHop | undefined {
    for (const entry of this.#entries) {
      if ((destination & entry.mask) === entry.destination) {
        return { link: entry.link, address: entry.gateway ?? destination, source: entry.source }
      }
    }
    return undefined
  }

  /** Our own address on a link; 0 when it has none. */
  sourceOn(link: number): number {
    return this.#entries.find((entry) => entry.link === link)?.source ?? 0
  }
}
