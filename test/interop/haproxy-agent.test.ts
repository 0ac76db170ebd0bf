/** HAProxy and we ask agents that say the same, and make the same of what it says (agent-check). */
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, writeFileSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { type Test, test } from 'tap'
import type { AgentState } from '../../node/director/load/agent-answer.ts'
import { createAskAgent } from '../../node/director/load/agent-check.ts'
import { AgentChecks } from '../../node/director/load/agent-checks.ts'
import { endsWithTest } from '../support/own-process.ts'

const missing = spawnSync('haproxy', ['-v']).error ? 'haproxy is not installed' : false
const ADDRESS = '127.0.0.1'
const WEIGHT = 100
const SEND = 'how are you\n'

/** One after the other: what is not said stays. "failed" is a word of ours alone. */
const LINES = [
  'up',
  '75%',
  '75% maxconn:30',
  'DRAIN',
  'up 20%',
  'ready',
  'maint,50%',
  'ready',
  'down # disk full',
  '80%',
  'ready 60%',
  'up',
  'stopped',
  'fail\tup',
  '0%',
  '%5 5.5% -3% 40 upp',
  'maxconn:0 100% drain ready',
  'ready,up 100%',
]

test('what an agent says is to HAProxy what it is to us', { skip: missing, timeout: 60_000 }, async (t) => {
  const [its, own] = [await startAgent(t), await startAgent(t)]
  const haproxy = await startHaproxy(t, its.port)
  const checks = new AgentChecks({
    intervalMs: 100,
    ask: createAskAgent({ port: own.port, timeoutMs: 1000, send: SEND }),
    onChange: () => {},
    monotonicMs: () => performance.now(),
    random: Math.random,
  })
  checks.use(ADDRESS)
  checks.start()
  t.teardown(() => checks.stop())
  for (const line of LINES) {
    for (const agent of [its, own]) agent.says(line)
    // Who asks again has taken in the answer before.
    await Promise.all([its.asked(2), own.asked(2)])
    const { status, weight, slim } = await haproxy.server()
    t.equal(ours(checks.get(ADDRESS)), inWords(status, Number(weight), Number(slim)), line)
  }
})

/** In HAProxy's words: "no check" of one that is up, since it is asked for nothing else. */
function ours({ administration, isDown, weightPercent, maxConnections }: AgentState): string {
  if (administration === 'maint') return inWords('MAINT', 0, maxConnections ?? 0)
  const inUse = administration === 'drain' ? 'DRAIN (agent)' : 'no check'
  return inWords(isDown ? 'DOWN (agent)' : inUse, (WEIGHT * (weightPercent ?? 100)) / 100, maxConnections ?? 0)
}

function inWords(status: string, weight: number, connections: number): string {
  // HAProxy works the weight out when the server is back from maintenance.
  return `${status}${status === 'MAINT' ? '' : `, weight ${weight}`}, ${connections} connections`
}

async function startAgent(t: Test) {
  let line = 'ready'
  let waiting: { left: number; done: () => void } | undefined
  const server = createServer((socket) => {
    socket.on('error', () => {})
    socket.once('data', (said) => {
      socket.end(said.toString('latin1') === SEND ? `${line}\n` : 'down # is not asked as agreed\n')
      if (waiting && --waiting.left === 0) waiting.done()
    })
  })
  await once(server.listen(0, ADDRESS), 'listening')
  t.teardown(() => server.close())
  return {
    port: (server.address() as { port: number }).port,
    says: (text: string) => {
      line = text
    },
    asked: (times: number) =>
      new Promise<void>((done) => {
        waiting = { left: times, done }
      }),
  }
}

async function startHaproxy(t: Test, agentPort: number) {
  const folder = mkdtempSync(join(tmpdir(), 'haproxy-'))
  const [config, socket] = [join(folder, 'haproxy.cfg'), join(folder, 'socket')]
  writeFileSync(
    config,
    `global
  stats socket ${socket}
defaults
  mode tcp
  timeout connect 1s
  timeout client 1s
  timeout server 1s
backend pool
  balance roundrobin
  server s1 ${ADDRESS}:9 weight ${WEIGHT} agent-check agent-port ${agentPort} agent-inter 100ms agent-send "${SEND.trim()}\\n"
`,
  )
  const child = spawn('haproxy', ['-db', '-f', config], { stdio: ['ignore', 'inherit', 'pipe'] })
  endsWithTest(t, child, folder, 'SIGTERM')
  return {
    /** Of "show stat", by name. */
    server: async (): Promise<Record<string, string>> => {
      const connection = connect(socket)
      connection.end('show stat\n')
      const [head, ...rows] = (await text(connection))
        .replace(/^# /, '')
        .trim()
        .split('\n')
        .map((row) => row.split(','))
      const row = rows.find(([, name]) => name === 's1') ?? []
      return Object.fromEntries(head.map((name, column) => [name, row[column]]))
    },
  }
}
