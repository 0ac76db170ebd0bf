/** A director's identity, kept in its store: made once, the same for as long as the store lives. */
import { DirectorError } from '../../protocol/errors.ts'
import { createIdentity } from './cluster/identity.ts'
import type { Store } from './store/store.ts'

export const IDENTITY_KEY = 'identity/private-key'

/**
 * The private key in the store, made and kept there when the store is empty.
 * @throws DirectorError STORE_CORRUPT when it holds other things: the peers know this director by an identity that is lost
 */
export async function loadIdentity(store: Store): Promise<Uint8Array> {
  const kept = await store.get(IDENTITY_KEY)
  if (kept) return kept
  for await (const _ of store.iterate('')) {
    const message =
      "the store has lost this director's identity: restore it from a backup; or move its folder away, start again, and enter the new peer id (`director identity`) at the peers"
    throw new DirectorError('STORE_CORRUPT', message)
  }
  const privateKey = createIdentity()
  await store.put(IDENTITY_KEY, privateKey)
  return privateKey
}
