/** The agents' datagram: what is signed arrives, and nothing else does. */
import { createHmac } from 'node:crypto'
import { pack } from 'msgpackr'
import { test } from 'tap'
import { createAgentKey } from '../../../protocol/wire/agent-key.ts'
import {
  AGENT_REPORT_VERSION,
  type AgentReport,
  decodeAgentReport,
  encodeAgentReport,
  MAX_AGENT_ADDRESSES,
  MAX_AGENT_REPORT_BYTES,
} from '../../../protocol/wire/agent-report.ts'

const key = createAgentKey(Buffer.alloc(32, 7))
const keyOf = (id: string) => (id === key.id ? key : undefined)
const report: AgentReport = {
  addresses: ['10.0.0.1', '192.0.2.7'],
  runId: '0123456789abcdef',
  sequence: 41,
  timeMs: 1_760_000_000_000,
  intervalMs: 1000,
  cpu: 0.25,
  memory: 0.5,
  loadPerCore: 1.75,
  establishedConnections: 50_000,
}

function signed(version: number, body: Uint8Array): Buffer {
  const bytes = Buffer.concat([Uint8Array.of(version), Buffer.from(key.id, 'hex'), body])
  return Buffer.concat([bytes, createHmac('sha256', key.secret).update(bytes).digest()])
}

test('a report that was encoded is decoded as it was', async (t) => {
  t.same(decodeAgentReport(encodeAgentReport(report, key), keyOf), { report: report, key })
})

test('the largest report fits into its datagram', async (t) => {
  const longest = 'fd00:1111:2222:3333:4444:5555:6666:7777'
  const large = { ...report, addresses: Array(MAX_AGENT_ADDRESSES).fill(longest), sequence: Number.MAX_SAFE_INTEGER }
  const datagram = encodeAgentReport(large, key)
  t.ok(datagram.length <= MAX_AGENT_REPORT_BYTES)
  t.same(decodeAgentReport(datagram, keyOf), { report: large, key })
})

test('no datagram with a single bit flipped is believed', async (t) => {
  const datagram = encodeAgentReport(report, key)
  const believed = []
  for (let bit = 0; bit < datagram.length * 8; bit++) {
    const flipped = Buffer.from(datagram)
    flipped[bit >> 3] ^= 1 << (bit & 7)
    if (typeof decodeAgentReport(flipped, keyOf) !== 'string') believed.push(bit)
  }
  t.same(believed, [])
})

test('a datagram signed with another key is refused for its signature, and one with the id of no key for that', async (t) => {
  const forged = { ...createAgentKey(Buffer.alloc(32, 8)), id: key.id }
  t.equal(decodeAgentReport(encodeAgentReport(report, forged), keyOf), 'signature')
  t.equal(decodeAgentReport(encodeAgentReport(report, { ...key, id: '00'.repeat(8) }), keyOf), 'key')
})

test('a datagram that is too short or too long is refused for its length', async (t) => {
  t.equal(decodeAgentReport(new Uint8Array(0), keyOf), 'length')
  t.equal(decodeAgentReport(new Uint8Array(33), keyOf), 'length')
  t.equal(decodeAgentReport(new Uint8Array(MAX_AGENT_REPORT_BYTES + 1), keyOf), 'length')
})

test('another version is refused even if it is signed', async (t) => {
  t.equal(decodeAgentReport(signed(AGENT_REPORT_VERSION + 1, pack(report)), keyOf), 'version')
})

test('fields that a later minor change adds are passed over', async (t) => {
  t.same(decodeAgentReport(signed(AGENT_REPORT_VERSION, pack({ ...report, temperature: 61 })), keyOf), {
    report: report,
    key,
  })
})

const wrongBodies: [string, unknown][] = [
  ['a body that is no map', 'load'],
  ['a body that is nothing', null],
  ['no address', { ...report, addresses: [] }],
  ['too many addresses', { ...report, addresses: Array(MAX_AGENT_ADDRESSES + 1).fill('10.0.0.1') }],
  ['an address that is none', { ...report, addresses: ['10.0.0.256'] }],
  ['an address that is a number', { ...report, addresses: [167772161] }],
  ['a run without its digits', { ...report, runId: '0123' }],
  ['a negative sequence', { ...report, sequence: -1 }],
  ['a broken sequence', { ...report, sequence: 1.5 }],
  ['a time that is text', { ...report, timeMs: 'now' }],
  ['an interval of nothing', { ...report, intervalMs: 0 }],
  ['an interval of an hour', { ...report, intervalMs: 3_600_000 }],
  ['a cpu share above 1', { ...report, cpu: 1.01 }],
  ['a cpu share that is no number', { ...report, cpu: Number.NaN }],
  ['a negative memory share', { ...report, memory: -0.1 }],
  ['an infinite load', { ...report, loadPerCore: Number.POSITIVE_INFINITY }],
  ['half a connection', { ...report, establishedConnections: 0.5 }],
]
for (const [what, body] of wrongBodies) {
  test(`a signed report with ${what} is refused for its body`, async (t) => {
    t.equal(decodeAgentReport(signed(AGENT_REPORT_VERSION, pack(body)), keyOf), 'body')
  })
}

test('signed bytes that are no MessagePack are refused for their body', async (t) => {
  t.equal(decodeAgentReport(signed(AGENT_REPORT_VERSION, Uint8Array.of(0xdf, 0xff, 0xff, 0xff, 0xff)), keyOf), 'body')
})
