/** Revisions in words: what a change from here or from a peer is to the history, what is listed, what is refused. Pure. */
import { serviceKey } from '../../../forwarder/service.ts'
import { DirectorError } from '../../../protocol/errors.ts'
import type { RevisionListing } from '../control/answers.ts'
import { startPace } from '../pace.ts'
import { type Replacement, summarise, summaryText } from './change-summary.ts'
import { compareStamps, type Stamp } from './hybrid-logical-clock.ts'
import { isRevised, type PoolEntries } from './pool-entries.ts'
import { covers, entryKey, hasSeen, type PoolEntry } from './pool-entry.ts'
import { type HistoricChange, REVISIONS_MAX, type Revision, type RevisionHistory } from './revision-history.ts'

/**
 * Who belongs to the pool is in no revision: to go back to one must let nobody in again. Nor is the removal of what was never known here. Revocations
 * that are overridden are told all the same.
 * @param entries that will be put, each under a key of its own, in the order of their stamps
 * @param revisions that there are
 */
export async function historicChanges(
  state: PoolEntries,
  entries: readonly PoolEntry[],
  revisions: RevisionHistory['revisions'],
): Promise<HistoricChange[]> {
  const pace = startPace()
  const forecast = state.forecast()
  const changes: HistoricChange[] = []
  const known: KnownRevision[] = revisions.toReversed()
  for (let from = 0; from < entries.length; ) {
    const { stamp, knew } = entries[from]
    const before = forecast.revision
    const replacements: Replacement[] = []
    const overridden: PoolEntry[] = []
    for (; from < entries.length && compareStamps(entries[from].stamp, stamp) === 0; from++) {
      const after = entries[from]
      const key = entryKey(after)
      const replaced = state.get(key)
      if (isRevised(after) || (replaced && isRevised(replaced))) replacements.push({ before: replaced, after })
      if (replaced && !hasSeen(after, replaced.stamp)) overridden.push(replaced)
      forecast.put(key, after)
      await pace()
    }
    const change = {
      id: forecast.revision,
      before,
      stamp,
      knew,
      replacements,
      overridden: overridden.map(describeEntry),
    }
    const isOverridden = (other: Stamp) => overridden.some((entry) => compareStamps(entry.stamp, other) === 0)
    const beside = known.filter((other) => areSimultaneous(change, other) && !isOverridden(other.stamp))
    changes.push({ ...change, beside: replacements.length > 0 ? beside.map(describeRevision) : [] })
    if (replacements.length > 0) known.push(change)
    if (known.length > REVISIONS_MAX) known.shift()
  }
  return changes
}

type KnownRevision = Pick<Revision, 'id' | 'stamp' | 'knew'> &
  Partial<Pick<Revision, 'summary'> & Pick<HistoricChange, 'replacements'>>

/** Whether neither of those who made them knew of the other. The newer one's author is known to have known of the older one, if of any. */
function areSimultaneous(one: Pick<Revision, 'stamp' | 'knew'>, other: Pick<Revision, 'stamp' | 'knew'>): boolean {
  const [older, newer] = compareStamps(one.stamp, other.stamp) < 0 ? [one, other] : [other, one]
  return one.stamp.director !== other.stamp.director && !covers(newer.knew, older.stamp)
}

/** @param revisions newest first */
export function listRevisions(revisions: RevisionHistory['revisions'], current: string): RevisionListing[] {
  const listed = revisions.map(({ id, stamp, summary, overridden, beside = [] }): RevisionListing => {
    const change = {
      madeMs: stamp.wallMs,
      director: stamp.director,
      summary: summaryText(summary),
      overridden: withRest(overridden, summary.overridden),
      beside: withRest(beside, summary.beside),
    }
    return { revision: id, change }
  })
  return [...listed, { revision: revisions.at(-1)?.before ?? current, change: null }]
}

/** What there was no room for is a number. */
export function withRest(first: readonly string[], all = first.length): string[] {
  return all > first.length ? [...first, `${all - first.length} more`] : [...first]
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
export function describeEntry(entry: PoolEntry): string {
  return `${nameOf(entry)} ${describeStamp(entry.stamp)}`
}

/** "3f1c9a0b77e2 by d1, 2026-01-01T00:00:00.000Z: 2 services added". */
function describeRevision({ id, stamp, summary, replacements = [] }: KnownRevision): string {
  return `${id} ${describeStamp(stamp)}: ${summaryText(summary ?? summarise(replacements))}`
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
