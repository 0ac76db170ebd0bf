/**
 * Reads a run's TAP line by line and keeps what a person wants to see of it: one line for every test file, every failure with
 * its diagnosis, and the counts.
 *
 * Source: TAP 14; subtests are indented by four blanks, the diagnosis stands between `---` and `...`.
 */
export interface TapCounts {
  readonly passed: number
  readonly failed: number
  readonly skipped: number
}

export class TapSummary {
  /** Of all assertions; undefined until the run has ended properly. */
  counts: TapCounts | undefined
  /** The file at hand has shown an assertion that failed, so its subtests need not explain themselves. */
  #isExplained = false
  #diagnosis: 'none' | 'expected' | 'shown' = 'none'

  /** @returns what is to be shown for this line, if anything */
  read(line: string): string | undefined {
    if (this.#diagnosis === 'shown') return this.#readDiagnosis(line)
    if (this.#diagnosis === 'expected' && /^\s*---$/.test(line)) {
      this.#diagnosis = 'shown'
      return line
    }
    this.#diagnosis = 'none'
    const total = /^# \{ (.*) \}$/.exec(line)
    if (total) this.counts = parseCounts(total[1])
    if (/^\s*(ok|not ok)\b.*# (SKIP|TODO)/i.test(line) || /^Bail out!/.test(line)) return line
    const isFile = /^(ok|not ok) \d+ - /.test(line)
    if (/^\s*not ok\b/.test(line)) this.#startFailure(line)
    else if (!isFile) return undefined
    if (isFile) this.#isExplained = false
    return line
  }

  /** Subtests and files have a time, assertions have none. */
  #startFailure(line: string): void {
    const isAssertion = !line.includes('# time=')
    this.#diagnosis = isAssertion || !this.#isExplained ? 'expected' : 'none'
    if (isAssertion) this.#isExplained = true
  }

  #readDiagnosis(line: string): string {
    if (/^\s*\.\.\.$/.test(line)) this.#diagnosis = 'none'
    return line
  }
}

/** `total: 3, pass: 1, skip: 1, fail: 1`. */
function parseCounts(text: string): TapCounts {
  const numbers = new Map(text.split(', ').map((pair) => [pair.split(': ')[0], Number(pair.split(': ')[1])]))
  return { passed: numbers.get('pass') ?? 0, failed: numbers.get('fail') ?? 0, skipped: numbers.get('skip') ?? 0 }
}

export function addCounts(one: TapCounts, other: TapCounts): TapCounts {
  return {
    passed: one.passed + other.passed,
    failed: one.failed + other.failed,
    skipped: one.skipped + other.skipped,
  }
}

/** A run that broke off, or that says it failed without naming a failure, has failed once. */
export function failedCount(counts: TapCounts | undefined, exitStatus: number): TapCounts {
  const known = counts ?? { passed: 0, failed: 1, skipped: 0 }
  return exitStatus !== 0 && known.failed === 0 ? { ...known, failed: 1 } : known
}
