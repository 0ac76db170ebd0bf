/**
 * Where clients' frames come from: link and MAC, so that replies go back the way the client's packets came, whatever the
 * routing table says. Interned to 12 bits, which is what a connection has room for.
 *
 * The number of paths is bounded; a stranger who invents MAC addresses fills it at worst, and then replies go by route.
 */
import { RETURN_PATH_MASK } from '../table/connection-layout.ts'

/** Path 0: not known. */
export const NO_RETURN_PATH = 0
const MAX_PATHS = RETURN_PATH_MASK + 1

export class ReturnPaths {
  readonly links = new Uint8Array(MAX_PATHS)
  readonly macHigh = new Int32Array(MAX_PATHS)
  readonly macLow = new Int32Array(MAX_PATHS)
  readonly #known = new Map<number, number>()
  #count = 1

  /** Whether the frame's source, at `macAt`, is this path. */
  matches(path: number, link: number, view: DataView, macAt: number): boolean {
    return (
      this.macLow[path] === view.getInt32(macAt + 2) &&
      this.macHigh[path] === view.getUint16(macAt) &&
      this.links[path] === link
    )
  }

  /** The number of this link and MAC; NO_RETURN_PATH when there is no room for another. */
  intern(link: number, view: DataView, macAt: number): number {
    const high = view.getUint16(macAt)
    const low = view.getInt32(macAt + 2)
    const key = ((low >>> 0) + high * 2 ** 32) * 16 + link
    const known = this.#known.get(key)
    if (known !== undefined) return known
    if (this.#count >= MAX_PATHS || (high & 0x100) !== 0) return NO_RETURN_PATH
    const path = this.#count++
    this.links[path] = link
    this.macHigh[path] = high
    this.macLow[path] = low
    this.#known.set(key, path)
    return path
  }
}
