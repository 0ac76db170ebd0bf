/** The agent over real sockets on loopback. */
import { spawn } from 'node:child_process'
import { createSocket, type Socket } from 'node:dgram'
import { once } from 'node:events'
import { chmodSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { type Test, test } from 'tap'
import { runAgent } from '../../../node/agent/agent.ts'
import { formatEndpoint } from '../../../protocol/packet/ipv6-address.ts'
import { type AgentKey, createAgentKey } from '../../../protocol/wire/agent-key.ts'
import { type AgentReport, decodeAgentReport } from '../../../protocol/wire/agent-report.ts'
import { needsIPv6Loopback } from '../../support/ipv6-loopback.ts'
import { until } from '../../until.ts'

const COMMAND = join(import.meta.dirname, '../../../node/cli/director.ts')
const key = createAgentKey(Buffer.alloc(32, 5))
const text = hex(key)

function hex({ secret }: AgentKey): string {
  return Buffer.from(secret).toString('hex')
}

function keyFileOf(t: Test, content: string): string {
  const file = `${t.testdir({ key: content })}/key`
  chmodSync(file, 0o600)
  return file
}

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

async function nextReport(socket: Socket, by = key): Promise<AgentReport> {
  const [datagram] = (await once(socket, 'message')) as [Buffer]
  const signed = decodeAgentReport(datagram, (id) => (id === by.id ? by : undefined))
  if (typeof signed === 'string') throw new Error(`refused: ${signed}`)
  return signed.report
}

test('every director hears the same reports, numbered, again and again', async (t) => {
  const [first, second] = [await director(t), await director(t)]
  const heard = Promise.all([nextReport(first.socket), nextReport(second.socket)])
  const agent = await runAgent({
    directors: [first.at, second.at],
    keyFile: keyFileOf(t, text),
    addresses: ['10.0.0.1'],
    intervalMs: 100,
  })
  t.teardown(() => agent.stop())
  const [atFirst, atSecond] = await heard
  t.same(atFirst, atSecond)
  t.match(atFirst, { addresses: ['10.0.0.1'], sequence: 0, intervalMs: 100 })
  const later = await nextReport(first.socket)
  t.equal(later.runId, atFirst.runId)
  t.ok(later.sequence > 0, 'those between have come while the second director was waited for')
})

test('directors are told by the family of their address, and of this server’s addresses in their one form', {
  skip: needsIPv6Loopback,
}, async (t) => {
  const [first, second] = [await director(t), await director(t, '::1')]
  const heard = Promise.all([nextReport(first.socket), nextReport(second.socket)])
  const agent = await runAgent({
    directors: [first.at, second.at],
    keyFile: keyFileOf(t, text),
    addresses: ['2001:DB8:0::1', '2001:db8::1', '10.0.0.1'],
  })
  t.teardown(() => agent.stop())
  const [atFirst, atSecond] = await heard
  t.same(atFirst, atSecond)
  t.same(atFirst.addresses, ['2001:db8::1', '10.0.0.1'])
})

test('an agent that starts again begins another run', async (t) => {
  const { socket, at } = await director(t)
  const options = { directors: [at], keyFile: keyFileOf(t, text), addresses: ['10.0.0.1'] }
  const runs = []
  for (let start = 0; start < 2; start++) {
    const heard = nextReport(socket)
    const agent = await runAgent(options)
    runs.push((await heard).runId)
    await agent.stop()
  }
  t.not(runs[0], runs[1])
})

test('an agent speaks for the server that its key is for, with the first key of its file', async (t) => {
  const { socket, at } = await director(t)
  const other = hex(createAgentKey(Buffer.alloc(32, 6)))
  const keyFile = keyFileOf(t, `# web1\n${text} 10.0.0.7 2001:DB8::7\n\n${other} 10.0.0.8\n`)
  const heard = nextReport(socket)
  let readings = 0
  const readAddresses = () => [`10.0.1.${readings++}`]
  const agent = await runAgent({ directors: [at], keyFile, readAddresses, intervalMs: 100, addressIntervalMs: 10 })
  t.teardown(() => agent.stop())
  t.same((await heard).addresses, ['10.0.0.7', '2001:db8::7'])
  t.same((await nextReport(socket)).addresses, ['10.0.0.7', '2001:db8::7'])
  t.equal(readings, 0, 'whatever addresses its machine has')
})

test('an agent whose key is for any server speaks for what its machine has by then, and tells of each change once', async (t) => {
  const { socket, at } = await director(t)
  let machine = ['172.17.0.1', '10.0.0.100']
  let readings = 0
  const lines: string[] = []
  const heard = nextReport(socket)
  const agent = await runAgent({
    directors: [at],
    keyFile: keyFileOf(t, text),
    virtualAddresses: ['10.0.0.100'],
    intervalMs: 100,
    readAddresses: () => {
      readings++
      return machine
    },
    addressIntervalMs: 10,
    log: (line) => lines.push(line),
  })
  t.teardown(() => agent.stop())
  const isReadTwice = async (addresses: string[]) => {
    machine = addresses
    const before = readings
    await until(() => readings >= before + 2)
  }
  t.same((await heard).addresses, ['172.17.0.1'])
  await isReadTwice(['10.0.0.7', '10.0.0.100', '172.17.0.1'])
  await isReadTwice(['172.17.0.1', '10.0.0.7'])
  // One that was sent before may be waiting here still.
  await nextReport(socket)
  t.same((await nextReport(socket)).addresses, ['10.0.0.7', '172.17.0.1'])
  await isReadTwice([])
  t.same(agent.addresses, ['10.0.0.7', '172.17.0.1'], 'when there is none, it goes on with those that it knows')
  await isReadTwice(['10.0.0.8'])
  t.same(agent.addresses, ['10.0.0.8'])
  const read = "has read this machine's addresses again: reporting for"
  const none = 'this machine has no address to report for: name one with --address'
  t.same(lines, [
    `${read} 10.0.0.7, 172.17.0.1`,
    `goes on reporting for 10.0.0.7, 172.17.0.1: ${none}`,
    `${read} 10.0.0.8`,
  ])
})

test('an agent takes another key without a gap, and keeps the one that it has when the file is not right', async (t) => {
  const { socket, at } = await director(t)
  const keyFile = keyFileOf(t, `${text} 10.0.0.7`)
  const heard = nextReport(socket)
  const agent = await runAgent({ directors: [at], keyFile, intervalMs: 100 })
  t.teardown(() => agent.stop())
  const { runId } = await heard
  writeFileSync(keyFile, 'half a ke')
  t.throws(() => agent.reloadKey(), { code: 'CONFIG_INVALID' })
  t.equal((await nextReport(socket)).runId, runId)
  const next = createAgentKey(Buffer.alloc(32, 6))
  writeFileSync(keyFile, `${hex(next)} 10.0.0.9`)
  agent.reloadKey()
  t.match(await nextReport(socket, next), { runId, addresses: ['10.0.0.9'] })
})

test('the command reads its key again at SIGHUP', async (t) => {
  const { socket, at } = await director(t)
  const keyFile = keyFileOf(t, `${text} 10.0.0.7`)
  const command = [COMMAND, 'agent', '--director', at, '--key-file', keyFile, '--interval', '100']
  const child = spawn(process.execPath, command, { stdio: ['ignore', 'inherit', 'pipe'] })
  const said = createInterface(child.stderr)
  const lines: string[] = []
  const sayingOf = (pattern: RegExp) =>
    new Promise<void>((resolve) => said.on('line', (line) => pattern.test(line) && resolve()))
  said.on('line', (line) => lines.push(line))
  await sayingOf(/^agent: reporting for 10\.0\.0\.7 /)
  await nextReport(socket)
  writeFileSync(keyFile, `${text} web1`)
  const kept = sayingOf(/goes on with the key that it has: .*key:1: expected .* \(CONFIG_INVALID\)$/)
  child.kill('SIGHUP')
  await kept
  const next = createAgentKey(Buffer.alloc(32, 6))
  writeFileSync(keyFile, `${hex(next)} 10.0.0.9`)
  const read = sayingOf(/again: reporting for 10\.0\.0\.9$/)
  child.kill('SIGHUP')
  await read
  // What was sent before that may be waiting here still.
  let report: AgentReport | undefined
  while (!report) report = await nextReport(socket, next).catch(() => undefined)
  t.same(report.addresses, ['10.0.0.9'])
  const ended = once(child, 'exit')
  child.kill('SIGTERM')
  t.same(await ended, [0, null])
  t.notMatch(lines.join('\n'), new RegExp(`${text}|${hex(next)}`), 'and shows none')
})

test('a decapsulator lives and dies with the agent, and its failure is the agent’s', async (t) => {
  const { at } = await director(t)
  let fail: (error: Error) => void = () => {}
  let stopped = false
  const agent = await runAgent({
    directors: [at],
    keyFile: keyFileOf(t, text),
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
    'a key that others may read',
    { directors: ['10.0.0.1:7947'], keyFile: 'open' },
    { code: 'CONFIG_INVALID', message: /open: others than its owner may use this key: chmod 600 it$/ },
  ],
  [
    'an address that is none',
    { directors: ['10.0.0.1:7947'], keyFile: 'key', addresses: ['web1'] },
    { code: 'INPUT_INVALID', message: /address web1/ },
  ],
  [
    'no address, as its machine has none yet,',
    { directors: ['10.0.0.1:7947'], keyFile: 'key', readAddresses: () => [] },
    { code: 'INPUT_INVALID', message: /this machine has no address to report for: name one with --address/ },
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
    const folder = t.testdir({ key: text, short: 'abc', open: text })
    for (const file of ['key', 'short']) chmodSync(`${folder}/${file}`, 0o600)
    await t.rejects(runAgent({ ...options, keyFile: `${folder}/${options.keyFile}` }), error)
  })
}
