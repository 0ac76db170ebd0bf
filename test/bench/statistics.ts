/** Medians and percentiles: what a benchmark on a machine that also does other things can be believed on. */

/** @param share 0 to 1 */
export function percentile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))]
}

export function median(values: readonly number[]): number {
  return percentile(values, 0.5)
}
