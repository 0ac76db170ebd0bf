/** The director's ear for agents. */
import { createSocket } from 'node:dgram'
import { test } from 'tap'
import { runAgent } from '../../../../node/agent/agent.ts'
import { ReportListener } from '../../../../node/director/load/report-listener.ts'
import { type AgentReport, encodeAgentReport } from '../../../../protocol/wire/agent-report.ts'

const key = Buffer.alloc(32, 3)
const wallClock = 1_760_000_000_000
const report: AgentReport = {
  addresses: ['10.0.0.1'],
  runId: '0123456789abcdef',
  sequence: 0,
  timeMs: wallClock,
  intervalMs: 1000,
  cpu: 1,
  memory: 0,
  loadPerCore: 0,
  establishedConnections: 0,
}

function listener(now = { ms: 0 }) {
  const changes: [string, number][] = []
  const made = new ReportListener({
    listen: '127.0.0.1:0',
    key,
    onChange: (address, factor) => changes.push([address, factor]),
    monotonicMs: () => now.ms,
    wallClockMs: () => wallClock + now.ms,
  })
  return { listener: made, changes, now }
}

test('a report changes the factor of its server; the same datagram again does not count', async (t) => {
  const { listener: listens, changes } = listener()
  const datagram = encodeAgentReport(report, key)
  listens.take(datagram)
  listens.take(datagram)
  t.same(changes, [['10.0.0.1', 0.1]])
  t.match(listens.statistics, { accepted: 1, refused: { replay: 1 } })
  t.equal(listens.get('10.0.0.1').load, 1)
})

test('a server of IPv6 is known by its address in whatever form the agent wrote it', async (t) => {
  const { listener: listens, changes } = listener()
  listens.take(encodeAgentReport({ ...report, addresses: ['2001:DB8:0:0::1'] }, key))
  listens.take(encodeAgentReport({ ...report, sequence: 1, addresses: ['fe80::1%eth0'] }, key))
  t.same(changes, [['2001:db8::1', 0.1]])
  t.equal(listens.get('2001:db8::1').load, 1)
  t.match(listens.statistics, { accepted: 1, refused: { body: 1 } })
})

test('a listener on an address of IPv6 hears agents there', async (t) => {
  const heard = Promise.withResolvers<string>()
  const listens = new ReportListener({
    listen: '[::1]:0',
    key,
    onChange: (address) => heard.resolve(address),
    wallClockMs: () => wallClock,
  })
  await listens.start()
  t.teardown(() => listens.stop())
  const socket = createSocket('udp6')
  t.teardown(() => socket.close())
  socket.send(encodeAgentReport(report, key), listens.port!, '::1')
  t.equal(await heard.promise, '10.0.0.1')
})

test('a forger changes nothing and is counted', async (t) => {
  const { listener: listens, changes } = listener()
  listens.take(encodeAgentReport(report, Buffer.alloc(32, 4)))
  listens.take(Buffer.from('load=100%'))
  t.same(changes, [])
  t.match(listens.statistics, { accepted: 0, refused: { signature: 1, length: 1 } })
})

test('a report recorded half a minute ago is not believed', async (t) => {
  const { listener: listens, changes } = listener({ ms: 30_001 })
  listens.take(encodeAgentReport(report, key))
  t.same(changes, [])
  t.equal(listens.statistics.refused.clock, 1)
})

test('a server whose agent falls silent returns to its configured weight', async (t) => {
  const { listener: listens, changes, now } = listener()
  listens.take(encodeAgentReport(report, key))
  now.ms = 3001
  listens.expire()
  t.same(changes, [
    ['10.0.0.1', 0.1],
    ['10.0.0.1', 1],
  ])
})

test('it hears a real agent', async (t) => {
  const heard = Promise.withResolvers<void>()
  const listens = new ReportListener({
    listen: '127.0.0.1:0',
    key,
    onChange: () => {},
    wallClockMs: () => {
      heard.resolve()
      return Date.now()
    },
  })
  await listens.start()
  t.teardown(() => listens.stop())
  const keyFile = `${t.testdir({ key: key.toString('hex') })}/key`
  const agent = await runAgent({ directors: [`127.0.0.1:${listens.port}`], keyFile, addresses: ['10.0.0.1'] })
  t.teardown(() => agent.stop())
  await heard.promise
  t.equal(listens.statistics.accepted, 1)
  t.type(listens.get('10.0.0.1').load, 'number')
})

test('a port in use is named', async (t) => {
  const taken = createSocket('udp4')
  t.teardown(() => taken.close())
  await new Promise<void>((resolve) => taken.bind(0, '127.0.0.1', resolve))
  const listens = new ReportListener({ listen: `127.0.0.1:${taken.address().port}`, key, onChange: () => {} })
  await t.rejects(listens.start(), { code: 'SOCKET_BUSY', message: /agents\.listen 127\.0\.0\.1:\d+/ })
})
