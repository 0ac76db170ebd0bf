/**
 * What a director shows to be let into a pool: its identity, name and address, signed by the pool's key (pool-key.ts). It is for that
 * identity alone, which whoever shows it must prove to have; so there is nothing secret in it. Big endian:
 *
 * ```
 *  0         1              7               13           14
 * +---------+--------------+---------------+------------+---------+------------+------+------------+---------+------------+
 * | version | issued       | expires       | length     | peer id | length     | name | length     | address | signature  |
 * |    1    | 6 bytes, ms since 1970       | 1 byte     |         | 1 byte     |      | 1 byte     |         | 64 bytes   |
 * +---------+--------------+---------------+------------+---------+------------+------+------------+---------+------------+
 * ```
 * Texts are ASCII. The signature is Ed25519's (RFC 8032) over "linux-director join token" and all that is before it.
 * People handle it as text: "ldt_" and the bytes in base64url (RFC 4648 section 5).
 * Version rule: another version is not read.
 */
import { type KeyObject, sign, verify } from 'node:crypto'
import { DIRECTOR_NAME, PEER_ID } from '../names.ts'
import { formatEndpoint, parseEndpoint } from '../packet/ipv6-address.ts'

export interface JoinToken {
  /** Peer id of the director that it is for. */
  readonly peer: string
  /** By which the others will call it. */
  readonly name: string
  /** ADDRESS:PORT where they reach it. */
  readonly address: string
  /** Milliseconds since 1970. The token issued last for a director is the one that counts. */
  readonly issuedMs: number
  /** Until when it lets in. Who is in stays in. */
  readonly expiresMs: number
}

/** Longer ones are not read. */
export const JOIN_TOKEN_BYTES_MAX = 512
const VERSION = 1
const TIME_BYTES = 6
const TEXTS_AT = 1 + 2 * TIME_BYTES
const SIGNATURE_BYTES = 64
const CONTEXT = Buffer.from('linux-director join token')
const PREFIX = 'ldt_'

/** @param token its fields are such as readJoinToken() gives */
export function encodeJoinToken(token: JoinToken, privateKey: KeyObject): Uint8Array {
  const times = Buffer.alloc(TEXTS_AT)
  times[0] = VERSION
  times.writeUIntBE(token.issuedMs, 1, TIME_BYTES)
  times.writeUIntBE(token.expiresMs, 1 + TIME_BYTES, TIME_BYTES)
  const texts = [token.peer, token.name, token.address].map((text) => Buffer.from(text, 'latin1'))
  const body = Buffer.concat([times, ...texts.flatMap((text) => [Uint8Array.of(text.length), text])])
  return new Uint8Array(Buffer.concat([body, sign(null, Buffer.concat([CONTEXT, body]), privateKey)]))
}

/**
 * What a token says, if it is one and any of the keys has signed it; else why not.
 * @param keys undefined: whoever has signed it
 */
export function readJoinToken(
  bytes: Uint8Array,
  keys: readonly KeyObject[] | undefined,
): JoinToken | 'length' | 'version' | 'body' | 'signature' {
  if (bytes.length > JOIN_TOKEN_BYTES_MAX || bytes.length < TEXTS_AT + SIGNATURE_BYTES) return 'length'
  if (bytes[0] !== VERSION) return 'version'
  const body = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length - SIGNATURE_BYTES)
  const token = readBody(body)
  if (!token) return 'body'
  const signature = bytes.subarray(body.length)
  const signed = Buffer.concat([CONTEXT, body])
  return !keys || keys.some((key) => verify(null, signed, key, signature)) ? token : 'signature'
}

export function joinTokenText(bytes: Uint8Array): string {
  return PREFIX + Buffer.from(bytes).toString('base64url')
}

/** The bytes, or undefined when the text is not a token's. */
export function joinTokenBytes(text: string): Uint8Array | undefined {
  if (!text.startsWith(PREFIX) || text.length > PREFIX.length + 2 * JOIN_TOKEN_BYTES_MAX) return undefined
  const bytes = Buffer.from(text.slice(PREFIX.length), 'base64url')
  // Several texts stand for the same bytes; one of them is the token.
  return joinTokenText(bytes) === text ? new Uint8Array(bytes) : undefined
}

function readBody(body: Buffer): JoinToken | undefined {
  const texts: string[] = []
  let at = TEXTS_AT
  for (let text = 0; text < 3; text++) {
    if (at >= body.length) return undefined
    const from = at + 1
    at = from + body[at]
    texts.push(body.toString('latin1', from, at))
  }
  const [peer, name, address] = texts
  const issuedMs = body.readUIntBE(1, TIME_BYTES)
  const expiresMs = body.readUIntBE(1 + TIME_BYTES, TIME_BYTES)
  const isSound = at === body.length && PEER_ID.test(peer) && DIRECTOR_NAME.test(name) && isEndpoint(address)
  return isSound && issuedMs < expiresMs ? { peer, name, address, issuedMs, expiresMs } : undefined
}

function isEndpoint(text: string): boolean {
  const parsed = parseEndpoint(text)
  return parsed !== undefined && parsed.port > 0 && formatEndpoint(parsed.address, parsed.port) === text
}
