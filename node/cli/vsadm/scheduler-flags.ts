/**
 * Flags of schedulers (-b). There are three of them, and sh and mh have names of their own for the first two: whatever name
 * one was given by, it is shown by the scheduler's. Source: ipvsadm(8) 1.31 and recordings of it.
 */
import { UsageError } from './request.ts'

export type SchedulerFlag = (typeof PLAIN)[number] | `${'sh' | 'mh'}-${'fallback' | 'port'}`

const PLAIN = ['flag-1', 'flag-2', 'flag-3'] as const
const NAMED: Readonly<Record<string, readonly SchedulerFlag[]>> = {
  sh: ['sh-fallback', 'sh-port'],
  mh: ['mh-fallback', 'mh-port'],
}
/** What ipvsadm has room for; the rest is not read. */
const WORDS_LENGTH = 127

/** The flags in their order, each by its scheduler's name for it. @throws UsageError */
export function readSchedulerFlags(words: string, scheduler: string): readonly SchedulerFlag[] {
  if (words === '') return []
  const numbers = new Set<number>()
  for (const word of words.slice(0, WORDS_LENGTH).split(',').filter(Boolean)) {
    const plain = PLAIN.map(String).indexOf(word)
    const owner = Object.keys(NAMED).find((name) => NAMED[name].some((flag) => flag === word))
    if (plain < 0 && owner === undefined) throw new UsageError(`invalid scheduler flag \`${word}'`)
    if (owner !== undefined && owner !== scheduler) throw new UsageError(`incompatible scheduler flag \`${word}'`)
    numbers.add(owner === undefined ? plain : NAMED[owner].map(String).indexOf(word))
  }
  const names = { ...PLAIN, ...NAMED[scheduler] }
  return [0, 1, 2].filter((number) => numbers.has(number)).map((number) => names[number])
}

/** As listings show them: a third flag of sh or mh, which has no name there, is not shown. */
export function showSchedulerFlags(flags: readonly string[], scheduler: string): string {
  return flags.filter((flag) => !Object.hasOwn(NAMED, scheduler) || flag !== 'flag-3').join(',')
}
