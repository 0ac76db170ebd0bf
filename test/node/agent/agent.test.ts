/** The agent over real sockets on loopback. */
import { createSocket, type Socket } from 'node:dgram'
import { once } from 'node:events'
import { test } from 'tap'
import { runAgent } from '../../../node/agent/agent.ts'
import { formatEndpoint } from '../../../protocol/packet/ipv6-address.ts'
import { type AgentReport, decodeAgentReport } from '../../../protocol/wire/agent-report.ts'

const key = Buffer.alloc(32, 5)
const text = key.toString('hex')

async function director(
  t: { teardown: (task: () => void) => void },
  host = '127.0.0.1',
): Promise<{ socket: Socket; at: string }> {
  const socket = createSocket(host.includes(':') ? 'udp6' : 'udp4')
  t.teardown(() => socket.close())
  socket.bind(0, host)
  await once(socket, 'listening')
  return { socket, at: formatEndpoint(host, socket.address().port) }
}

async function nextReport(socket: Socket): Promise<AgentReport> {
  const [datagram] = (await once(socket, 'message')) as [Buffer]
  const report = decodeAgentReport(datagram, key)
  if (typeof report === 'string') throw new Error(`refused: ${report}`)
  return report
}

test('every director hears the same reports, numbered, again and again', async (t) => {
  const [first, second] = [await director(t), await director(t)]
  const heard = Promise.all([nextReport(first.socket), nextReport(second.socket)])
  const agent = await runAgent({
    directors: [first.at, second.at],
    keyFile: `${t.testdir({ key: text })}/key`,
    addresses: ['10.0.0.1'],
    intervalMs: 100,
  })
  t.teardown(() => agent.stop())
  const [atFirst, atSecond] = await heard
  t.same(atFirst, atSecond)
  t.match(atFirst, { addresses: ['10.0.0.1'], sequence: 0, intervalMs: 100 })
  const later = await nextReport(first.socket)
  t.equal(later.runId, atFirst.runId)
  t.equal(later.sequence, 1)
})

test('directors are told by the family of their address, and of this server’s addresses in their one form', async (t) => {
  const [first, second] = [await director(t), await director(t, '::1')]
  const heard = Promise.all([nextReport(first.socket), nextReport(second.socket)])
  const agent = await runAgent({
    directors: [first.at, second.at],
    keyFile: `${t.testdir({ key: text })}/key`,
    addresses: ['2001:DB8:0::1', '2001:db8::1', '10.0.0.1'],
  })
  t.teardown(() => agent.stop())
  const [atFirst, atSecond] = await heard
  t.same(atFirst, atSecond)
  t.same(atFirst.addresses, ['2001:db8::1', '10.0.0.1'])
})

test('an agent that starts again begins another run', async (t) => {
  const { socket, at } = await director(t)
  const options = { directors: [at], keyFile: `${t.testdir({ key: text })}/key`, addresses: ['10.0.0.1'] }
  const runs = []
  for (let start = 0; start < 2; start++) {
    const heard = nextReport(socket)
    const agent = await runAgent(options)
    runs.push((await heard).runId)
    await agent.stop()
  }
  t.not(runs[0], runs[1])
})

test('a decapsulator lives and dies with the agent, and its failure is the agent’s', async (t) => {
  const { at } = await director(t)
  let fail: (error: Error) => void = () => {}
  let stopped = false
  const agent = await runAgent({
    directors: [at],
    keyFile: `${t.testdir({ key: text })}/key`,
    addresses: ['10.0.0.1'],
    decapsulator: {
      onFailure: (handler) => {
        fail = handler
      },
      stop: async () => {
        stopped = true
      },
    },
  })
  const failures: string[] = []
  agent.onFailure((error) => failures.push(error.message))
  fail(new Error('the device is gone'))
  t.same(failures, ['the device is gone'])
  await agent.stop()
  t.ok(stopped)
})

const refused: [string, Parameters<typeof runAgent>[0], { code: string; message: RegExp }][] = [
  ['no director', { directors: [], keyFile: 'key' }, { code: 'INPUT_INVALID', message: /no director/ }],
  [
    'a director without a port',
    { directors: ['10.0.0.1'], keyFile: 'key' },
    { code: 'INPUT_INVALID', message: /director 10\.0\.0\.1: expected ADDRESS:PORT/ },
  ],
  [
    'a port out of range',
    { directors: ['10.0.0.1:65536'], keyFile: 'key' },
    { code: 'INPUT_INVALID', message: /10\.0\.0\.1:65536/ },
  ],
  [
    'a missing key file',
    { directors: ['10.0.0.1:7947'], keyFile: 'missing' },
    { code: 'CONFIG_UNREADABLE', message: /missing/ },
  ],
  [
    'a key that is none',
    { directors: ['10.0.0.1:7947'], keyFile: 'short' },
    { code: 'CONFIG_INVALID', message: /64 hexadecimal/ },
  ],
  [
    'an address that is none',
    { directors: ['10.0.0.1:7947'], keyFile: 'key', addresses: ['web1'] },
    { code: 'INPUT_INVALID', message: /address web1/ },
  ],
  [
    'more addresses than a report carries',
    {
      directors: ['10.0.0.1:7947'],
      keyFile: 'key',
      addresses: Array.from({ length: 25 }, (_, host) => `10.0.0.${host}`),
    },
    { code: 'INPUT_INVALID', message: /--address/ },
  ],
  [
    'an interval of 0',
    { directors: ['10.0.0.1:7947'], keyFile: 'key', intervalMs: 0 },
    { code: 'INPUT_INVALID', message: /interval 0/ },
  ],
]
for (const [what, options, error] of refused) {
  test(`an agent with ${what} does not start`, async (t) => {
    const folder = t.testdir({ key: text, short: 'abc' })
    await t.rejects(runAgent({ ...options, keyFile: `${folder}/${options.keyFile}` }), error)
  })
}
