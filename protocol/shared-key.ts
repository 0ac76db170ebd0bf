/**
 * Keys that two parties share, and the text of the files that hold them: one key a line as 64 hexadecimal digits, and behind it
 * words that say what it is for. Empty lines and lines that begin with # are passed over.
 *
 * A key is chosen by its id, which goes with whatever is signed: the first 8 bytes of HMAC-SHA256 (RFC 2104) under the key over a
 * fixed text. It follows from the key, so nobody has to keep the two together, and tells nothing of it.
 */
import { createHmac } from 'node:crypto'
import { DirectorError } from './errors.ts'

const KEY_BYTES = 32
export const KEY_ID_BYTES = 8

export interface SharedKey {
  /** 16 hexadecimal digits. */
  readonly id: string
  readonly secret: Uint8Array
}

/** @param idText another one for each use, so that a key which is used for two has two ids */
export function keyId(secret: Uint8Array, idText: string): string {
  return createHmac('sha256', secret)
    .update(idText)
    .digest('hex')
    .slice(0, 2 * KEY_ID_BYTES)
}

/**
 * The keys in the text of a key file, at least one.
 * @param read makes a key of a line; throws what `refuse` gives when the words behind the key are wrong
 * @param file only for messages
 * @throws DirectorError CONFIG_INVALID; it names the line and shows nothing of it
 */
export function parseKeyFile<Key extends SharedKey>(
  text: string,
  file: string,
  read: (secret: Uint8Array, words: readonly string[], refuse: (expected: string) => DirectorError) => Key,
): Key[] {
  const keys = new Map<string, Key>()
  for (const [index, line] of text.split('\n').entries()) {
    const [digits, ...words] = line.trim().split(/\s+/)
    if (digits === '' || digits.startsWith('#')) continue
    const refuse = (expected: string) => new DirectorError('CONFIG_INVALID', `${file}:${index + 1}: ${expected}`)
    if (!/^[0-9a-fA-F]{64}$/.test(digits)) {
      throw refuse(`expected a key of ${KEY_BYTES * 2} hexadecimal digits, as \`director agent-key\` prints`)
    }
    const key = read(Buffer.from(digits, 'hex'), words, refuse)
    if (keys.has(key.id)) throw refuse('this key is there already: expected one line for each key')
    keys.set(key.id, key)
  }
  if (keys.size > 0) return [...keys.values()]
  throw new DirectorError('CONFIG_INVALID', `${file}: has no key: \`director agent-key\` makes one`)
}
