/** `director config history` for people. Pure. */
import type { RevisionListing } from '../../director/control/answers.ts'
import { table } from './table.ts'

export function renderHistory(revisions: readonly RevisionListing[]): string {
  const rows = revisions.flatMap(({ revision, change }) => {
    if (!change) return [[revision, '', '', 'what there was before']]
    const { madeMs, director, summary, overridden } = change
    const first = [revision, new Date(madeMs).toISOString(), director, summary]
    return [first, ...overridden.map((what) => ['', '', '', `overrides ${what}`])]
  })
  return table(['Revision', 'When', 'Director', 'Change'], rows)
}
