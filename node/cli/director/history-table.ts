/** `director config history` for people. Pure. */
import type { RevisionListing } from '../../director/control/answers.ts'
import { table } from './table.ts'

export function renderHistory(revisions: readonly RevisionListing[]): string {
  const rows = revisions.flatMap(({ revision, change }) => {
    if (!change) return [[revision, '', '', 'what there was before']]
    const { madeMs, director, summary, overridden, beside } = change
    const first = [revision, new Date(madeMs).toISOString(), director, summary]
    const notes = [...overridden.map((what) => `overrides ${what}`), ...beside.map((what) => `beside ${what}`)]
    return [first, ...notes.map((note) => ['', '', '', note])]
  })
  return table(['Revision', 'When', 'Director', 'Change'], rows)
}
