/**
 * How a director that has just started comes to a table it can trust: a copy from a peer that has one; or, when nobody it can
 * reach has one, the newcomer with the lowest name declares its own table (empty, or from its checkpoint) to be the pool's, and the others copy it.
 */
import type { PeerName } from '../transport.ts'

export interface JoinCandidate {
  readonly name: PeerName
  /** Undefined: it has not yet spoken. */
  readonly state: 'newcomer' | 'joined' | 'in-sync' | undefined
  /** A snapshot from it failed a moment ago. */
  readonly avoided: boolean
}

export type JoinDecision =
  | { readonly kind: 'copy'; readonly from: PeerName }
  | { readonly kind: 'found' }
  | { readonly kind: 'wait'; readonly reason: string }

/**
 * @param reachable the peers connected now
 * @param configured how many peers there should be
 * @param graceOver the time in which peers that are up should have been reached has passed
 */
export function decideJoin(
  self: PeerName,
  reachable: readonly JoinCandidate[],
  configured: number,
  graceOver: boolean,
): JoinDecision {
  const able = reachable.filter((peer) => peer.state === 'in-sync' || peer.state === 'joined')
  const best = able.sort(byPreference)[0]
  // Asked again at once it would fail again at once, for ever.
  if (best?.avoided) return { kind: 'wait', reason: `waits a moment before it asks ${best.name} again` }
  if (best) return { kind: 'copy', from: best.name }
  if (!graceOver && reachable.length < configured)
    return { kind: 'wait', reason: `waits for peers: ${reachable.length} of ${configured} reached` }
  const silent = reachable.find((peer) => peer.state === undefined)
  if (silent) return { kind: 'wait', reason: `waits to hear from ${silent.name}` }
  const lower = reachable
    .map((peer) => peer.name)
    .filter((name) => name < self)
    .sort()[0]
  if (lower !== undefined) return { kind: 'wait', reason: `waits for ${lower}, which starts the pool` }
  return { kind: 'found' }
}

function byPreference(a: JoinCandidate, b: JoinCandidate): number {
  return (
    Number(a.avoided) - Number(b.avoided) ||
    Number(b.state === 'in-sync') - Number(a.state === 'in-sync') ||
    (a.name < b.name ? -1 : 1)
  )
}
