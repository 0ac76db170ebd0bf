/**
 * How many messages of peers the main thread has not taken yet. What is posted between threads waits without a bound: a peer that says more
 * than the main thread hears would otherwise fill its memory. What is dropped here counts as lost, as gossip may be at any time.
 *
 * Of one peer no more may wait than there is room left: whoever says too much gets half of it at most, two of them a third each, and so on, and
 * there is always some for the others.
 *
 * Source: A. Choudhury, E. Hahne, "Dynamic Queue Length Thresholds for Shared-Memory Packet Switches", IEEE/ACM ToN 6(2), 1998, with alpha 1.
 */
import { PEERS_MAX } from './transport.ts'

/** Several times what all peers say at once in earnest, and at most 128 MiB. */
export const UNTAKEN_MAX = 2048
/** For the peers, and as many that were. */
const PLACES = 2 * PEERS_MAX

export class UntakenMessages {
  readonly shared: SharedArrayBuffer
  /** By place. These and the numbers of what was posted wrap around at 2^32. */
  readonly #taken: Int32Array
  readonly #posted = new Int32Array(PLACES)
  /** Peer ids by place, which is another's when nothing waits. */
  readonly #peers: (string | undefined)[] = new Array(PLACES).fill(undefined)

  constructor(shared = new SharedArrayBuffer(PLACES * Int32Array.BYTES_PER_ELEMENT)) {
    this.shared = shared
    this.#taken = new Int32Array(shared)
  }

  /** For the thread that posts, before it does. The place goes with the message; undefined: too many of this peer are under way. */
  post(peer: string): number | undefined {
    const waiting = this.#posted.map((posted, place) => posted - Atomics.load(this.#taken, place))
    const place = this.#peers.includes(peer) ? this.#peers.indexOf(peer) : waiting.indexOf(0)
    const room = UNTAKEN_MAX - waiting.reduce((sum, each) => sum + each)
    if (place < 0 || waiting[place] >= room) return undefined
    this.#peers[place] = peer
    this.#posted[place]++
    return place
  }

  /** For the thread that takes. */
  take(place: number): void {
    Atomics.add(this.#taken, place, 1)
  }
}
