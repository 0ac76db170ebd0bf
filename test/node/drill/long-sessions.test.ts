/** Long sessions: their pauses, and when one is lost. */
import { createServer, type Server, type Socket } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { type Test, test } from 'tap'
import { type LoadOptions, monotonicMs } from '../../../node/drill/load-messages.ts'
import { LongSessions } from '../../../node/drill/long-sessions.ts'
import { encodeServerName, MESSAGE_BYTES, turnIntoReply } from '../../../node/drill/session-message.ts'
import { until } from '../../until.ts'

/** Answers as the session server does; `reply` may do otherwise with a message: return nothing to leave it unanswered. */
function serve(t: Test, reply: (message: Buffer, number: number, socket: Socket) => Buffer | undefined) {
  const server = createServer({ noDelay: true }, (socket) => {
    socket.on('error', () => {})
    socket.on('data', (data) => {
      for (let offset = 0; offset < data.length; offset += MESSAGE_BYTES) {
        const message = Buffer.from(data.subarray(offset, offset + MESSAGE_BYTES))
        const number = message.readUInt32BE(12)
        turnIntoReply(message, 0, encodeServerName('s1'))
        const answer = reply(message, number, socket)
        if (answer) socket.write(answer)
      }
    })
  })
  t.teardown(() => server.close())
  return new Promise<Server>((resolve) => server.listen(0, '127.0.0.1', () => resolve(server)))
}

function sessionsTo(server: Server, count: number, patienceMs = 10_000): LongSessions {
  const options: LoadOptions = {
    virtualAddress: '127.0.0.1',
    sessionPort: (server.address() as { port: number }).port,
    webPort: 0,
    sessions: count,
    messageIntervalMs: 20,
    connectionsPerSecond: 1,
    downloads: [],
    patienceMs,
  }
  return new LongSessions(options, monotonicMs)
}

test('sessions whose every answer is right survive, and say where they come from', async (t) => {
  const server = await serve(t, (message) => message)
  const sessions = sessionsTo(server, 20)
  t.equal(await sessions.open(), 20)
  sessions.observe()
  const conversations = sessions.conversations()
  t.equal(new Set(conversations.map(({ client }) => client)).size, 20)
  t.match(conversations[0], { kind: 'session', client: /^127\.0\.0\.1:\d+$/, server: 's1' })
  sessions.fault(monotonicMs())
  await until(() => sessions.progress().progressed === 20)
  const result = await sessions.finish()
  t.same(result.lost, [])
  t.equal(result.pausesMs.length, 20)
  t.ok(result.pausesMs.every((pause) => pause > 0))
})

test('answers that come in pieces are put together', async (t) => {
  // Two messages may come at once: the second answer begins when the first has ended.
  const turns = new Map<Socket, Promise<void>>()
  const server = await serve(t, (message, _number, socket) => {
    const answer = async () => {
      socket.write(message.subarray(0, 10))
      await delay(5)
      socket.write(message.subarray(10))
    }
    turns.set(socket, (turns.get(socket) ?? Promise.resolve()).then(answer))
    return undefined
  })
  const sessions = sessionsTo(server, 2)
  t.equal(await sessions.open(), 2)
  sessions.fault(monotonicMs())
  await until(() => sessions.progress().progressed === 2)
  t.same((await sessions.finish()).lost, [])
})

test('a stall counts from when the first message in it was due, for all that it held up', async (t) => {
  const STALL_MS = 200
  let stalledAt: number | undefined
  let isOver = false
  const held: (() => void)[] = []
  const server = await serve(t, (message, number, socket) => {
    if (number < 5) return message
    stalledAt ??= monotonicMs()
    if (isOver) return message
    held.push(() => socket.write(message))
    if (held.length === 4) {
      setTimeout(
        () => {
          isOver = true
          for (const release of held) release()
        },
        stalledAt + STALL_MS - monotonicMs(),
      )
    }
    return undefined
  })
  const sessions = sessionsTo(server, 1)
  await sessions.open()
  sessions.observe()
  // Before the stall: a message that is sent late because this machine is busy still counts from when it was due.
  sessions.fault(monotonicMs())
  await until(() => held.length > 3 && sessions.progress().progressed === 1)
  const { pausesMs, baselinePausesMs } = await sessions.finish()
  // The message that met the stall was due before it reached the server.
  t.ok(pausesMs[0] >= STALL_MS - 1, `${pausesMs[0]}`)
  t.ok(baselinePausesMs[0] < pausesMs[0])
})

test('a session is lost when it is reset, ends, is answered wrongly or by another server, or makes no progress', async (t) => {
  const changed = (message: Buffer) => {
    message[40] ^= 1
    return message
  }
  const repeated = (message: Buffer) => Buffer.concat([message, message])
  const otherServer = (message: Buffer) => {
    turnIntoReply(message, 0, encodeServerName('s2'))
    return message
  }
  const cases: [string, (message: Buffer, socket: Socket) => Buffer | undefined, RegExp][] = [
    ['reset', (_message, socket) => void socket.resetAndDestroy(), /ECONNRESET/],
    ['ended', (_message, socket) => void socket.end(), /ended by the server/],
    ['changed', changed, /wrong answer to message 3/],
    ['answered twice', repeated, /wrong answer to message 4/],
    ['answered by another server', otherServer, /answered by s2/],
    ['silent', () => undefined, /no progress for 1 s/],
  ]
  for (const [what, misbehave, reason] of cases) {
    const server = await serve(t, (message, number, socket) => (number >= 3 ? misbehave(message, socket) : message))
    // A session has as long to open as it has to make progress.
    const sessions = sessionsTo(server, 2, what === 'silent' ? 1000 : undefined)
    t.equal(await sessions.open(), 2, what)
    await until(() => sessions.progress().lost === 2)
    const { lost, pausesMs } = await sessions.finish()
    t.equal(lost.length, 2, what)
    t.match(lost[0].reason, reason, what)
    t.equal(lost[0].server, 's1', what)
    t.same(pausesMs, [], what)
  }
})

test('sessions that nobody accepts are not opened, and the reason is told', async (t) => {
  const server = await serve(t, (message) => message)
  const sessions = sessionsTo(server, 3)
  await new Promise((resolve) => server.close(resolve))
  t.equal(await sessions.open(), 0)
  t.same(sessions.refusals(), ['ECONNREFUSED'])
  t.same((await sessions.finish()).lost, [])
})
