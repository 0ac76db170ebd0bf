/**
 * What the interfaces and scripts that a group tracks make of its priority. Pure; keepalived's rules (track_interface,
 * track_script): a weight above 0 is added while the tracked thing is well, one below 0 while it is not, and with weight 0 what is
 * not well is a fault. A script that has not ended yet adds and takes nothing; with weight 0 the group waits for it.
 */
import { PRIORITY_OWNER } from '../../../protocol/packet/vrrp.ts'
import type { TrackedStatus } from '../control/answers.ts'
import { afterCheck, type RiseFall, UNCHECKED } from '../health/rise-fall.ts'
import { PRIORITY_OUT_OF_SYNC } from './timing.ts'
import type { TrackConfig } from './vip-config.ts'

/** Whatever the weights are, a director stands for election: above one out of sync, below the owner of the addresses. */
const LOWEST = PRIORITY_OUT_OF_SYNC + 1
const HIGHEST = PRIORITY_OWNER - 1

export class Tracking {
  readonly #base: number
  readonly #track: TrackConfig
  /** By name; those that are not in it are well. */
  readonly #linkFaults = new Map<string, string>()
  readonly #scripts: { health: RiseFall; reason: string | undefined }[]

  constructor(base: number, track: TrackConfig = { interfaces: [], scripts: [] }) {
    this.#base = base
    this.#track = track
    this.#scripts = track.scripts.map(() => ({ health: UNCHECKED, reason: undefined }))
  }

  /** An interface has failed (a reason) or is well again (undefined). */
  setLink(name: string, fault: string | undefined): void {
    if (fault === undefined) this.#linkFaults.delete(name)
    else this.#linkFaults.set(name, fault)
  }

  /** A script has ended: why it failed, or undefined. */
  setScript(index: number, failure: string | undefined): void {
    const { rise, fall } = this.#track.scripts[index]
    const health = afterCheck(this.#scripts[index].health, failure === undefined, rise, fall)
    this.#scripts[index] = { health, reason: failure }
  }

  get status(): TrackedStatus[] {
    const interfaces = this.#track.interfaces.map(({ name, weight }): TrackedStatus => {
      const reason = this.#linkFaults.get(name) ?? null
      return { name, weight, state: reason === null ? 'up' : 'down', reason }
    })
    const scripts = this.#track.scripts.map(({ command: [name], weight }, index): TrackedStatus => {
      const { health, reason = null } = this.#scripts[index]
      return { name, weight, state: health.state, reason: health.state === 'up' ? null : reason }
    })
    return [...interfaces, ...scripts]
  }

  get priority(): number {
    const status = this.status
    if (status.every(({ weight }) => weight === 0)) return this.#base
    const sum = status.reduce((priority, tracked) => priority + contribution(tracked), this.#base)
    return Math.min(HIGHEST, Math.max(LOWEST, sum))
  }

  /** Why the group can take no part; undefined: it can. */
  get fault(): string | undefined {
    const failed = this.status.find(({ weight, state }) => weight === 0 && state !== 'up')
    if (!failed) return undefined
    const { name, state, reason } = failed
    return state === 'unknown' ? `${name} has not told yet whether all is well` : `${name}: ${reason}`
  }
}

function contribution({ weight, state }: TrackedStatus): number {
  return (weight > 0 ? state === 'up' : state === 'down') ? weight : 0
}
