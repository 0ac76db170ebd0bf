/** One check against real sockets on loopback. */
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'
import { setImmediate as turn } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import { test } from 'tap'
import { checkTcp } from '../../../../node/director/health/tcp-check.ts'

async function server(t: { teardown: (task: () => void) => void }): Promise<{ server: Server; port: number }> {
  const made = createServer()
  t.teardown(() => made.close())
  made.listen(0, '127.0.0.1')
  await once(made, 'listening')
  return { server: made, port: (made.address() as AddressInfo).port }
}

test('a server that accepts is live, and its connection is reset, so that nothing stays in TIME-WAIT', async (t) => {
  const { server: listens, port } = await server(t)
  const ended = new Promise<NodeJS.ErrnoException | null>((resolve) => {
    listens.once('connection', (socket: Socket) => {
      socket.once('error', resolve)
      socket.once('end', () => resolve(null))
      socket.resume()
    })
  })
  t.same(await checkTcp('127.0.0.1', port, 5000, new AbortController().signal), { outcome: 'success' })
  t.equal((await ended)?.code, 'ECONNRESET')
})

test('an answer that waits to be looked at when this thread has stood still is in time', async (t) => {
  const { server: listens, port } = await server(t)
  listens.on('connection', (socket) => socket.on('error', () => {}))
  // From an immediate the timers are next, and only then what has come.
  await turn()
  const result = checkTcp('127.0.0.1', port, 20, new AbortController().signal)
  await new Promise((connects) => process.nextTick(connects))
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 60)
  t.same(await result, { outcome: 'success' })
})

test('a port where nobody listens is a failure that says why', async (t) => {
  const { server: listens, port } = await server(t)
  await new Promise((resolve) => listens.close(resolve))
  t.same(await checkTcp('127.0.0.1', port, 5000, new AbortController().signal), {
    outcome: 'failure',
    reason: 'ECONNREFUSED',
  })
})

test('an abort ends a check at once and says nothing of the server', async (t) => {
  const { port } = await server(t)
  const abort = new AbortController()
  const result = checkTcp('127.0.0.1', port, 60_000, abort.signal)
  abort.abort()
  t.match(await result, { outcome: 'inconclusive' })
  t.match(await checkTcp('127.0.0.1', port, 60_000, abort.signal), { outcome: 'inconclusive' })
})

/** Listens and never accepts; with its queue full, the kernel answers no further SYN. */
const silentServer = `
  const { parentPort } = require('node:worker_threads')
  const server = require('node:net').createServer()
  server.listen({ port: 0, host: '127.0.0.1', backlog: 1 }, () => {
    parentPort.postMessage(server.address().port)
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0)
  })`

test('a server that does not answer is a failure when the time is over', async (t) => {
  const worker = new Worker(silentServer, { eval: true })
  t.teardown(() => worker.terminate())
  const [port] = (await once(worker, 'message')) as [number]
  for (let waiting = 0; waiting < 2; waiting++) {
    const socket = connect(port, '127.0.0.1')
    socket.on('error', () => {})
    t.teardown(() => socket.destroy())
    await once(socket, 'connect')
  }
  t.same(await checkTcp('127.0.0.1', port, 50, new AbortController().signal), {
    outcome: 'failure',
    reason: 'no answer in 50 ms',
  })
})
