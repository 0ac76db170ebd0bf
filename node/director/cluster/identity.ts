/**
 * A director's identity: an Ed25519 key pair in libp2p's form, and the peer id that names it. Made without libp2p, which takes
 * the better part of a second to load, so that a command can do it.
 *
 * The private key is a protobuf of the key type (field 1: 1 is Ed25519) and 64 bytes (field 2: the seed, then the public key).
 * The peer id is the base58 text of an identity multihash over the public key's protobuf.
 * Source: libp2p specifications, peer-ids/peer-ids.md; RFC 8032; RFC 8410 for the form that node:crypto speaks.
 */
import { createPrivateKey, createPublicKey, generateKeyPairSync } from 'node:crypto'
import { DirectorError } from '../../../protocol/errors.ts'
import { PEER_ID } from '../../../protocol/names.ts'

const SEED_LENGTH = 32
const PRIVATE_PREFIX = Buffer.from([0x08, 0x01, 0x12, 0x40])
const PUBLIC_PREFIX = Buffer.from([0x08, 0x01, 0x12, 0x20])
/** Multihash code 0 (identity) and the length of the public key's protobuf. */
const MULTIHASH_PREFIX = Buffer.from([0x00, 0x24])
const PRIVATE_LENGTH = PRIVATE_PREFIX.length + 2 * SEED_LENGTH
/** RFC 8410 section 7: an Ed25519 private key as PKCS #8, without its 32 bytes. */
const PKCS8_PREFIX = Buffer.from('302e020100300506032b657004220420', 'hex')
const BASE58 = '123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz'

/** A new private key, as libp2p's protobuf. */
export function createIdentity(): Uint8Array {
  const pkcs8 = generateKeyPairSync('ed25519').privateKey.export({ format: 'der', type: 'pkcs8' })
  const seed = pkcs8.subarray(PKCS8_PREFIX.length)
  return new Uint8Array(Buffer.concat([PRIVATE_PREFIX, seed, publicKeyOf(seed)]))
}

/**
 * The peer id, 12D3KooW..., of a private key that createIdentity() made.
 * @throws DirectorError STORE_CORRUPT when it is no such key
 */
export function peerIdOf(privateKey: Uint8Array): string {
  const bytes = Buffer.from(privateKey)
  const publicKey = bytes.subarray(PRIVATE_PREFIX.length + SEED_LENGTH)
  const isKey =
    bytes.length === PRIVATE_LENGTH &&
    bytes.subarray(0, PRIVATE_PREFIX.length).equals(PRIVATE_PREFIX) &&
    publicKeyOf(bytes.subarray(PRIVATE_PREFIX.length, PRIVATE_PREFIX.length + SEED_LENGTH)).equals(publicKey)
  if (!isKey)
    throw new DirectorError(
      'STORE_CORRUPT',
      'the identity in the store is not an Ed25519 key; restore the store from a copy, or remove it and give the new peer id to the peers',
    )
  return peerIdOfPublicKey(publicKey)
}

/** @param publicKey 32 bytes */
export function peerIdOfPublicKey(publicKey: Uint8Array): string {
  return base58(Buffer.concat([MULTIHASH_PREFIX, PUBLIC_PREFIX, publicKey]))
}

/** Whether the text is what peerIdOfPublicKey() makes of some key. */
export function isPeerId(text: string): boolean {
  if (!PEER_ID.test(text)) return false
  let value = 0n
  for (const digit of text) value = value * 58n + BigInt(BASE58.indexOf(digit))
  const publicKey = Buffer.from(value.toString(16).slice(-2 * SEED_LENGTH), 'hex')
  return peerIdOfPublicKey(publicKey) === text
}

function publicKeyOf(seed: Buffer): Buffer {
  const privateKey = createPrivateKey({ key: Buffer.concat([PKCS8_PREFIX, seed]), format: 'der', type: 'pkcs8' })
  return createPublicKey(privateKey).export({ format: 'der', type: 'spki' }).subarray(-SEED_LENGTH)
}

function base58(bytes: Buffer): string {
  let value = BigInt(`0x${bytes.toString('hex')}`)
  let text = ''
  for (; value > 0n; value /= 58n) text = BASE58[Number(value % 58n)] + text
  for (let i = 0; i < bytes.length && bytes[i] === 0; i++) text = `1${text}`
  return text
}
