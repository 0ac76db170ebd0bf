/** MessagePack from the network: values that stand alone, and no extension by which they could be more than their bytes. */
import { createHmac } from 'node:crypto'
import { deflateRawSync } from 'node:zlib'
import { Packr } from 'msgpackr'
import { test } from 'tap'
import { decodeOpinions } from '../../node/director/health/opinion-message.ts'
import { decodeConfigMessage } from '../../node/director/pool/config-message.ts'
import { decodeReigns } from '../../node/director/vip/ended-reigns.ts'
import { pack, unpack, unpackEach } from '../../protocol/message-pack.ts'
import { createAgentKey } from '../../protocol/wire/agent-key.ts'
import { AGENT_REPORT_VERSION, decodeAgentReport } from '../../protocol/wire/agent-report.ts'
import { sharedReferences } from '../support/shared-references.ts'

/** How many lists are written as JSON meanwhile, as msgpackr does with what has something behind it. */
function listsWalked(during: () => void): number {
  let lists = 0
  Object.defineProperty(Array.prototype, 'toJSON', {
    configurable: true,
    value(this: unknown[]) {
      lists++
      return this
    },
  })
  try {
    during()
  } finally {
    Reflect.deleteProperty(Array.prototype, 'toJSON')
  }
  return lists
}

const LEVELS = 12
const key = createAgentKey(Buffer.alloc(32, 7))

function reportOf(body: Uint8Array): Buffer {
  const signed = Buffer.concat([Uint8Array.of(AGENT_REPORT_VERSION), Buffer.from(key.id, 'hex'), body])
  return Buffer.concat([signed, createHmac('sha256', key.secret).update(signed).digest()])
}

const readers: [what: string, read: (bytes: Uint8Array) => unknown, refusal: unknown][] = [
  ["an agent's report", (bytes) => decodeAgentReport(reportOf(bytes), () => key), 'body'],
  ['an opinion', (bytes) => decodeOpinions(bytes), undefined],
  ['what a peer says of having been active', (bytes) => decodeReigns(bytes), undefined],
  [
    'a message of the configuration',
    (bytes) => decodeConfigMessage(Buffer.concat([Uint8Array.of(1, 1), deflateRawSync(bytes)])),
    undefined,
  ],
]
for (const [what, read, refusal] of readers) {
  test(`${what} with shared references is refused, and nothing of it is walked`, async (t) => {
    const answers: unknown[] = []
    const lists = listsWalked(() => {
      for (const behind of [0, 1]) answers.push(read(sharedReferences(LEVELS).subarray(0, -behind || undefined)))
    })
    t.same(answers, [refusal, refusal])
    t.equal(lists, 0)
  })
}

test('to a reader that takes them, a few hundred bytes are thousands of lists', async (t) => {
  const bytes = sharedReferences(LEVELS)
  t.ok(bytes.length < 200)
  const reader = new Packr({ useRecords: false, structuredClone: true })
  const lists = listsWalked(() => t.throws(() => reader.unpack(bytes)))
  t.ok(lists > 2 ** LEVELS, String(lists))
})

test('a value that moves its reader back is refused, and is not read for ever', async (t) => {
  const bundle = Buffer.of(0xa0, 0xa0, 0xd6, 0x62, 0xff, 0xff, 0xff, 0xfc)
  const bytes = Buffer.concat([bundle, pack({ kind: 'settings' })])
  const read: unknown[] = []
  t.throws(() => unpackEach(bytes, (value) => read.push(value) < 10))
  t.same(read, ['', ''])
})

test('what defines a kind of record is refused: of a long name each record would have a copy when it is written again', async (t) => {
  const name = 'n'.repeat(1000)
  const definition = Buffer.concat([Buffer.of(0xdc, 0, 100, 0xd4, 0x72, 0x40), pack([name]), Buffer.of(0)])
  const bytes = Buffer.concat([definition, ...Array(99).fill(Buffer.of(0x40, 0))])
  t.throws(() => unpack(bytes))
  t.throws(() => unpackEach(bytes, () => true))
  const reader = new Packr({ useRecords: false, structuredClone: false })
  t.ok(pack(reader.unpack(bytes)).length > 50 * bytes.length, 'to a reader that takes them')
})

test('what has something behind it is refused, and is not written as JSON for that', async (t) => {
  const lists = listsWalked(() => t.throws(() => unpack(Buffer.concat([pack([[1], [2]]), pack(1)]))))
  t.equal(lists, 0)
})

test('whatever is cut short is refused', async (t) => {
  const value = { text: 'x'.repeat(300), list: Array(20).fill(2 ** 40), none: undefined, raw: Buffer.alloc(40) }
  const bytes = pack(value)
  t.same(unpack(bytes), value)
  const read = Array.from(bytes.keys()).filter((length) => {
    try {
      unpack(bytes.subarray(0, length))
      return true
    } catch {
      return false
    }
  })
  t.same(read, [])
})

test('raw bytes that are kept keep nothing else of their message', async (t) => {
  const bytes = pack([new Uint8Array(1), 'x'.repeat(1000)])
  const [raw] = unpack(bytes) as [Uint8Array]
  t.same([...raw], [0])
  t.equal(raw.buffer.byteLength, 1)
})

test('what is packed is the same unpacked, alone or one after the other', async (t) => {
  const values = [{ a: [1, 'two', null, true], b: new Uint8Array([1, 2]) }, [], 'text', -5, 2 ** 40]
  for (const value of values) t.same(unpack(pack(value)), value)
  const read: unknown[] = []
  unpackEach(Buffer.concat(values.map(pack)), (value) => read.push(value) < 3)
  t.same(read, values.slice(0, 3))
  t.throws(() => unpack(Buffer.concat([pack(1), pack(2)])))
})
