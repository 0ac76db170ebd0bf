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

/** The rate after `counted` in the last ESTIMATION_INTERVAL_MS, with its fraction bits as `rate` has them. */
export function nextRate(rate: number, counted: number, fractionBits: number): number {
  const scaled = (counted * 2 ** fractionBits) / (ESTIMATION_INTERVAL_MS / 1000)
  return rate + Math.floor((scaled - rate) * WEIGHT)
}

/** To the nearest whole number; a half is rounded down. */
export function perSecond(rate: number, fractionBits: number): number {
  const one = 2 ** fractionBits
  return Math.floor((rate + one / 2 - 1) / one)
}
