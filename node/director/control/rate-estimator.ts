/**
 * Rates per second as IPVS estimates them: every two seconds a quarter of the way to what was counted in between.
 *
 * The kernel reckons in fixed point with ten bits after the point (five for bytes); numbers here have more, and are rounded
 * when they are read.
 *
 * Source: Linux net/netfilter/ipvs/ip_vs_est.c.
 */
export const ESTIMATION_INTERVAL_MS = 2000
const WEIGHT = 1 / 4

export class RateEstimator {
  #total: number
  #perSecond = 0

  /** @param total what has been counted before */
  constructor(total: number) {
    this.#total = total
  }

  /** To be called every ESTIMATION_INTERVAL_MS. @param total counted so far */
  tick(total: number): void {
    const counted = (total - this.#total) / (ESTIMATION_INTERVAL_MS / 1000)
    this.#perSecond += (counted - this.#perSecond) * WEIGHT
    this.#total = total
  }

  get perSecond(): number {
    return Math.round(this.#perSecond)
  }
}
