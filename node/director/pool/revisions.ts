/** Revisions in words: what a change from here or from a peer is to the history, what is listed, what is refused. Pure. */
import { serviceKey } from '../../../forwarder/service.ts'
import { DirectorError } from '../../../protocol/errors.ts'
import type { RevisionListing } from '../control/answers.ts'
import { startPace } from '../pace.ts'
import { type Replacement, summaryText } from './change-summary.ts'
import { compareStamps, type Stamp } from './hybrid-logical-clock.ts'
import { isRevised, type PoolEntries } from './pool-entries.ts'
import { entryKey, hasSeen, type PoolEntry } from './pool-entry.ts'
import type { HistoricChange, RevisionHistory } from './revision-history.ts'

/**
 * Who belongs to the pool is in no revision: to go back to one must let nobody in again. Nor is the removal of what was never known here. Revocations
 * that are overridden are told all the same.
 * @param entries that will be put, each under a key of its own, in the order of their stamps
 */
export async function historicChanges(state: PoolEntries, entries: readonly PoolEntry[]): Promise<HistoricChange[]> {
  const pace = startPace()
  const forecast = state.forecast()
  const changes: HistoricChange[] = []
  for (let from = 0; from < entries.length; ) {
    const { stamp } = entries[from]
    const before = forecast.revision
    const replacements: Replacement[] = []
    const overridden: string[] = []
    for (; from < entries.length && compareStamps(entries[from].stamp, stamp) === 0; from++) {
      const after = entries[from]
      const key = entryKey(after)
      const known = state.get(key)
      if (isRevised(after) || (known && isRevised(known))) replacements.push({ before: known, after })
      if (known && !hasSeen(after, known.stamp)) overridden.push(describeEntry(known))
      forecast.put(key, after)
      await pace()
    }
    changes.push({ id: forecast.revision, before, stamp, replacements, overridden })
  }
  return changes
}

/** @param revisions newest first */
export function listRevisions(revisions: RevisionHistory['revisions'], current: string): RevisionListing[] {
  const listed = revisions.map(
    ({ id, stamp, summary, overridden }): RevisionListing => ({
      revision: id,
      change: { madeMs: stamp.wallMs, director: stamp.director, summary: summaryText(summary), overridden },
    }),
  )
  return [...listed, { revision: revisions.at(-1)?.before ?? current, change: null }]
}

/**
 * Refuses a change of a configuration that is another by now.
 * @throws DirectorError REVISION_CONFLICT
 */
export function demandRevision(basedOn: string, current: string, revisions: RevisionHistory['revisions']): void {
  if (basedOn === current) return
  const at = revisions.findIndex(({ before }) => before === basedOn)
  const since = revisions.slice(0, at + 1)
  const changes = since.map(({ stamp, summary }) => `${summaryText(summary)} (${describeStamp(stamp)})`)
  const what =
    changes.length > 0
      ? `changed since, newest first: ${changes.slice(0, 3).join('; ')}${changes.length > 3 ? `; and ${changes.length - 3} more` : ''}`
      : 'this director does not know that one'
  const message = `the configuration is at revision ${current}, and the change was based on ${basedOn}: ${what}: nothing is changed; look at it as it is now, and change that`
  throw new DirectorError('REVISION_CONFLICT', message)
}

/** "tcp 10.0.0.100:80 by d1, 2026-01-01T00:00:00.000Z". */
function describeEntry(entry: PoolEntry): string {
  return `${nameOf(entry)} ${describeStamp(entry.stamp)}`
}

function nameOf(entry: PoolEntry): string {
  if (entry.kind === 'settings') return 'settings'
  if (entry.kind === 'marks') return 'mark rules'
  if (entry.kind === 'admission') return `token of peer ${entry.peer}`
  if (entry.kind === 'peer') return `${entry.revoked ? 'revoked' : 'admitted'} peer ${entry.peer}`
  return entry.kind === 'tombstone' ? `removal of ${serviceKey(entry.service)}` : serviceKey(entry.service)
}

function describeStamp({ director, wallMs }: Stamp): string {
  return `by ${director}, ${new Date(wallMs).toISOString()}`
}
