/** What the fuzzer of messages asks of each wire: somebody who listens, and messages for him, most of which he must not believe. */
import type { Random } from '../../random.ts'

export interface Wire {
  /**
   * Brings some messages, as many as it says, and looks at what has come of them.
   * @throws Error when one had an effect that it must not have
   */
  bring(random: Random): number | Promise<number>
  /** What became of the messages, with counts. */
  readonly outcomes: Map<string, number>
  /** Looks once more at the whole, and lets go of it. @throws as bring() */
  close(): Promise<void>
}

export function count(outcomes: Map<string, number>, outcome: string): void {
  outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1)
}

export function demand(isSo: boolean, what: string, bytes?: Uint8Array): void {
  if (!isSo) throw new Error(bytes ? `${what}: ${Buffer.from(bytes).toString('hex')}` : what)
}

export function oneOf<T>(random: Random, choices: readonly T[]): T {
  return choices[random.below(choices.length)]
}

export function randomBytes(random: Random, length: number): Uint8Array {
  return Uint8Array.from({ length }, () => random.below(256))
}

/** A copy with a few bytes other than before, at least one of them, perhaps with a part doubled, taken out or of another message. */
export function mutated(random: Random, bytes: Uint8Array, others: readonly Uint8Array[] = []): Uint8Array {
  const copy = Buffer.from(bytes)
  for (let change = random.below(4); change >= 0; change--) {
    const at = random.below(copy.length)
    if (random.oneIn(4)) copy.subarray(at, at + 1 + random.below(8)).fill(oneOf(random, [0, 0x7f, 0x80, 0xff]))
    else copy[at] ^= 1 + random.below(255)
  }
  const [from, to] = [random.below(copy.length + 1), random.below(copy.length + 1)]
  switch (random.below(8)) {
    case 0:
      return copy.subarray(0, from)
    case 1:
      return Buffer.concat([copy.subarray(0, Math.max(from, to)), copy.subarray(Math.min(from, to))])
    case 2:
      return Buffer.concat([copy.subarray(0, Math.min(from, to)), copy.subarray(Math.max(from, to))])
    case 3:
      return others.length > 0 ? Buffer.concat([copy.subarray(0, from), oneOf(random, others).subarray(to)]) : copy
    default:
      return copy
  }
}
