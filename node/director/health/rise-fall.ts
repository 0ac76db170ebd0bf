/**
 * When a row of check results makes a server live or dead. Pure.
 *
 * `fall` failures in a row make a live server dead, `rise` successes in a row a dead one live; one result of the other kind
 * starts the count anew (keepalived's and HAProxy's rule). A server of which nothing is known is used, so its first success
 * is enough to call it live, while it takes `fall` failures to call it dead.
 */
export type HealthState = 'up' | 'down' | 'unknown'

export interface RiseFall {
  readonly state: HealthState
  /** Results in a row that speak against `state`. */
  readonly streak: number
}

export const UNCHECKED: RiseFall = { state: 'unknown', streak: 0 }

export function afterCheck(before: RiseFall, success: boolean, rise: number, fall: number): RiseFall {
  const { state } = before
  if (success ? state === 'up' : state === 'down') return { state, streak: 0 }
  if (success && state === 'unknown') return { state: 'up', streak: 0 }
  const streak = before.streak + 1
  if (streak < (success ? rise : fall)) return { state, streak }
  return { state: success ? 'up' : 'down', streak: 0 }
}
