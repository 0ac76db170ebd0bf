/**
 * Rates per second as IPVS estimates them: every two seconds a quarter of the way to what was counted in between.
 *
 * In fixed point and rounded as the kernel does it, since an operator sees the difference: four connections in two seconds are
 * half a connection a second at first, and shown as none.
 *
 * Source: Linux 6.1 net/netfilter/ipvs/ip_vs_est.c.
 */
export const ESTIMATION_INTERVAL_MS = 2000
/** Of connections and packets a second. */
export const FRACTION_BITS = 10
export const FRACTION_BITS_OF_BYTES = 5
const WEIGHT = 1 / 4

export class RateEstimator {
  /** What had been counted when the rate was last estimated. */
  total: number
  readonly #one: number
  #scaled = 0

  /**
   * @param total what has been counted before
   * @param fractionBits of the rate, after its point
   */
  constructor(total: number, fractionBits: number) {
    this.total = total
    this.#one = 2 ** fractionBits
  }

  /** To be called every ESTIMATION_INTERVAL_MS. @param total counted so far */
  tick(total: number): void {
    const counted = ((total - this.total) * this.#one) / (ESTIMATION_INTERVAL_MS / 1000)
    this.#scaled += Math.floor((counted - this.#scaled) * WEIGHT)
    this.total = total
  }

  /** To the nearest whole number; a half is rounded down. */
  get perSecond(): number {
    return Math.floor((this.#scaled + this.#one / 2 - 1) / this.#one)
  }
}
