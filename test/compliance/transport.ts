/**
 * What every transport does, whatever it runs on. A factory gives pools of transports; each test takes its own.
 */
import { test } from 'tap'
import {
  type Admittance,
  MAX_MESSAGE_BYTES,
  type Peer,
  type PeerName,
  type Transport,
} from '../../node/director/cluster/transport.ts'
import { JOIN_TOKEN_BYTES_MAX } from '../../protocol/wire/join-token.ts'
import { until } from '../until.ts'

/** Long enough for a connection that gossip does not come through to be noticed and begun anew, on a busy machine too. */
const GOSSIP_DEADLINE_MS = 30_000

export interface TransportPool {
  /** Makes a transport that is configured with these peers, in every sense in which they are configured with it. Not started. */
  create(name: PeerName, peers: readonly PeerName[], admittance?: Admittance): Transport
  /** A director by the same name as before, after a stop. */
  recreate(name: PeerName, peers: readonly PeerName[]): Transport
  /** As setPeers() takes them. */
  peers(names: readonly PeerName[]): readonly Peer[]
}

type Received = { from: PeerName; bytes: Uint8Array }[]

export function transportCompliance(kind: string, createPool: () => Promise<TransportPool>): void {
  const describe = (sentence: string) => `${kind}: ${sentence}`

  async function connected(names: readonly PeerName[]): Promise<{ pool: TransportPool; all: Transport[] }> {
    const pool = await createPool()
    const all = names.map((name) =>
      pool.create(
        name,
        names.filter((other) => other !== name),
      ),
    )
    await Promise.all(all.map((transport) => transport.start()))
    await until(() => all.every((transport) => transport.connectedPeers().length === names.length - 1))
    return { pool, all }
  }

  async function stop(all: readonly Transport[]): Promise<void> {
    await Promise.all(all.map((transport) => transport.stop()))
  }

  function collect(transport: Transport, topic: Parameters<Transport['onMessage']>[0]): Received {
    const received: Received = []
    transport.onMessage(topic, (from, bytes) => received.push({ from, bytes: Uint8Array.from(bytes) }))
    return received
  }

  /** Gossip may be lost, above all on a young connection: says it until it is heard. */
  async function broadcastUntil(from: Transport, message: Uint8Array, heard: () => boolean): Promise<void> {
    let said = 0
    await until(() => {
      if (performance.now() - said > 100) {
        // As directors do all the time: a transport that notices gossip failing may notice it by these.
        from.broadcast('presence', message)
        from.broadcast('config', message)
        said = performance.now()
      }
      return heard()
    }, GOSSIP_DEADLINE_MS)
  }

  test(describe('all directors see each other, and say so once'), async (t) => {
    const pool = await createPool()
    const names = ['d1', 'd2', 'd3']
    const events: string[] = []
    const all = names.map((name) =>
      pool.create(
        name,
        names.filter((other) => other !== name),
      ),
    )
    for (const transport of all)
      transport.onPeer((peer, isUp) => events.push(`${transport.self} ${isUp ? 'sees' : 'loses'} ${peer}`))
    await Promise.all(all.map((transport) => transport.start()))
    await until(() => all.every((transport) => transport.connectedPeers().length === 2))
    t.same(events.sort(), ['d1 sees d2', 'd1 sees d3', 'd2 sees d1', 'd2 sees d3', 'd3 sees d1', 'd3 sees d2'])
    await stop(all)
  })

  test(describe('a broadcast reaches all others, with the name of its sender, and not the sender'), async (t) => {
    const { all } = await connected(['d1', 'd2', 'd3'])
    const received = all.map((transport) => collect(transport, 'config'))
    const message = Uint8Array.of(1, 2, 3)
    await broadcastUntil(all[0], message, () => received[1].length > 0 && received[2].length > 0)
    t.same(received[1][0], { from: 'd1', bytes: message })
    t.same(received[2][0], { from: 'd1', bytes: message })
    t.same(received[0], [])
    await stop(all)
  })

  test(describe('a message ends at the handler of its topic'), async (t) => {
    const { all } = await connected(['d1', 'd2'])
    const config = collect(all[1], 'config')
    const sync = collect(all[1], 'sync')
    await all[0].send('d2', 'sync', Uint8Array.of(1))
    await all[0].send('d2', 'config', Uint8Array.of(2))
    await until(() => sync.length + config.length === 2)
    t.same([sync[0].bytes, config[0].bytes], [Uint8Array.of(1), Uint8Array.of(2)])
    await stop(all)
  })

  test(describe('what is sent to one peer comes whole and in order, however large'), async (t) => {
    const { all } = await connected(['d1', 'd2'])
    const received = collect(all[1], 'sync')
    const lengths = [0, 1, 3, 4, 5, 1000, MAX_MESSAGE_BYTES - 1, MAX_MESSAGE_BYTES, 17, MAX_MESSAGE_BYTES, 0, 2]
    const messages = lengths.map((length, n) => new Uint8Array(length).map((_, i) => i + n))
    for (const message of messages) await all[0].send('d2', 'sync', message)
    await until(() => received.length === messages.length)
    t.ok(received.every(({ from, bytes }, i) => from === 'd1' && Buffer.compare(bytes, messages[i]) === 0))
    await stop(all)
  })

  test(describe('a thousand messages both ways at once keep their order'), async (t) => {
    const { all } = await connected(['d1', 'd2'])
    const received = all.map((transport) => collect(transport, 'sync'))
    const numbered = (n: number) => {
      const bytes = new Uint8Array(3000)
      new DataView(bytes.buffer).setUint32(0, n)
      return bytes
    }
    for (let n = 0; n < 1000; n++)
      await Promise.all([all[0].send('d2', 'sync', numbered(n)), all[1].send('d1', 'sync', numbered(n))])
    await until(() => received.every((messages) => messages.length === 1000))
    for (const messages of received)
      t.ok(messages.every(({ bytes }, n) => new DataView(bytes.buffer).getUint32(0) === n))
    await stop(all)
  })

  test(describe('a message to a peer that is not there is refused'), async (t) => {
    const pool = await createPool()
    const transport = pool.create('d1', ['d2'])
    await transport.start()
    await t.rejects(transport.send('d2', 'sync', Uint8Array.of(1)))
    await t.rejects(transport.send('d9', 'sync', Uint8Array.of(1)))
    await transport.stop()
  })

  test(describe('a message that is too large is refused and counted'), async (t) => {
    const { all } = await connected(['d1', 'd2'])
    const received = collect(all[1], 'sync')
    const large = new Uint8Array(MAX_MESSAGE_BYTES + 1)
    all[0].broadcast('config', large)
    await t.rejects(all[0].send('d2', 'sync', large), RangeError)
    t.equal(all[0].counters.oversizedMessages, 2)
    await all[0].send('d2', 'sync', Uint8Array.of(7))
    await until(() => received.length > 0)
    t.same(received[0].bytes, Uint8Array.of(7))
    await stop(all)
  })

  test(describe('a handler that throws is counted and hears the next message'), async (t) => {
    const { all } = await connected(['d1', 'd2'])
    let heard = 0
    all[1].onMessage('sync', () => {
      heard++
      throw new Error('thrown on purpose')
    })
    await all[0].send('d2', 'sync', Uint8Array.of(1))
    await all[0].send('d2', 'sync', Uint8Array.of(2))
    await until(() => heard === 2)
    t.equal(all[1].counters.failedHandlers, 2)
    await stop(all)
  })

  test(describe('a director that stops is lost, and found again when it is back'), async (t) => {
    const { pool, all } = await connected(['d1', 'd2'])
    const events: boolean[] = []
    all[0].onPeer((_, isUp) => events.push(isUp))
    await all[1].stop()
    await until(() => events.length === 1)
    await t.rejects(all[0].send('d2', 'sync', Uint8Array.of(1)))
    const again = pool.recreate('d2', ['d1'])
    const received = collect(again, 'sync')
    const gossiped = collect(again, 'config')
    await again.start()
    await until(() => events.length === 2)
    await all[0].send('d2', 'sync', Uint8Array.of(2))
    await until(() => received.length === 1)
    await broadcastUntil(all[0], Uint8Array.of(3), () => gossiped.length > 0)
    // Where gossip does not come through the new connection, that one is lost too, and found again.
    t.same(
      events,
      events.map((_, index) => index % 2 === 1),
    )
    t.equal(events.at(-1), true)
    await stop([all[0], again])
  })

  test(describe('a node that is not configured is refused, and nothing it says is heard'), async (t) => {
    const pool = await createPool()
    const d1 = pool.create('d1', ['d2'])
    const d2 = pool.create('d2', ['d1'])
    const stranger = pool.create('stranger', ['d1', 'd2'])
    const heard = [collect(d1, 'config'), collect(d2, 'config'), collect(d1, 'sync')]
    await Promise.all([d1, d2, stranger].map((transport) => transport.start()))
    await until(() => d1.counters.refusedStrangers > 0 && d2.counters.refusedStrangers > 0)
    stranger.broadcast('config', Uint8Array.of(6, 6, 6))
    await t.rejects(stranger.send('d1', 'sync', Uint8Array.of(6, 6, 6)))
    await until(() => d1.connectedPeers().length === 1 && d2.connectedPeers().length === 1)
    await broadcastUntil(d2, Uint8Array.of(1), () => heard[0].length > 0)
    t.same(d1.connectedPeers(), ['d2'])
    t.same(stranger.connectedPeers(), [])
    t.ok(heard.flat().every(({ from }) => from !== 'stranger'))
    await stop([d1, d2, stranger])
  })

  test(
    describe('who ceases to be a peer is lost at once and a stranger from then on, until he is one again'),
    async (t) => {
      const { pool, all } = await connected(['d1', 'd2', 'd3'])
      const [d1, d2, d3] = all
      const events: string[] = []
      for (const transport of [d1, d2])
        transport.onPeer((peer, isUp) => events.push(`${transport.self} ${isUp ? 'sees' : 'loses'} ${peer}`))
      const heard = [collect(d1, 'config'), collect(d2, 'config'), collect(d1, 'sync')]
      const refused = d1.counters.refusedStrangers
      const sentBefore = d3.send('d1', 'sync', Uint8Array.of(1)).catch(() => {})
      d1.setPeers(pool.peers(['d2']))
      d2.setPeers(pool.peers(['d1']))
      t.same(d1.connectedPeers(), ['d2'], 'at once')
      t.same(events, ['d1 loses d3', 'd2 loses d3'])
      await t.rejects(d1.send('d3', 'sync', Uint8Array.of(1)))
      await sentBefore
      await until(() => {
        d3.broadcast('config', Uint8Array.of(6))
        return d3.connectedPeers().length === 0
      })
      await until(() => d1.counters.refusedStrangers > refused)
      await broadcastUntil(d2, Uint8Array.of(1), () => heard[0].some(({ from }) => from === 'd2'))
      t.same(
        heard.flat().filter(({ from }) => from === 'd3'),
        [],
      )
      d1.setPeers(pool.peers(['d2', 'd3']))
      await until(() => d1.connectedPeers().length === 2)
      t.same(d2.connectedPeers(), ['d1'])
      await stop(all)
    },
  )

  test(describe('one that ceased to be a peer before the start never gets in'), async (t) => {
    const pool = await createPool()
    const [d1, d2] = [pool.create('d1', ['d2']), pool.create('d2', ['d1'])]
    d1.setPeers([])
    await Promise.all([d1.start(), d2.start()])
    await until(() => d1.counters.refusedStrangers > 0)
    t.same([d1.connectedPeers(), d2.connectedPeers()], [[], []])
    await stop([d1, d2])
  })

  test(describe('a stranger with a token is let in if that makes him a peer; nobody else is'), async (t) => {
    const pool = await createPool()
    const idOf = (name: PeerName) => pool.peers([name])[0].id
    const shown = new Map<string, Uint8Array>()
    const d1 = pool.create('d1', [], {
      async onToken(token, id) {
        shown.set(id, token)
        if (token[0] === 1) d1.setPeers(pool.peers(['d2']))
      },
    })
    const [good, bad] = [Uint8Array.of(1, 2, 3), new Uint8Array(JOIN_TOKEN_BYTES_MAX).fill(9)]
    const d2 = pool.create('d2', ['d1'], { token: good })
    const d3 = pool.create('d3', ['d1'], { token: bad })
    const stranger = pool.create('stranger', ['d1'], { token: new Uint8Array(JOIN_TOKEN_BYTES_MAX + 1).fill(1) })
    const heard = collect(d1, 'sync')
    await Promise.all([d1, d2, d3, stranger].map((transport) => transport.start()))
    await until(() => d1.connectedPeers().length > 0 && d2.connectedPeers().length > 0)
    await until(() => shown.size === 2 && d1.counters.malformedMessages > 0 && d1.counters.refusedStrangers > 0)
    await d2.send('d1', 'sync', Uint8Array.of(5))
    await t.rejects(d3.send('d1', 'sync', Uint8Array.of(6)))
    await until(() => heard.length > 0)
    t.same(heard, [{ from: 'd2', bytes: Uint8Array.of(5) }])
    t.same(shown.get(idOf('d2')), good)
    t.same(shown.get(idOf('d3')), bad)
    t.same(
      [d1, d3, stranger].map((transport) => transport.connectedPeers()),
      [['d2'], [], []],
    )
    await stop([d1, d2, d3, stranger])
  })
}
