/**
 * The entries that say who belongs to the pool: who is revoked, and who was let in by a token (admissions.ts). They are made here, and judged when
 * they come from a peer or the store. Who the peers are that follow from them is membership.ts's to say.
 */
import type { KeyObject } from 'node:crypto'
import { DirectorError } from '../../../protocol/errors.ts'
import type { JoinToken } from '../../../protocol/wire/join-token.ts'
import type { Transport } from '../cluster/transport.ts'
import { AdmissionReader, admissionEntry } from './admissions.ts'
import { peerEntry } from './entry-changes.ts'
import type { PeerIds, PoolMembers } from './membership.ts'
import type { PoolEntry } from './pool-entry.ts'
import type { ReplicatedEntries } from './replicated-entries.ts'

export interface MemberOptions {
  readonly transport: Pick<Transport, 'self'>
  /** Whoever may sign tokens by which directors join; without any such keys no token counts. */
  readonly poolKeys: readonly KeyObject[]
  readonly membership: PeerIds
}

/** An entry would let its sender in again, or has a token that none of the pool's keys has signed. */
export type MemberRefusal = 'revocations' | 'admissions'

type Entries = Pick<ReplicatedEntries, 'inForce' | 'isNews' | 'change' | 'revoke'>

export class MemberEntries {
  readonly #entries: Entries
  readonly #options: MemberOptions
  readonly #admissions: AdmissionReader

  constructor(entries: Entries, options: MemberOptions) {
    this.#entries = entries
    this.#options = options
    this.#admissions = new AdmissionReader(options.poolKeys)
  }

  current(): PoolMembers {
    const revoked = new Set<string>()
    const admitted: JoinToken[] = []
    for (const entry of this.#entries.inForce.values()) {
      if (entry.kind === 'peer' && entry.revoked) revoked.add(entry.peer)
      const token = entry.kind === 'admission' && this.#options.poolKeys.length > 0 && this.#admissions.tokenOf(entry)
      if (token) admitted.push(token)
    }
    return { revoked, admitted }
  }

  /**
   * Shuts a director out of the pool, or lets it in again.
   * @throws DirectorError INPUT_INVALID for this director itself; STORE_FAILED, when it is shut out all the same, but not let in
   */
  async setRevoked(peer: string, revoked: boolean): Promise<void> {
    const { transport, membership } = this.#options
    if (membership.idOf(transport.self) === peer) {
      const message = `${peer} is this director itself, which nobody would believe: run the command on another one`
      throw new DirectorError('INPUT_INVALID', message)
    }
    if (revoked) await this.#entries.revoke(peer)
    else await this.#entries.change(async (stamp) => [peerEntry(this.#entries.inForce, { peer, revoked }, stamp)])
  }

  /** Keeps and tells that a director has shown its token. @param token as it was read from `bytes` */
  admit(token: JoinToken, bytes: Uint8Array): Promise<void> {
    const entry = admissionEntry(token, bytes)
    return this.#entries.change(async () => (this.#entries.isNews(entry) ? [entry] : []))
  }

  /** @param from id of who tells of the entry; undefined: it was in the store, and its key may be none of the pool's any more */
  refusal(entry: PoolEntry, from?: string): MemberRefusal | undefined {
    // A revoked director that is faster than the news of it must not undo it.
    if (entry.kind === 'peer' && entry.peer === from) return 'revocations'
    return entry.kind === 'admission' && !this.#admissions.tokenOf(entry) ? 'admissions' : undefined
  }
}
