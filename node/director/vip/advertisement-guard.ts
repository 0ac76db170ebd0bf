/**
 * Tells a new advertisement from one that was recorded on the network and sent again, or held back.
 *
 * A run of a sender (protocol/packet/vrrp-trailer.ts) that is not known here is believed by the wall clock: what it sends must be
 * of the last 30 s. So after a restart, when nothing is known, what was recorded longer ago is worth nothing. Of a run that is
 * known, each sequence number must be above the last; and since the number is a time too, as much time must have passed there as
 * here, to 30 s. So a step of either wall clock makes no peer a stranger: it would leave two directors active.
 *
 * (Of agents' reports, load/replay-guard.ts asks the wall clock each time: a report that is not believed costs little.)
 */
import { SEQUENCE_PER_MS, type Stamp } from '../../../protocol/packet/vrrp-trailer.ts'

const WINDOW_MS = 30_000
/** Two monotonic clocks may drift apart by so much of the time: twice what Linux lets NTP slew one (500 ppm). */
const MOST_DRIFT = 0.001
/** Only who has a key can be a new run; the one that was silent longest makes room. */
const MOST_RUNS = 256

interface Run {
  readonly sequence: number
  readonly heardMs: number
  /** Of its advertisements the shortest time on the way, plus the distance between the two clocks. */
  readonly transitMs: number
}

export class AdvertisementGuard {
  /** The one that was silent longest first. */
  readonly #runs = new Map<string, Run>()

  /**
   * Why it is not believed, or undefined when it is; then it counts as heard.
   * @param nowMs of a clock that never jumps
   * @param wallClockMs since 1970
   */
  check({ run, sequence, sentAtMs }: Stamp, nowMs: number, wallClockMs: number): 'replay' | 'clock' | undefined {
    const known = this.#runs.get(run)
    if (known && sequence <= known.sequence) return 'replay'
    const transitMs = nowMs - sequence / SEQUENCE_PER_MS
    const shortestMs = known ? known.transitMs + (nowMs - known.heardMs) * MOST_DRIFT : Number.NEGATIVE_INFINITY
    const isPunctual = transitMs - shortestMs <= WINDOW_MS
    if (!isPunctual && Math.abs(sentAtMs - wallClockMs) > WINDOW_MS) return 'clock'
    this.#runs.delete(run)
    if (this.#runs.size >= MOST_RUNS) this.#runs.delete(this.#runs.keys().next().value as string)
    // A sender that was suspended has a clock that stood still: it is measured anew.
    this.#runs.set(run, {
      sequence,
      heardMs: nowMs,
      transitMs: isPunctual ? Math.min(transitMs, shortestMs) : transitMs,
    })
    return undefined
  }
}
