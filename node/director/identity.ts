/** A director's identity, kept in its store: made once, the same for as long as the store lives. */
import { createIdentity } from './cluster/identity.ts'
import type { Store } from './store/store.ts'

const KEY = 'identity/private-key'

/** The private key in the store, made and kept there if there is none. */
export async function loadIdentity(store: Store): Promise<Uint8Array> {
  const kept = await store.get(KEY)
  if (kept) return kept
  const privateKey = createIdentity()
  await store.put(KEY, privateKey)
  return privateKey
}
