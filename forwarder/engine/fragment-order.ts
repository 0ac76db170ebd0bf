/**
 * In which order the fragments of a datagram may pass, of either family: the first one as soon as it comes, those that came before it
 * behind it, none that contradicts another, and no more at once than there is room for.
 *
 * Nothing is put together here, so a datagram costs no more memory than the note that it is on its way; only fragments that
 * come before the first wait, as copies. (The kernel's IPVS puts datagrams together before it looks at them.)
 *
 * Source: RFC 1858 section 3 and RFC 3128 section 2 (which fragments are attacks); RFC 5722 (no overlap is ever innocent).
 */
import type { Frame } from '../link/link.ts'
import { hasUnfinishedChecksum, segmentSize } from '../method/offload.ts'
import { type Drops, dropCode } from './drop-reason.ts'
import { Fragments, NAME_WORDS, NO_DATAGRAM } from './fragments.ts'
import type { PooledFrame } from './frame-pool.ts'
import { CONSUMED, FIRST_FRAGMENT, LATER_FRAGMENT, type Verdict } from './verdict.ts'
import type { WaitingFrames } from './waiting-frames.ts'

const DROP_OVERLAP = dropCode('fragment-overlap')
const DROP_LIMIT = dropCode('fragment-limit')
const DROP_ORPHAN = dropCode('fragment-orphan')

const LONGEST_DATAGRAM = 65_535

/** Sends a fragment on behind its first one, which said by which protocol and ports their connection is found. */
export type FollowFirst = (frame: Frame, link: number, protocol: number, ports: number) => Verdict

export class FragmentOrder {
  /** The name of the datagram of which the next pass() is asked (fragments.ts); written by whoever asks. */
  readonly name = new Int32Array(NAME_WORDS)
  /** What the first fragment said, of the one that pass() calls a LATER_FRAGMENT. */
  protocol = 0
  ports = 0
  /** Whether the next fragment is a first one that pass() has let pass already: it waited for its connection to be confirmed. */
  hasPassed = false
  readonly #fragments: Fragments
  readonly #waiting: WaitingFrames
  readonly #drops: Drops
  readonly #forward: (frame: PooledFrame, protocol: number, ports: number) => void

  /** @param secret key of the hash that datagrams are found by */
  constructor(secret: number, waiting: WaitingFrames, drops: Drops, follow: FollowFirst) {
    this.#waiting = waiting
    this.#drops = drops
    this.#fragments = new Fragments(secret, (frame) => {
      drops.add(DROP_ORPHAN, 1)
      waiting.giveBack(frame)
    })
    this.#forward = (frame, protocol, ports) => {
      const verdict = follow(frame, frame.link, protocol, ports)
      if (verdict >= 0) waiting.send(frame, verdict)
      else waiting.giveBack(frame)
    }
  }

  setTime(nowMs: number): void {
    this.#fragments.setTime(nowMs)
  }

  /** Sends what waited for a first fragment that has been handled by now. */
  release(): void {
    this.#fragments.release(this.#forward)
  }

  /**
   * Whether a fragment's numbers can be: `length` bytes from `offset` on.
   * @param before bytes in front of them that the whole datagram's length counts as well: of IPv4 the header, of IPv6 extension headers alone
   */
  isSound(frame: Frame, offset: number, length: number, isLast: boolean, before: number): boolean {
    // No card is left with anything to do for a fragment.
    if (hasUnfinishedChecksum(frame) || segmentSize(frame) !== 0) return false
    return length > 0 && (isLast || length % 8 === 0) && before + offset + length <= LONGEST_DATAGRAM
  }

  /**
   * A fragment that isSound().
   * @param protocol and `ports`: what a first fragment says
   * @returns FIRST_FRAGMENT: to be handled as whole packets are; LATER_FRAGMENT: to be sent behind the first
   */
  pass(
    frame: Frame,
    link: number,
    offset: number,
    length: number,
    isLast: boolean,
    protocol: number,
    ports: number,
  ): Verdict {
    if (this.hasPassed) return FIRST_FRAGMENT
    const fragments = this.#fragments
    const datagram = fragments.enter(this.name)
    if (datagram === NO_DATAGRAM) return this.#drops.drop(DROP_LIMIT)
    const isHeld = offset > 0 && !fragments.hasFirst(datagram)
    if (isHeld && !fragments.mayHold(datagram)) return this.#drops.drop(DROP_LIMIT)
    if (!fragments.note(datagram, offset, length, isLast)) return this.#drops.drop(DROP_OVERLAP)
    if (isHeld) {
      const copy = this.#waiting.keep(frame, link)
      if (copy === undefined) return this.#drops.drop(DROP_LIMIT)
      fragments.hold(datagram, copy)
      return CONSUMED
    }
    if (offset === 0) fragments.setFirst(datagram, protocol, ports)
    this.protocol = fragments.protocol(datagram)
    this.ports = fragments.ports(datagram)
    if (fragments.isComplete(datagram)) fragments.forget(datagram)
    return offset === 0 ? FIRST_FRAGMENT : LATER_FRAGMENT
  }
}
