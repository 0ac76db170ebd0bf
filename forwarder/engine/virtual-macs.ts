/**
 * Virtual router MACs, and which of them this director holds. A frame to one that it holds is taken, and from then on as if it had
 * come to the link's own MAC, which whatever is made of it also leaves from: what says on which port the virtual one is, to
 * switches, are advertisements and address resolution alone (docs/decisions/vrrp.md).
 *
 * Others are not for us, though switches that do not know their port let them come here: a backup must not forward what the
 * active router gets too (RFC 9568 section 6.4.2).
 */
import { formatMac, readInt32, readUint16 } from '../../protocol/packet/bytes.ts'
import * as virtualRouterMac from '../../protocol/packet/virtual-router-mac.ts'
import type { VirtualAddress } from '../commands.ts'
import type { Frame } from '../link/link.ts'
import type { LinkFacts } from './egress.ts'

// Names of this module's own, for speed: see ipv4-path.ts.
const { FIRST_VIRTUAL_MAC, VIRTUAL_MACS } = virtualRouterMac

/** Of the addresses on a link that are active here, or lingering: each once. */
export function heldMacs(addresses: readonly VirtualAddress[], link: string): Uint8Array[] {
  const held = new Map<string, Uint8Array>()
  for (const { link: on, state, mac } of addresses) {
    if (on === link && state !== 'standby' && mac !== undefined) held.set(formatMac(mac), mac)
  }
  return [...held.values()]
}

export class VirtualMacs {
  readonly #links: readonly LinkFacts[]
  /** By link and number: 1 for those that are held. */
  readonly #held: Uint8Array
  readonly #macHigh: Int32Array
  readonly #macLow: Int32Array

  constructor(links: readonly LinkFacts[]) {
    this.#links = links
    this.#held = new Uint8Array(links.length * VIRTUAL_MACS)
    this.#macHigh = Int32Array.from(links, ({ mac }) => readUint16(mac, 0))
    this.#macLow = Int32Array.from(links, ({ mac }) => readInt32(mac, 2))
  }

  replace(addresses: readonly VirtualAddress[]): void {
    this.#held.fill(0)
    for (const [link, { name }] of this.#links.entries()) {
      for (const mac of heldMacs(addresses, name)) {
        this.#held[link * VIRTUAL_MACS + readUint16(mac, 4) - FIRST_VIRTUAL_MAC] = 1
      }
    }
  }

  /** Whether a frame whose destination begins with VIRTUAL_MAC_PREFIX is for us; if so, the link's own MAC is its destination now. */
  take(frame: Frame, link: number): boolean {
    const { view } = frame.memory
    const { start } = frame
    const number = view.getUint16(start + 4) - FIRST_VIRTUAL_MAC
    // What else begins so is no virtual router's.
    if (number < 0 || number >= VIRTUAL_MACS) return true
    if (this.#held[link * VIRTUAL_MACS + number] === 0) return false
    view.setUint16(start, this.#macHigh[link])
    view.setInt32(start + 2, this.#macLow[link])
    return true
  }
}
