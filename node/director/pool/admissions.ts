/**
 * The entries by which a pool knows who has shown a token. An entry is made of its token alone, so directors who saw the same one have the same
 * entry, and the token issued last for a director is the newest; and it proves itself, so that nobody need be believed who tells of it.
 */
import type { KeyObject } from 'node:crypto'
import { DirectorError } from '../../../protocol/errors.ts'
import { type JoinToken, joinTokenBytes, joinTokenText, readJoinToken } from '../../../protocol/wire/join-token.ts'
import type { TokenRefusal } from '../cluster/admission.ts'
import { isPeerId } from '../cluster/identity.ts'
import { compareStamps, type Stamp } from './hybrid-logical-clock.ts'
import type { MemberEntries } from './member-entries.ts'
import type { Membership } from './membership.ts'
import type { PoolEntry } from './pool-entry.ts'

/** Of more tokens than this, some are verified again: many times what directors a pool has. */
export const REMEMBERED_MAX = 512

type Admission = Extract<PoolEntry, { kind: 'admission' }>

/** @param token as readJoinToken() has read it from `bytes` */
export function admissionEntry(token: JoinToken, bytes: Uint8Array): Admission {
  return { kind: 'admission', stamp: { ...stampOf(token) }, peer: token.peer, token: joinTokenText(bytes) }
}

/** Reads entries of peers and of the store. A signature is verified once: other keys are another reader's, which remembers nothing. */
export class AdmissionReader {
  readonly #keys: readonly KeyObject[] | undefined
  /** Those that are signed, by their text, which is one only for the same bytes. */
  readonly #tokens = new Map<string, JoinToken>()

  /** @param keys of the pool; none: whoever has signed a token */
  constructor(keys: readonly KeyObject[]) {
    this.#keys = keys.length > 0 ? keys : undefined
  }

  /** The token of an entry that is what its token makes it. */
  tokenOf({ peer, stamp, token: text }: Admission): JoinToken | undefined {
    const token = this.#tokens.get(text) ?? this.#read(text)
    return token && token.peer === peer && compareStamps(stampOf(token), stamp) === 0 ? token : undefined
  }

  #read(text: string): JoinToken | undefined {
    const bytes = joinTokenBytes(text)
    const token = bytes && readJoinToken(bytes, this.#keys)
    if (typeof token !== 'object' || !isPeerId(token.peer)) return undefined
    if (this.#tokens.size >= REMEMBERED_MAX) this.#tokens.clear()
    this.#tokens.set(text, token)
    return token
  }
}

/**
 * Without anybody to show its token to, a newcomer would be a pool of its own, in sync with itself and with nothing in it, and might take the
 * addresses of the pool that it was to join.
 * @param membership with what the store knows: a director without peers in its configuration may have been let in before
 * @throws DirectorError CONFIG_INVALID
 */
export function demandAcquaintance({ peer }: JoinToken, membership: Pick<Membership, 'known'>): void {
  if (membership.known().some(({ id }) => id !== peer)) return
  const message =
    'cluster.token: there is nobody to show it to: name a director of the pool in cluster.peers, or leave the token out until the pool has a second director'
  throw new DirectorError('CONFIG_INVALID', message)
}

/** Makes a peer of whoever has shown this token, in the whole pool, or says why not. @param bytes signed by the pool's key */
export async function letIn(
  bytes: Uint8Array,
  membership: Pick<Membership, 'judge'>,
  members: Pick<MemberEntries, 'admit'>,
): Promise<TokenRefusal | undefined> {
  const token = readJoinToken(bytes, undefined)
  if (typeof token === 'string') return token
  const reason = membership.judge(token)
  if (reason !== undefined) return reason
  return members.admit(token, bytes).then(
    () => undefined,
    () => 'store' as const,
  )
}

function stampOf({ issuedMs, name }: JoinToken): Stamp {
  return { wallMs: issuedMs, counter: 0, director: name }
}
