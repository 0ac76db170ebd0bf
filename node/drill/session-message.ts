/**
 * What the drill's long sessions say: fixed-size messages that show at once whether one was lost, repeated, changed, or
 * given to somebody else's session.
 *
 *      0                   1                   2                   3
 *      0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 *     +---------------------------------------------------------------+
 *   0 | magic "LDS1"                                                  |
 *   4 | CRC-32 of bytes 8 to 63                                       |
 *   8 | session                                                       |
 *  12 | number, from 0, one more with each message                    |
 *  16 | in a reply: name of the server, ASCII, filled up with zeros   |
 *     :                                                               :
 *  32 | text that follows from session and number                     |
 *     :                                                               :
 *     +---------------------------------------------------------------+  64 bytes
 *
 * Big endian. The reply is the request with the server's name in it and the CRC made anew. There is one version, "1".
 */
import { crc32 } from 'node:zlib'

export const MESSAGE_BYTES = 64
export const SERVER_NAME_BYTES = 16

const MAGIC = 0x4c445331
const NAME_OFFSET = 16
const TEXT_OFFSET = 32

/** Writes a request of MESSAGE_BYTES at the start of `message`. */
export function writeRequest(message: Buffer, session: number, number: number): void {
  message.writeUInt32BE(MAGIC, 0)
  message.writeUInt32BE(session, 8)
  message.writeUInt32BE(number, 12)
  message.fill(0, NAME_OFFSET, TEXT_OFFSET)
  let state = textSeed(session, number)
  for (let offset = TEXT_OFFSET; offset < MESSAGE_BYTES; offset += 4) {
    state = nextText(state)
    message.writeInt32BE(state, offset)
  }
  seal(message, 0)
}

/** Whether the message at `offset` is whole and unchanged. */
export function isIntact(message: Buffer, offset: number): boolean {
  return (
    message.readUInt32BE(offset) === MAGIC &&
    message.readUInt32BE(offset + 4) === crc32(message.subarray(offset + 8, offset + MESSAGE_BYTES))
  )
}

/** Makes the request at `offset` a reply of this server. `name` is SERVER_NAME_BYTES long. */
export function turnIntoReply(message: Buffer, offset: number, name: Buffer): void {
  name.copy(message, offset + NAME_OFFSET)
  seal(message, offset)
}

/** Whether the message at `offset` is the reply to that request, word for word. */
export function answers(message: Buffer, offset: number, session: number, number: number): boolean {
  if (!isIntact(message, offset)) return false
  if (message.readUInt32BE(offset + 8) !== session || message.readUInt32BE(offset + 12) !== number) return false
  let state = textSeed(session, number)
  for (let at = offset + TEXT_OFFSET; at < offset + MESSAGE_BYTES; at += 4) {
    state = nextText(state)
    if (message.readInt32BE(at) !== state) return false
  }
  return true
}

export function serverNameIn(message: Buffer, offset: number): string {
  const end = message.indexOf(0, offset + NAME_OFFSET)
  return message.toString('latin1', offset + NAME_OFFSET, Math.min(end, offset + TEXT_OFFSET))
}

/** A server's name as it stands in a reply. */
export function encodeServerName(name: string): Buffer {
  const encoded = Buffer.alloc(SERVER_NAME_BYTES)
  encoded.write(name.slice(0, SERVER_NAME_BYTES - 1), 'latin1')
  return encoded
}

function seal(message: Buffer, offset: number): void {
  message.writeUInt32BE(crc32(message.subarray(offset + 8, offset + MESSAGE_BYTES)), offset + 4)
}

function textSeed(session: number, number: number): number {
  return (Math.imul(session, 0x9e3779b1) ^ Math.imul(number + 1, 0x85ebca6b)) | 1
}

/** Xorshift (Marsaglia 2003): never 0 from a seed that is not. */
function nextText(state: number): number {
  let next = state
  next ^= next << 13
  next ^= next >>> 17
  next ^= next << 5
  return next
}
