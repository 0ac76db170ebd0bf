/**
 * Groups of virtual addresses that move together: keepalived's vrrp_sync_group. They become active when all of them could, one that
 * yields takes the others along, and the fault of one is the fault of all. Pure but for what its members do.
 */
import type { RouterState } from './virtual-router.ts'

export interface SyncMember {
  readonly name: string
  readonly state: RouterState
  /** Would be active by now if it were alone. */
  readonly isReady: boolean
  /** Why it can take no part, the others left aside. */
  readonly ownFault: string | undefined
  activate(): void
  yield(reason: string): void
  /** Another member's, or undefined. */
  setSyncFault(reason: string | undefined): void
}

export class SyncGroup {
  readonly #name: string
  readonly #members: SyncMember[] = []

  constructor(name: string) {
    this.#name = name
  }

  add(member: SyncMember): void {
    this.#members.push(member)
  }

  /** To be called after each step of a member. */
  settle(member: SyncMember, before: RouterState): void {
    if (before === 'active' && member.state === 'backup') {
      for (const other of this.#members) other.yield(`${member.name} of sync group ${this.#name} yields`)
    }
    if (!member.isReady) return
    if (this.#members.some(({ state, isReady }) => state !== 'active' && !isReady)) return
    for (const each of this.#members) each.activate()
  }

  /** To be called when a member's own fault has come or gone. */
  faultChanged(): void {
    const faulty = this.#members.find(({ ownFault }) => ownFault !== undefined)
    const reason = faulty && `${faulty.name} of sync group ${this.#name}: ${faulty.ownFault}`
    for (const member of this.#members) member.setSyncFault(member === faulty ? undefined : reason)
  }
}
