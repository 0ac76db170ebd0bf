/** The messages that long sessions exchange. */
import { test } from 'tap'
import {
  answers,
  encodeServerName,
  isIntact,
  MESSAGE_BYTES,
  serverNameIn,
  turnIntoReply,
  writeRequest,
} from '../../../node/drill/session-message.ts'

function reply(session: number, number: number, server = 's1'): Buffer {
  const message = Buffer.alloc(MESSAGE_BYTES)
  writeRequest(message, session, number)
  turnIntoReply(message, 0, encodeServerName(server))
  return message
}

test('a reply answers the request that it was made from, and names its server', (t) => {
  const message = reply(7, 42, 's12')
  t.ok(isIntact(message, 0))
  t.ok(answers(message, 0, 7, 42))
  t.equal(serverNameIn(message, 0), 's12')
  t.end()
})

test('a reply does not answer another message or another session', (t) => {
  t.notOk(answers(reply(7, 42), 0, 7, 43))
  t.notOk(answers(reply(7, 42), 0, 8, 42))
  t.end()
})

test('a reply with the right numbers and a right checksum but the text of another session is no answer', (t) => {
  const message = reply(7, 42)
  const other = reply(8, 42)
  other.writeUInt32BE(7, 8)
  turnIntoReply(other, 0, encodeServerName('s1'))
  t.ok(isIntact(other, 0))
  t.ok(answers(message, 0, 7, 42))
  t.notOk(answers(other, 0, 7, 42))
  t.end()
})

test('one changed bit anywhere makes a message not intact', (t) => {
  const message = reply(1, 1)
  for (let bit = 0; bit < MESSAGE_BYTES * 8; bit++) {
    message[bit >> 3] ^= 1 << (bit & 7)
    if (isIntact(message, 0)) t.fail(`bit ${bit}`)
    message[bit >> 3] ^= 1 << (bit & 7)
  }
  t.ok(isIntact(message, 0))
  t.end()
})

test('messages are found at an offset', (t) => {
  const stream = Buffer.concat([reply(1, 0), reply(1, 1, 's2')])
  t.ok(answers(stream, MESSAGE_BYTES, 1, 1))
  t.equal(serverNameIn(stream, MESSAGE_BYTES), 's2')
  t.end()
})
