/** The entries that make a change: what is in force -> what takes its place. Pure. */
import { isDeepStrictEqual } from 'node:util'
import type { ServiceAddress } from '../../../forwarder/service.ts'
import type { EntryState } from './entry-state.ts'
import type { Stamp } from './hybrid-logical-clock.ts'
import type { PoolDraft } from './pool-draft.ts'
import {
  addressOf,
  MARKS_KEY,
  type PoolEntry,
  peerEntryKey,
  SETTINGS_KEY,
  type Seen,
  seenAfter,
  serviceEntryKey,
} from './pool-entry.ts'

interface Origin {
  stamp: Stamp & Record<string, unknown>
  seen: Seen
}

/** Of a document of changes. Fields of entries that this version does not know stay. */
export function* draftedEntries(state: EntryState, draft: PoolDraft, stamp: Stamp): Generator<PoolEntry> {
  for (const { address, after } of draft.services()) {
    const before = state.get(serviceEntryKey(address))
    const origin = originOf(before, stamp)
    yield after ? { ...before, ...origin, kind: 'service', service: after } : tombstone(address, origin)
  }
  const { settings, marks } = draft
  const settingsBefore = state.get(SETTINGS_KEY)
  if (settings) yield { ...settingsBefore, ...originOf(settingsBefore, stamp), kind: 'settings', settings }
  if (!marks) return
  const marksBefore = state.get(MARKS_KEY)
  const rules = marks.map((rule) => ({ ...rule }))
  yield { ...marksBefore, ...originOf(marksBefore, stamp), kind: 'marks', rules }
}

/** Of what makes the configuration what it was; undefined for a step of which nothing came. @param replaced by key, what was there then */
export function* restoredEntries(
  state: EntryState,
  replaced: ReadonlyMap<string, PoolEntry | undefined>,
  stamp: Stamp,
): Generator<PoolEntry | undefined> {
  for (const [key, then] of replaced) {
    yield undefined
    const now = state.get(key)
    if (isDeepStrictEqual(contentOf(key, then), contentOf(key, now))) continue
    const origin = originOf(now, stamp)
    if (key === SETTINGS_KEY) yield then ? { ...then, ...origin } : { ...origin, kind: 'settings', settings: {} }
    else if (key === MARKS_KEY) yield then ? { ...then, ...origin } : { ...origin, kind: 'marks', rules: [] }
    else if (then?.kind === 'service') yield { ...then, ...origin }
    else if (now?.kind === 'service') yield tombstone(now.service, origin)
  }
}

/** Of a director that is shut out of the pool, or let in again. */
export function peerEntry(
  state: EntryState,
  { peer, revoked }: { peer: string; revoked: boolean },
  stamp: Stamp,
): PoolEntry {
  const before = state.get(peerEntryKey(peer))
  return { ...before, ...originOf(before, stamp), kind: 'peer', peer, revoked }
}

function originOf(before: PoolEntry | undefined, stamp: Stamp): Origin {
  return { stamp: { ...stamp }, seen: seenAfter(before) }
}

function tombstone(address: ServiceAddress, origin: Origin): PoolEntry {
  return { ...origin, kind: 'tombstone', service: addressOf(address) }
}

/** What an entry configures. */
function contentOf(key: string, entry: PoolEntry | undefined): unknown {
  if (entry?.kind === 'settings') return entry.settings
  if (entry?.kind === 'marks') return entry.rules
  if (entry?.kind === 'service') return entry.service
  if (key === SETTINGS_KEY) return {}
  return key === MARKS_KEY ? [] : undefined
}
