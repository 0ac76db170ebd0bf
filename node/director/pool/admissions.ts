/**
 * The entries by which a pool knows who has shown a token. An entry is made of its token alone, so directors who saw the same one have the same
 * entry, and the token issued last for a director is the newest; and it proves itself, so that nobody need be believed who tells of it.
 */
import type { KeyObject } from 'node:crypto'
import { type JoinToken, joinTokenBytes, joinTokenText, readJoinToken } from '../../../protocol/wire/join-token.ts'
import type { TokenRefusal } from '../cluster/admission.ts'
import { isPeerId } from '../cluster/identity.ts'
import { compareStamps } from './hybrid-logical-clock.ts'
import type { Membership } from './membership.ts'
import type { PoolConfiguration } from './pool-configuration.ts'
import type { PoolEntry } from './pool-entry.ts'

type Admission = Extract<PoolEntry, { kind: 'admission' }>

/** @param token as readJoinToken() has read it from `bytes` */
export function admissionEntry({ peer, name, issuedMs }: JoinToken, bytes: Uint8Array): Admission {
  return {
    kind: 'admission',
    stamp: { wallMs: issuedMs, counter: 0, director: name },
    peer,
    token: joinTokenText(bytes),
  }
}

/**
 * The token of an entry that is what its token makes it.
 * @param keys of the pool; undefined: whoever has signed it
 */
export function admittedBy(entry: Admission, keys: readonly KeyObject[] | undefined): JoinToken | undefined {
  const bytes = joinTokenBytes(entry.token)
  const token = bytes && readJoinToken(bytes, keys)
  if (!bytes || typeof token !== 'object' || !isPeerId(token.peer)) return undefined
  const { peer, stamp } = admissionEntry(token, bytes)
  return peer === entry.peer && compareStamps(stamp, entry.stamp) === 0 ? token : undefined
}

/** Makes a peer of whoever has shown this token, in the whole pool, or says why not. @param bytes signed by the pool's key */
export async function letIn(
  bytes: Uint8Array,
  membership: Pick<Membership, 'judge'>,
  configuration: Pick<PoolConfiguration, 'admit'>,
): Promise<TokenRefusal | undefined> {
  const token = readJoinToken(bytes, undefined)
  if (typeof token === 'string') return token
  const reason = membership.judge(token)
  if (reason !== undefined) return reason
  return configuration.admit(token, bytes).then(
    () => undefined,
    () => 'store' as const,
  )
}
