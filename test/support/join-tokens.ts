/** A pool's key, and tokens that it has signed. */
import type { KeyObject } from 'node:crypto'
import { createPoolKey, parsePoolKey, parsePrivatePoolKey, publicPoolKeyText } from '../../protocol/pool-key.ts'
import { encodeJoinToken, type JoinToken } from '../../protocol/wire/join-token.ts'

export interface TestPoolKey {
  /** As configurations have it. */
  readonly text: string
  readonly publicKey: KeyObject
  readonly privateKey: KeyObject
  sign(token: JoinToken): Uint8Array
}

export function createTestPoolKey(pem = createPoolKey()): TestPoolKey {
  const privateKey = parsePrivatePoolKey(pem) as KeyObject
  const text = publicPoolKeyText(privateKey)
  return {
    text,
    publicKey: parsePoolKey(text) as KeyObject,
    privateKey,
    sign: (token) => encodeJoinToken(token, privateKey),
  }
}
