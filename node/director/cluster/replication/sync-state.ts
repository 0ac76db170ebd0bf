/**
 * Whether this director's table is as good as anybody's, and if not, why: what `director status` shows, and what a director must be
 * before it takes a VIP back from another.
 */
import type { PeerName } from '../transport.ts'
import type { JoinDecision } from './join-decision.ts'
import type { SenderView } from './sender-view.ts'

export interface SyncState {
  readonly inSync: boolean
  /** Why, in words for an operator. */
  readonly reason: string
}

export interface SyncFacts {
  readonly now: number
  readonly isJoined: boolean
  readonly joining: () => JoinDecision
  /** The snapshot being taken. */
  readonly snapshot: { readonly peer: PeerName; readonly records: number; readonly fraction: number } | undefined
  /** Records given to the forwarder from the director's own checkpoint; undefined unless it is being read. */
  readonly restoring: number | undefined
  /** Snapshots needed, and why. */
  readonly wanted: ReadonlyMap<PeerName, string>
  readonly views: readonly SenderView[]
  /** A peer has been connected, and lost. */
  readonly hadPeers: boolean
  /** When peers were reached again, after none was. */
  readonly regainedAt: number
  /** The forwarder has had no room for what peers told. */
  readonly isFull: boolean
  readonly isForwarderBehind: boolean
}

/** Peers that are up are reached within this time. */
export const START_GRACE_MS = 2000
/** A number missing for longer than this is more than the order of arrival. */
export const SYNC_LIMIT_MS = 100

export function judgeSync(facts: SyncFacts): SyncState {
  const reason = whatIsWrong(facts)
  return { inSync: reason === undefined, reason: reason ?? 'has all that the peers sent' }
}

function whatIsWrong(facts: SyncFacts): string | undefined {
  const { now, snapshot, wanted, views } = facts
  if (snapshot) {
    const why = wanted.get(snapshot.peer)
    const progress = `${snapshot.records} records, ${Math.floor(snapshot.fraction * 100)} % of its table`
    return `waits for snapshot from ${snapshot.peer}: ${progress}${why ? ` (${why})` : ''}`
  }
  const unreadable = views.find((view) => view.connected && view.isUnreadable)
  if (unreadable)
    return `${unreadable.name} speaks version ${unreadable.formatVersion} of the formats, which is not read here`
  if (facts.restoring !== undefined) return `reads its own checkpoint: ${facts.restoring} records`
  if (!facts.isJoined) {
    const decision = facts.joining()
    return decision.kind === 'wait' ? decision.reason : 'is about to join'
  }
  const connected = views.filter((view) => view.connected)
  for (const view of connected) if (wanted.has(view.name)) return `needs a snapshot: ${wanted.get(view.name)}`
  // Peers go on without a director that was frozen or cut off: it knows nothing before it has heard them again. One that has
  // just started may be the only one cut off: what it has found is worth nothing beside what the others may have.
  if (views.length > 0 && connected.length === 0)
    return facts.hadPeers ? 'reaches no peer any more' : 'has reached no peer since it started'
  if (connected.length < views.length && now - facts.regainedAt < START_GRACE_MS)
    return `waits for peers: ${connected.length} of ${views.length} reached again`
  for (const view of connected) {
    const since = view.missingSince
    if (view.presenceAt < view.heardFrom) return `waits to hear from ${view.name}`
    if (!view.isAnswered) return `waits to be heard by ${view.name}`
    if (!view.isCaughtUp || (since !== undefined && now - since > SYNC_LIMIT_MS))
      return `misses ${view.recordsBehind} records of ${view.name}`
  }
  if (facts.isFull) return 'its table has no room for all that the peers sent'
  return facts.isForwarderBehind ? 'the forwarder is behind with what the peers sent' : undefined
}
