/** What libp2p would gather, or work on, without end. What it refuses and what of that is counted: test/fuzz/cluster-port.test.ts. */
import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import { test } from 'tap'
import { FrameLengths, guardedEncrypter, guardedYamux } from '../../../../node/director/cluster/inbound-guard.ts'
import { Libp2pTransport } from '../../../../node/director/cluster/libp2p-transport.ts'
import { seededRandom } from '../../../random.ts'
import { connectTo } from '../../../support/cluster-intruder.ts'
import { until } from '../../../until.ts'
import { createMembers, optionsOf } from './libp2p-pool.ts'

const RUBBISH = new Uint8Array(64 * 1024).fill(0xff)

function ended(socket: Socket): Promise<void> {
  // It is reset.
  socket.on('error', () => {})
  return new Promise((resolve) => socket.resume().once('close', () => resolve()))
}

test('rubbish before the handshake is not read to its end: who says nothing is waited for longer', async (t) => {
  const members = await createMembers(['d1'])
  const d1 = new Libp2pTransport(optionsOf(members, 'd1'))
  await d1.start()
  const [host, port] = (members.get('d1')?.address ?? '').split(':')
  const order: string[] = []
  const open = async (name: string, bytes: Uint8Array) => {
    const socket = connect(Number(port), host)
    const end = ended(socket).then(() => order.push(name))
    await once(socket, 'connect')
    socket.write(bytes)
    return { end }
  }
  const silent = await open('silent', new Uint8Array())
  const loud = await Promise.all(Array.from({ length: 60 }, () => open('loud', RUBBISH)))
  await Promise.all([silent, ...loud].map(({ end }) => end))
  t.equal(order.indexOf('silent'), 60)
  await until(() => d1.counters.failedHandshakes > 60)
  t.equal(d1.counters.failedHandshakes, 61)
  await d1.stop()
})

test('nor is it when whoever answers in the place of a peer says it', async (t) => {
  const members = await createMembers(['d1', 'd2', 'd3'])
  const d1 = new Libp2pTransport(optionsOf(members, 'd1'))
  const order: string[] = []
  const ends: Promise<unknown>[] = []
  const servers = await Promise.all(
    ['d2', 'd3'].map(async (name) => {
      const server = createServer((socket) => {
        ends.push(ended(socket).then(() => order.push(name)))
        if (name === 'd3') socket.write(RUBBISH)
      })
      await once(server.listen(Number(members.get(name)?.address.split(':')[1]), '127.0.0.1'), 'listening')
      return server
    }),
  )
  await d1.start()
  await until(() => order.includes('d2'))
  t.equal(order[0], 'd3')
  await d1.stop()
  await Promise.all(ends)
  for (const server of servers) server.close()
})

test('what comes while a handshake is worked on is kept up to a bound, and then the connection ends', async (t) => {
  const server = createServer((socket) => {
    // It is reset.
    socket.on('error', () => {}).write(new Uint8Array(2 ** 20))
  })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const connection = await connectTo(`127.0.0.1:${(server.address() as { port: number }).port}`, '127.0.0.1')
  let read = 0
  connection.addEventListener('message', ({ data }) => {
    read += data.byteLength
  })
  const never = () => new Promise<never>(() => {})
  const slow = { protocol: '/slow', secureInbound: never, secureOutbound: never }
  const components = {} as Parameters<ReturnType<typeof guardedEncrypter>>[0]
  void guardedEncrypter(
    () => slow,
    () => {},
  )(components).secureInbound(connection)
  if (connection.status === 'open') await once(connection, 'close')
  t.equal(connection.status, 'aborted')
  t.ok(read <= 128 * 1024, `${read} bytes`)
  server.close()
})

test('what nobody reads is kept up to a bound, and then the connection ends', async (t) => {
  const accepted: Socket[] = []
  // It reads nothing.
  const server = createServer({ pauseOnConnect: true }, (socket) => accepted.push(socket))
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const connection = await connectTo(`127.0.0.1:${(server.address() as { port: number }).port}`, '127.0.0.1')
  guardedYamux({ enableKeepAlive: false })().createStreamMuxer(connection)
  let megabytes = 0
  for (; connection.status === 'open' && megabytes < 100; megabytes++) connection.send(new Uint8Array(2 ** 20))
  t.ok(megabytes > 20 && megabytes < 40, `it has ended after ${megabytes} MiB`)
  for (const socket of accepted) socket.destroy()
  server.close()
})

test('frames of yamux may be as long as its largest window, in whatever pieces they come', async (t) => {
  const random = seededRandom(1)
  const frame = (type: number, length: number) => {
    const header = Buffer.from([0, type, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0])
    header.writeUInt32BE(length, 8)
    return header
  }
  const sound = Buffer.concat([
    frame(0, 3),
    Buffer.alloc(3, 0xff),
    frame(1, 2 ** 32 - 1),
    frame(0, 0),
    frame(2, 2 ** 31),
    frame(0, 2 ** 16),
    Buffer.alloc(2 ** 16, 0xff),
  ])
  for (const [last, isSound] of [
    [frame(0, 2 ** 24), true],
    [frame(0, 2 ** 24 + 1), false],
  ] as const) {
    for (let round = 0; round < 100; round++) {
      const frames = new FrameLengths()
      const bytes = Buffer.concat([sound, last])
      for (let at = 0; at < sound.length; ) {
        const to = Math.min(sound.length, at + 1 + random.below(random.oneIn(2) ? 20 : 2 ** 16))
        if (!frames.pass(bytes.subarray(at, to))) t.fail(`round ${round}, byte ${at}`)
        at = to
      }
      const half = random.below(last.length)
      t.equal(frames.pass(last.subarray(0, half)) && frames.pass(last.subarray(half)), isSound)
    }
  }
})
