/** What a change did, in one line for the history. */
import { z } from 'zod'
import { marksDifference, serviceDifference, settingsDifference } from './difference.ts'
import type { PoolEntry } from './pool-entry.ts'

/** One entry that a change put in the place of another. */
export interface Replacement {
  readonly before: PoolEntry | undefined
  readonly after: PoolEntry
}

/** Can be added up: a change of a peer may come in several messages. */
export const summarySchema = z.strictObject({
  added: z.int(),
  changed: z.int(),
  removed: z.int(),
  settings: z.boolean(),
  marks: z.boolean(),
  /** How many changes of others it overrides, and how many were made at the same time; absent: none. */
  overridden: z.int().optional(),
  beside: z.int().optional(),
  /** In full, where it is about one entry alone. */
  line: z.string().optional(),
})
export type ChangeSummary = z.infer<typeof summarySchema>

export function summarise(replacements: readonly Replacement[]): ChangeSummary {
  const summary: ChangeSummary = { added: 0, changed: 0, removed: 0, settings: false, marks: false }
  for (const { before, after } of replacements) {
    if (after.kind === 'settings') summary.settings = true
    else if (after.kind === 'marks') summary.marks = true
    else if (after.kind === 'tombstone') summary.removed++
    else if (before?.kind === 'service') summary.changed++
    else summary.added++
  }
  if (replacements.length === 1) summary.line = lineOf(replacements[0])
  return summary
}

/** How many entries a change has replaced, at least. */
export function entriesOf({ added, changed, removed, settings, marks }: ChangeSummary): number {
  return added + changed + removed + Number(settings) + Number(marks)
}

export function addSummaries(one: ChangeSummary, other: ChangeSummary): ChangeSummary {
  return {
    added: one.added + other.added,
    changed: one.changed + other.changed,
    removed: one.removed + other.removed,
    settings: one.settings || other.settings,
    marks: one.marks || other.marks,
    overridden: (one.overridden ?? 0) + (other.overridden ?? 0),
    beside: (one.beside ?? 0) + (other.beside ?? 0),
  }
}

export function summaryText({ added, changed, removed, settings, marks, line }: ChangeSummary): string {
  if (line !== undefined) return line
  const counts = Object.entries({ added, changed, removed }).filter(([, count]) => count > 0)
  const services = counts.map(([what, count]) => `${count} service${count === 1 ? '' : 's'} ${what}`)
  return [...services, ...(settings ? ['settings'] : []), ...(marks ? ['mark rules'] : [])].join(', ')
}

function lineOf({ before, after }: Replacement): string {
  const [first, ...more] = [...differenceOf(before, after)].filter((line) => line !== undefined)
  if (first === undefined) return 'no difference'
  return more.length > 0 ? `${first}, and ${more.length} more` : first
}

function differenceOf(before: PoolEntry | undefined, after: PoolEntry): Iterable<string | undefined> {
  if (after.kind === 'settings') {
    return settingsDifference(before?.kind === 'settings' ? before.settings : {}, after.settings)
  }
  if (after.kind === 'marks') return marksDifference(before?.kind === 'marks' ? before.rules : [], after.rules)
  return serviceDifference(
    before?.kind === 'service' ? before.service : undefined,
    after.kind === 'service' ? after.service : undefined,
  )
}
