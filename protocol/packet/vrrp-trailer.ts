/**
 * What directors put behind a VRRP message so that their peers can tell it from a stranger's, if they are told to: our own, in no
 * RFC. HMAC-SHA256 (RFC 2104, FIPS 180-4) under a key that all directors of the pool have.
 *
 * ```
 *  0       4        12       20         26        32             64
 * +-------+--------+--------+----------+---------+--------------+
 * | LDA1  | key id |  run   | sequence | sent at | HMAC-SHA256  |
 * +-------+--------+--------+----------+---------+--------------+
 *
 * run       drawn anew each time a director starts
 * sequence  tenths of a millisecond since then, by a clock that never jumps; grows by at least 1 from one message of a run to the next
 * sent at   the sender's wall clock, milliseconds since 1970
 * HMAC      over "linux-director VRRP over IPv4" (or IPv6), the IP header's source and destination, the VRRP message, and the
 *           trailer up to here
 * ```
 *
 * The message before it is what it would be without, its checksum and the length in its pseudo-header included: who has no use for
 * the trailer can pass over it. Version rule: another format has another word in place of LDA1.
 */
import { createHmac, timingSafeEqual } from 'node:crypto'
import { KEY_ID_BYTES, keyId, parseKeyFile, type SharedKey } from '../shared-key.ts'
import { parseIPv4, writeInt32 } from './bytes.ts'
import { isIPv6Text, parseIPv6, writeIPv6Words } from './ipv6-address.ts'

export const VRRP_TRAILER_LENGTH = 64
/** Of the sequence: units in a millisecond. */
export const SEQUENCE_PER_MS = 10

const MAGIC = Buffer.from('LDA1')
const TRAILER = { keyId: 4, run: 12, sequence: 20, sentAt: 26, signature: 32 } as const
const SIGNATURE_LENGTH = VRRP_TRAILER_LENGTH - TRAILER.signature
/** Of sequence and sent at: 892 years of the one, the year 10889 of the other. */
const NUMBER_LENGTH = 6
const ID_TEXT = 'linux-director VRRP key id'

/** Where and when in its sender's life a message was sent. */
export interface Stamp {
  /** 16 hexadecimal digits. */
  readonly run: string
  readonly sequence: number
  readonly sentAtMs: number
}

/** @param secret 32 bytes */
export function createVrrpKey(secret: Uint8Array): SharedKey {
  return { id: keyId(secret, ID_TEXT), secret }
}

/**
 * The keys in the text of a key file (shared-key.ts), at least one.
 * @throws DirectorError CONFIG_INVALID; it names the line and shows nothing of it. `file` is only for the message
 */
export function parseVrrpKeys(text: string, file: string): SharedKey[] {
  return parseKeyFile(text, file, (secret, words, refuse) => {
    if (words.length > 0) throw refuse('expected nothing behind the key: all directors of the pool share it')
    return createVrrpKey(secret)
  })
}

/** Whether what follows a VRRP message is such a trailer; that it is a true one is not said by that. */
export function isVrrpTrailer(bytes: Uint8Array): boolean {
  return bytes.length === VRRP_TRAILER_LENGTH && MAGIC.equals(bytes.subarray(0, MAGIC.length))
}

/** The message with its trailer. */
export function signVrrpMessage(
  message: Uint8Array,
  source: string,
  destination: string,
  key: SharedKey,
  { run, sequence, sentAtMs }: Stamp,
): Uint8Array {
  const signed = Buffer.alloc(message.length + VRRP_TRAILER_LENGTH)
  const at = message.length
  signed.set(message)
  signed.set(MAGIC, at)
  signed.write(key.id, at + TRAILER.keyId, 'hex')
  signed.write(run, at + TRAILER.run, 'hex')
  signed.writeUIntBE(sequence, at + TRAILER.sequence, NUMBER_LENGTH)
  signed.writeUIntBE(sentAtMs, at + TRAILER.sentAt, NUMBER_LENGTH)
  signed.set(signature(signed, source, destination, key), at + TRAILER.signature)
  return signed
}

/**
 * The stamp of a message that ends in a trailer, or why it is not believed. Compared in constant time.
 * @param keyOf the key of this id (16 hexadecimal digits), if there is one
 */
export function verifyVrrpMessage(
  message: Uint8Array,
  source: string,
  destination: string,
  keyOf: (id: string) => SharedKey | undefined,
): Stamp | 'key' | 'signature' {
  const signed = Buffer.from(message.buffer, message.byteOffset, message.length)
  const trailer = signed.subarray(signed.length - VRRP_TRAILER_LENGTH)
  const key = keyOf(trailer.toString('hex', TRAILER.keyId, TRAILER.keyId + KEY_ID_BYTES))
  if (!key) return 'key'
  const expected = signature(signed, source, destination, key)
  if (!timingSafeEqual(expected, trailer.subarray(TRAILER.signature))) return 'signature'
  return {
    run: trailer.toString('hex', TRAILER.run, TRAILER.sequence),
    sequence: trailer.readUIntBE(TRAILER.sequence, NUMBER_LENGTH),
    sentAtMs: trailer.readUIntBE(TRAILER.sentAt, NUMBER_LENGTH),
  }
}

/** @param signed with room for the signature at its end */
function signature(signed: Uint8Array, source: string, destination: string, { secret }: SharedKey): Uint8Array {
  return createHmac('sha256', secret)
    .update(`linux-director VRRP over ${isIPv6Text(source) ? 'IPv6' : 'IPv4'}`)
    .update(addressBytes(source))
    .update(addressBytes(destination))
    .update(signed.subarray(0, signed.length - SIGNATURE_LENGTH))
    .digest()
}

function addressBytes(address: string): Uint8Array {
  if (isIPv6Text(address)) {
    const bytes = new Uint8Array(16)
    writeIPv6Words(bytes, 0, parseIPv6(address))
    return bytes
  }
  const bytes = new Uint8Array(4)
  writeInt32(bytes, 0, parseIPv4(address))
  return bytes
}
