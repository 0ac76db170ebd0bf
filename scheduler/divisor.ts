/** The greatest common divisor, by which weights are brought down to the smallest that say the same (Euclid). */

/** Of two integers >= 0; the other number when one of them is 0. */
export function greatestCommonDivisor(a: number, b: number): number {
  while (b > 0) [a, b] = [b, a % b]
  return a
}
