/** The director's ear for agents. */
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { chmodSync } from 'node:fs'
import { setImmediate as turn } from 'node:timers/promises'
import { test } from 'tap'
import { runAgent } from '../../../../node/agent/agent.ts'
import { ReportListener } from '../../../../node/director/load/report-listener.ts'
import { type AgentKey, createAgentKey } from '../../../../protocol/wire/agent-key.ts'
import { type AgentReport, encodeAgentReport } from '../../../../protocol/wire/agent-report.ts'
import { needsIPv6Loopback } from '../../../support/ipv6-loopback.ts'

const key = createAgentKey(Buffer.alloc(32, 3))
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

function listener(now = { ms: 0 }, keys: readonly AgentKey[] = [key]) {
  const changes: [string, number][] = []
  const made = new ReportListener({
    listen: '127.0.0.1:0',
    keys,
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

test('a listener on an address of IPv6 hears agents there', { skip: needsIPv6Loopback }, async (t) => {
  const heard = Promise.withResolvers<string>()
  const listens = new ReportListener({
    listen: '[::1]:0',
    keys: [key],
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
  listens.take(encodeAgentReport(report, { ...key, secret: Buffer.alloc(32, 4) }))
  listens.take(Buffer.from('load=100%'))
  t.same(changes, [])
  t.match(listens.statistics, { accepted: 0, refused: { signature: 1, length: 1 } })
})

const web1 = createAgentKey(Buffer.alloc(32, 11), ['10.0.0.1', '2001:DB8::1'])
const web2 = createAgentKey(Buffer.alloc(32, 12), ['10.0.0.2'])

test('an agent speaks for the server of its key and for no other, whatever addresses it names', async (t) => {
  const { listener: listens, changes } = listener({ ms: 0 }, [web1, web2])
  listens.take(encodeAgentReport({ ...report, addresses: ['10.0.0.2', '10.0.0.1', '2001:db8::1'] }, web1))
  t.same(changes, [
    ['10.0.0.1', 0.1],
    ['2001:db8::1', 0.1],
  ])
  listens.take(encodeAgentReport({ ...report, sequence: 1, addresses: ['10.0.0.2', '10.0.0.3'] }, web1))
  t.equal(changes.length, 2)
  t.match(listens.statistics, { accepted: 1, refused: { address: 1 } })
})

test('the id of another server’s key does not help who holds his own', async (t) => {
  const { listener: listens, changes } = listener({ ms: 0 }, [web1, web2])
  listens.take(encodeAgentReport({ ...report, addresses: ['10.0.0.2'] }, { ...web1, id: web2.id }))
  t.same(changes, [])
  t.equal(listens.statistics.refused.signature, 1)
})

test('keys are exchanged without a gap: both count, then the old one does not', async (t) => {
  const next = createAgentKey(Buffer.alloc(32, 13), ['10.0.0.1'])
  const { listener: listens, now } = listener({ ms: 0 }, [web1])
  const send = (sequence: number, by: AgentKey) =>
    listens.take(encodeAgentReport({ ...report, sequence, timeMs: wallClock + now.ms }, by))
  const recorded = encodeAgentReport(report, web1)
  listens.take(recorded)
  listens.setKeys([web1, next])
  listens.take(recorded)
  t.match(listens.statistics, { accepted: 1, refused: { replay: 1 } }, 'what was heard before is remembered')
  for (const [sequence, by] of [web1, next, web1, next].entries()) send(sequence + 1, by)
  t.equal(listens.statistics.accepted, 5)
  listens.setKeys([next])
  send(9, web1)
  send(9, next)
  t.match(listens.statistics, { accepted: 6, refused: { key: 1 } })
})

test('what was said under a key that is taken out, or that is for others from now on, counts no longer', async (t) => {
  const { listener: listens, changes } = listener({ ms: 0 }, [key, web1, web2])
  listens.take(encodeAgentReport(report, web1))
  listens.take(encodeAgentReport({ ...report, addresses: ['10.0.0.2'] }, web2))
  listens.take(encodeAgentReport({ ...report, addresses: ['10.0.0.3'] }, key))
  changes.length = 0
  listens.setKeys([{ ...key, addresses: ['10.0.0.4'] }, web2])
  t.same(changes, [
    ['10.0.0.1', 1],
    ['10.0.0.3', 1],
  ])
})

test('one agent that starts again and again does not keep another from being heard', async (t) => {
  const { listener: listens } = listener({ ms: 0 }, [web1, web2])
  const runId = (run: number) => run.toString(16).padStart(16, '0')
  for (let run = 0; run < 100; run++) listens.take(encodeAgentReport({ ...report, runId: runId(run) }, web1))
  t.match(listens.statistics, { accepted: 16, refused: { capacity: 84 } })
  listens.take(encodeAgentReport({ ...report, addresses: ['10.0.0.2'] }, web2))
  t.equal(listens.get('10.0.0.2').load, 1)
})

test('a key that is for any server from now on is for as many agents, and takes nothing twice for that', async (t) => {
  const { listener: listens } = listener({ ms: 0 }, [web1])
  const runId = (run: number) => run.toString(16).padStart(16, '0')
  const recorded = encodeAgentReport(report, web1)
  listens.take(recorded)
  listens.setKeys([{ ...web1, addresses: [] }])
  for (let run = 0; run < 100; run++) listens.take(encodeAgentReport({ ...report, runId: runId(run) }, web1))
  listens.take(recorded)
  t.match(listens.statistics, { accepted: 101, refused: { capacity: 0, replay: 1 } })
})

test('a report recorded half a minute ago is not believed', async (t) => {
  const { listener: listens, changes } = listener({ ms: 30_001 })
  listens.take(encodeAgentReport(report, key))
  t.same(changes, [])
  t.equal(listens.statistics.refused.clock, 1)
})

test('a server whose agent falls silent returns to its configured weight', async (t) => {
  const { listener: listens, changes } = listener()
  listens.take(encodeAgentReport(report, key))
  listens.expire(3001)
  t.same(changes, [
    ['10.0.0.1', 0.1],
    ['10.0.0.1', 1],
  ])
})

test('reports that wait to be read when this thread has stood still keep their servers from being forgotten', async (t) => {
  const changes: [string, number][] = []
  let heard = Promise.withResolvers<void>()
  const listens = new ReportListener({
    listen: '127.0.0.1:0',
    keys: [key],
    onChange: (...change) => changes.push(change),
    wallClockMs: () => {
      heard.resolve()
      return wallClock
    },
  })
  await listens.start()
  t.teardown(() => listens.stop())
  const socket = createSocket('udp4')
  t.teardown(() => socket.close())
  socket.connect(listens.port!, '127.0.0.1')
  await once(socket, 'connect')
  const send = (sequence: number) => socket.send(encodeAgentReport({ ...report, sequence, intervalMs: 100 }, key))
  send(0)
  await heard.promise
  heard = Promise.withResolvers()
  // From an immediate the timers are next, and only then what has come.
  await turn()
  send(1)
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 320)
  await heard.promise
  t.same(changes, [['10.0.0.1', 0.1]])
})

test('it hears a real agent', async (t) => {
  const heard = Promise.withResolvers<void>()
  const listens = new ReportListener({
    listen: '127.0.0.1:0',
    keys: [key],
    onChange: () => {},
    wallClockMs: () => {
      heard.resolve()
      return Date.now()
    },
  })
  await listens.start()
  t.teardown(() => listens.stop())
  const keyFile = `${t.testdir({ key: Buffer.from(key.secret).toString('hex') })}/key`
  chmodSync(keyFile, 0o600)
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
  const listens = new ReportListener({ listen: `127.0.0.1:${taken.address().port}`, keys: [key], onChange: () => {} })
  await t.rejects(listens.start(), { code: 'SOCKET_BUSY', message: /agents\.listen 127\.0\.0\.1:\d+/ })
})
