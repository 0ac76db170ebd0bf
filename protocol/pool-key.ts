/**
 * The key of a pool: an Ed25519 pair. Whoever has the private half says who may join (wire/join-token.ts); every director has the
 * public half in its configuration, as the base64 of its 32 bytes.
 *
 * Source: RFC 8032; RFC 8410 for the forms that node:crypto speaks; RFC 7468 (PEM) for the file of the private half.
 */
import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto'

const KEY_BYTES = 32
/** RFC 8410 section 4: an Ed25519 public key as SubjectPublicKeyInfo, without its 32 bytes. */
const SPKI_PREFIX = Buffer.from('302a300506032b6570032100', 'hex')

/** The private half of a new pair, as PEM. */
export function createPoolKey(): string {
  return generateKeyPairSync('ed25519').privateKey.export({ format: 'pem', type: 'pkcs8' }) as string
}

/** The private half, or undefined when the text is no Ed25519 key in PEM without a passphrase. */
export function parsePrivatePoolKey(pem: string): KeyObject | undefined {
  try {
    const key = createPrivateKey(pem)
    return key.asymmetricKeyType === 'ed25519' ? key : undefined
  } catch {
    return undefined
  }
}

/** The public half as configurations have it. */
export function publicPoolKeyText(privateKey: KeyObject): string {
  const spki = createPublicKey(privateKey).export({ format: 'der', type: 'spki' })
  return spki.subarray(SPKI_PREFIX.length).toString('base64')
}

/** The public half, or undefined when the text is none. */
export function parsePoolKey(text: string): KeyObject | undefined {
  const bytes = Buffer.from(text, 'base64')
  if (bytes.length !== KEY_BYTES || bytes.toString('base64') !== text) return undefined
  return createPublicKey({ key: Buffer.concat([SPKI_PREFIX, bytes]), format: 'der', type: 'spki' })
}
