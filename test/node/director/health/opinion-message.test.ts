/** What directors tell each other of servers, as bytes. */
import { pack } from 'msgpackr'
import { test } from 'tap'
import { MAX_MESSAGE_BYTES } from '../../../../node/director/cluster/transport.ts'
import {
  decodeOpinions,
  encodeOpinions,
  SERVERS_PER_MESSAGE,
} from '../../../../node/director/health/opinion-message.ts'

test('opinions arrive as they were sent, and what is unknown is not sent', async (t) => {
  const message = encodeOpinions({
    sequence: 1_760_000_000_000,
    opinions: [
      ['10.0.0.1:80', 'up'],
      ['10.0.0.2:80', 'unknown'],
      ['10.0.0.3:80', 'down'],
    ],
  })
  t.same(decodeOpinions(message), {
    sequence: 1_760_000_000_000,
    opinions: [
      ['10.0.0.1:80', 'up'],
      ['10.0.0.3:80', 'down'],
    ],
  })
})

test('the last message of a round says of how many servers it told', async (t) => {
  t.equal(decodeOpinions(encodeOpinions({ sequence: 1, opinions: [], known: 3 }))?.known, 3)
  t.notOk('known' in decodeOpinions(encodeOpinions({ sequence: 1, opinions: [] }))!)
})

test('a full message fits the transport', async (t) => {
  const opinions = Array.from({ length: SERVERS_PER_MESSAGE }, (): [string, 'down'] => [
    '[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535',
    'down',
  ])
  const message = encodeOpinions({ sequence: Number.MAX_SAFE_INTEGER, opinions })
  t.ok(message.length <= MAX_MESSAGE_BYTES)
  t.equal(decodeOpinions(message)?.opinions.length, SERVERS_PER_MESSAGE)
})

const good = { version: 1, sequence: 1, up: [], down: [] }
const wrong: [string, Uint8Array][] = [
  ['nothing', new Uint8Array(0)],
  ['no MessagePack', Uint8Array.of(0xc1, 1, 2)],
  ['a map cut short', pack(good).subarray(0, 10)],
  ['another version', pack({ ...good, version: 2 })],
  ['a server that is a number', pack({ ...good, up: [80] })],
  ['a server of a thousand letters', pack({ ...good, up: ['x'.repeat(1000)] })],
  ['more servers than a message has', pack({ ...good, down: Array(SERVERS_PER_MESSAGE + 1).fill('10.0.0.1:80') })],
  ['a part of a server', pack({ ...good, known: 0.5 })],
  ['no sequence', pack({ version: 1, up: [], down: [] })],
]
for (const [what, bytes] of wrong) {
  test(`${what} is no opinion`, async (t) => t.equal(decodeOpinions(bytes), undefined))
}

test('fields of the future are passed over', async (t) => {
  t.same(decodeOpinions(pack({ ...good, up: ['10.0.0.1:80'], latency: 3 })), {
    sequence: 1,
    opinions: [['10.0.0.1:80', 'up']],
  })
})
