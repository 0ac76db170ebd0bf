/** Questions to a HAProxy agent over TCP: what counts as its answer. */
import { once } from 'node:events'
import { createServer, type Socket } from 'node:net'
import { type Test, test } from 'tap'
import { createAskAgent } from '../../../../node/director/load/agent-check.ts'

/** Asks an agent that does this with each connection. */
async function asked(
  t: Test,
  serve: (socket: Socket) => void,
  { send = '', timeoutMs = 10_000, signal = new AbortController().signal } = {},
): Promise<string | undefined> {
  const sockets: Socket[] = []
  const server = createServer((socket) => {
    sockets.push(socket)
    socket.on('error', () => {})
    serve(socket)
  })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  t.teardown(() => server.close())
  const { port } = server.address() as { port: number }
  const line = await createAskAgent({ port, timeoutMs, send })('127.0.0.1', signal)
  for (const socket of sockets) socket.destroy()
  return line
}

const answers: [what: string, serve: (socket: Socket) => void, line: string | undefined][] = [
  ['a line', (socket) => socket.end('75% up\n'), '75% up'],
  ['a line of a Windows agent', (socket) => socket.end('75%\r\n'), '75%'],
  ['the first of several lines, before the agent has ended', (socket) => socket.write('drain\nmaint\n'), 'drain'],
  ['a line in pieces', (socket) => socket.write('7', () => setImmediate(() => socket.write('5%\n'))), '75%'],
  ['a line without its end', (socket) => socket.end('75%'), undefined],
  ['nothing', (socket) => socket.end(), undefined],
  ['a reset', (socket) => socket.resetAndDestroy(), undefined],
  ['a line that does not end', (socket) => socket.write('x'.repeat(100_000)), undefined],
]
for (const [what, serve, line] of answers) {
  test(`${what} is ${line === undefined ? 'no answer' : 'an answer'}`, async (t) =>
    t.equal(await asked(t, serve), line))
}

test('an agent that must be spoken to first is', async (t) => {
  const echo = (socket: Socket) => socket.on('data', (data) => socket.end(`${data.toString().trim()} ready\n`))
  t.equal(await asked(t, echo, { send: '40%\n' }), '40% ready')
})

test('one that says nothing is not waited for any longer', async (t) => {
  t.equal(await asked(t, () => {}, { timeoutMs: 20 }), undefined)
})

test('a question may be called off', async (t) => {
  const controller = new AbortController()
  t.equal(await asked(t, () => controller.abort(), { signal: controller.signal }), undefined)
  t.equal(await asked(t, () => t.fail('it is asked'), { signal: controller.signal }), undefined)
})

test('nobody there is no answer', async (t) => {
  const server = createServer()
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const { port } = server.address() as { port: number }
  await new Promise((resolve) => server.close(resolve))
  const ask = createAskAgent({ port, timeoutMs: 10_000, send: '' })
  t.equal(await ask('127.0.0.1', new AbortController().signal), undefined)
})
