/** What an operator's change makes of the pool's mark rules. Pure: the list as it is -> as it will be. */
import { isDeepStrictEqual } from 'node:util'
import type { MarkRule } from '../../../forwarder/service.ts'
import { DirectorError } from '../../../protocol/errors.ts'

/** A rule is asked for each new connection until one matches, so that many cost time. */
const RULES_MAX = 256

/**
 * @param at its place in the list, from 1; undefined: the last
 * @throws DirectorError MARK_EXISTS or INPUT_INVALID; then nothing is changed
 */
export function withMark(rules: readonly MarkRule[], rule: MarkRule, at = rules.length + 1): MarkRule[] {
  const index = indexOf(rules, rule)
  if (index >= 0) {
    const message = `the rule "${describeMark(rule)}" is there already, in place ${index + 1}: delete it first to move it`
    throw new DirectorError('MARK_EXISTS', message)
  }
  if (rules.length >= RULES_MAX) {
    throw new DirectorError(
      'INPUT_INVALID',
      `there are ${RULES_MAX} mark rules, and no more are allowed: delete some first`,
    )
  }
  if (at > rules.length + 1) {
    throw new DirectorError(
      'INPUT_INVALID',
      `place ${at}: expected 1 to ${rules.length + 1}, one more than there are rules`,
    )
  }
  return rules.toSpliced(at - 1, 0, rule)
}

/** @throws DirectorError MARK_MISSING; then nothing is changed */
export function withoutMark(rules: readonly MarkRule[], rule: MarkRule): MarkRule[] {
  const index = indexOf(rules, rule)
  if (index >= 0) return rules.toSpliced(index, 1)
  const message = `there is no rule "${describeMark(rule)}": \`director mark list\` shows all, and a rule is deleted by all it says`
  throw new DirectorError('MARK_MISSING', message)
}

/**
 * Exactly these rules, in this order.
 * @returns `current` itself when there are these already
 * @throws DirectorError MARK_EXISTS or INPUT_INVALID; then nothing is changed
 */
export function withWholeMarks(current: readonly MarkRule[], wanted: readonly MarkRule[]): readonly MarkRule[] {
  const rules = wanted.reduce<MarkRule[]>((before, rule) => withMark(before, rule), [])
  return isDeepStrictEqual(rules.map(describeMark), current.map(describeMark)) ? current : rules
}

/** "9 --protocol tcp --destination 10.3.0.0/24 --port 80-90": the same for rules that say the same. */
export function describeMark({ mark, protocol, source, destination, firstPort, lastPort, link }: MarkRule): string {
  const words = [String(mark)]
  if (protocol !== undefined) words.push('--protocol', protocol)
  if (source !== undefined) words.push('--source', source)
  if (destination !== undefined) words.push('--destination', destination)
  if (firstPort !== undefined) words.push('--port', portsOf({ firstPort, lastPort }))
  if (link !== undefined) words.push('--interface', link)
  return words.join(' ')
}

/** "80" or "80-90". */
export function portsOf({ firstPort, lastPort = firstPort }: { firstPort: number; lastPort?: number }): string {
  return firstPort === lastPort ? String(firstPort) : `${firstPort}-${lastPort}`
}

function indexOf(rules: readonly MarkRule[], rule: MarkRule): number {
  const wanted = describeMark(rule)
  return rules.findIndex((other) => describeMark(other) === wanted)
}
