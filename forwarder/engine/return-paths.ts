/**
 * Where clients' frames come from: link and MAC, so that replies go back the way the client's packets came, whatever the
 * routing table says. Interned to 12 bits, which is what a connection has room for.
 *
 * The number of paths is bounded; a stranger who invents MAC addresses fills it at worst, and then replies go by route.
 *
 * Routers that stand in for each other (VRRP, HSRP) send from MACs of their own. When one dies, its clients may have nothing to say
 * but to what they wait for, so their packets do not show the other: that the path is silent while packets are sent there is what shows
 * it. One that lives is never silent for long, for nearly all that is sent to clients is acknowledged.
 */
import { RETURN_PATH_MASK } from '../table/connection-layout.ts'

/** Path 0: not known. */
export const NO_RETURN_PATH = 0
const MAX_PATHS = RETURN_PATH_MASK + 1
/** Something has been sent there again and again for so long, and nothing has come. */
const SILENT_AFTER_MS = 2_000
/**
 * What was sent before a pause like this may have wanted no answer, as the last packet of a connection: it counts no more. A server whose
 * client is slow to answer repeats what it sends two or three times without such a pause (RFC 6298).
 */
const PAUSE_MS = 5_000

export class ReturnPaths {
  readonly links = new Uint8Array(MAX_PATHS)
  readonly macHigh = new Int32Array(MAX_PATHS)
  readonly macLow = new Int32Array(MAX_PATHS)
  /** When something was first sent there after it was heard, and when last; -Infinity: not since then. */
  readonly #firstSentMs = new Float64Array(MAX_PATHS)
  readonly #lastSentMs = new Float64Array(MAX_PATHS)
  readonly #known = new Map<number, number>()
  #count = 1
  #nowMs = 0

  setTime(nowMs: number): void {
    this.#nowMs = nowMs
  }

  /** Takes note of a frame that comes from this path; false when its source, at `macAt`, is another. */
  hears(path: number, link: number, view: DataView, macAt: number): boolean {
    if (
      this.macLow[path] !== view.getInt32(macAt + 2) ||
      this.macHigh[path] !== view.getUint16(macAt) ||
      this.links[path] !== link
    )
      return false
    this.#lastSentMs[path] = Number.NEGATIVE_INFINITY
    return true
  }

  /** Takes note of a packet that is to be sent there; true when what was sent there before seems to have gone nowhere. */
  isSilent(path: number): boolean {
    const nowMs = this.#nowMs
    const pauseMs = nowMs - this.#lastSentMs[path]
    this.#lastSentMs[path] = nowMs
    if (pauseMs <= PAUSE_MS) return nowMs - this.#firstSentMs[path] >= SILENT_AFTER_MS
    this.#firstSentMs[path] = nowMs
    return false
  }

  /** The number of the link and MAC that a frame comes from; NO_RETURN_PATH when there is no room for another. */
  intern(link: number, view: DataView, macAt: number): number {
    const high = view.getUint16(macAt)
    const low = view.getInt32(macAt + 2)
    const key = ((low >>> 0) + high * 2 ** 32) * 16 + link
    const known = this.#known.get(key)
    if (known !== undefined) {
      this.#lastSentMs[known] = Number.NEGATIVE_INFINITY
      return known
    }
    if (this.#count >= MAX_PATHS || (high & 0x100) !== 0) return NO_RETURN_PATH
    const path = this.#count++
    this.links[path] = link
    this.macHigh[path] = high
    this.macLow[path] = low
    this.#lastSentMs[path] = Number.NEGATIVE_INFINITY
    this.#known.set(key, path)
    return path
  }
}
