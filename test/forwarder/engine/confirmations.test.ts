/** Services with confirmed sync: what waits, for what, for how long, and what becomes of it. */
import { test } from 'tap'
import { TCP_ACK, TCP_PSH, TCP_RST, TCP_SYN } from '../../../protocol/packet/tcp.ts'
import { RECORD, RECORD_LENGTH, RECORD_REMOVE, RECORD_UPSERT } from '../../../protocol/wire/connection-record.ts'
import { type DirectorBench, told as recordsOf } from '../../support/director-bench.ts'
import { fragmentsOf, wholeOf } from '../../support/frames.ts'
import { hex } from '../../support/hex.ts'
import { fragmentsOf6, wholeOf6 } from '../../support/ipv6-frames.ts'
import { clientTcp6, clientUdp6, scene6, service6, udpToServer6 } from '../../support/ipv6-scene.ts'
import {
  clientSctp,
  clientTcp,
  clientUdp,
  INSIDE,
  MAC,
  OUTSIDE,
  type SceneOptions,
  SERVER1_ADDRESS,
  scene,
  serverTcp,
  service,
  tcpToServer,
  udpToServer,
  VIP,
} from '../../support/scene.ts'

type Sync = 'confirmed' | 'confirmed-only'

const client = (port: number) => ({ from: `203.0.113.7:${port}` })
const syn = (port: number) => clientTcp({ ...client(port), flags: TCP_SYN })

/** A director whose service asks for confirmed sync, with a standby unless told otherwise. */
function confirming(options: SceneOptions & { sync?: Sync; witnesses?: number } = {}): DirectorBench {
  const { sync = 'confirmed', witnesses = 1, ...rest } = options
  const bench = scene({ ...rest, services: [{ ...service(rest), sync }] })
  bench.outgoing.setWitnesses(witnesses)
  return bench
}

/** Reads the outgoing ring as replication does. */
function told(bench: DirectorBench): [kind: number, state: number][] {
  const records: [number, number][] = []
  for (let at = bench.outgoing.peek(); at >= 0; at = bench.outgoing.peek()) {
    records.push([bench.outgoing.bytes[at + RECORD.kind], bench.outgoing.bytes[at + RECORD.state]])
    bench.outgoing.advance()
  }
  return records
}

/** A standby has everything that was told by now. */
function confirm(bench: DirectorBench) {
  told(bench)
  bench.outgoing.confirm(bench.outgoing.position)
  return bench.breathe()
}

const state = (bench: DirectorBench) => [...bench.reader.connections()].map((connection) => connection.state)
const pool = (bench: DirectorBench) => bench.engine.egress.poolUse

test('a SYN waits until a standby has its record, and then goes on as it would have gone at once', async (t) => {
  for (const method of ['nat', 'tun', 'dr'] as const) {
    const bench = confirming({ method })
    const [expected] = scene({ method }).send(OUTSIDE, syn(1))
    t.same(bench.send(OUTSIDE, syn(1)), [])
    t.ok(bench.outgoing.isAwaitedAfter(bench.outgoing.position), 'the reader is asked to hurry')
    t.same(told(bench), [[RECORD_UPSERT, 3]])
    t.same(bench.breathe(), [], `${method}: told is not confirmed`)
    const sent = confirm(bench)
    t.equal(sent.length, 1)
    t.same([sent[0].link, sent[0].frame], [expected.link, expected.frame], method)
    t.same(state(bench), ['SYN_RECV'])
    t.equal(pool(bench).free, pool(bench).total)
    t.equal(bench.send(OUTSIDE, clientTcp(client(1))).length, 1, 'what comes later does not wait')
    t.equal(bench.outgoing.unconfirmed, 0)
  }
})

test('over IPv6 too', async (t) => {
  const bench = scene6({ services: [{ ...service6(), sync: 'confirmed' }] })
  bench.outgoing.setWitnesses(1)
  const frame = clientTcp6({ flags: TCP_SYN })
  const [expected] = scene6().send(OUTSIDE, frame)
  t.same(bench.send(OUTSIDE, frame), [])
  t.same(
    confirm(bench).map((sent) => sent.frame),
    [expected.frame],
  )
  bench.outgoing.setWitnesses(0)
  bench.engine.services.set({ ...service6(), sync: 'confirmed-only' })
  const [answer] = bench.send(OUTSIDE, clientTcp6({ from: '[2001:db8:c::7]:7', flags: TCP_SYN }))
  t.same([answer.link, answer.frame[54]], [OUTSIDE, 1], 'destination unreachable')
})

test('datagrams and SCTP wait as well, and what follows waits behind', async (t) => {
  const udp = confirming({ protocol: 'udp' })
  const payloads = ['first', 'second', 'third'].map((text) => new TextEncoder().encode(text))
  for (const payload of payloads) t.same(udp.send(OUTSIDE, clientUdp({ payload })), [])
  t.equal(told(udp).length, 1)
  t.same(
    confirm(udp).map(({ frame }) => new TextDecoder().decode(frame.subarray(42))),
    ['first', 'second', 'third'],
  )
  t.equal(udp.send(OUTSIDE, clientUdp()).length, 1)
  const sctp = confirming({ protocol: 'sctp' })
  t.same(sctp.send(OUTSIDE, clientSctp({ chunks: [{ type: 1 }] })), [])
  t.equal(confirm(sctp).length, 1)
})

test('what is told of a connection that will wait is awaited before the reader can see it, and nothing else is', async (t) => {
  const persistence = { timeoutS: 300, netmask: '255.255.255.255' }
  for (const [name, spec, frame, ...seen] of [
    ['TCP', { ...service(), sync: 'confirmed' }, syn(1), true],
    ['UDP', { ...service({ protocol: 'udp' }), sync: 'confirmed' }, clientUdp(), true],
    ['UDP, with a template', { ...service({ protocol: 'udp' }), sync: 'confirmed', persistence }, clientUdp(), true],
    ['UDP that does not wait', service({ protocol: 'udp' }), clientUdp(), false],
  ] as const) {
    const bench = scene({ services: [spec] })
    const { outgoing } = bench
    outgoing.setWitnesses(1)
    const isAwaited: boolean[] = []
    const commit = outgoing.commit.bind(outgoing)
    outgoing.commit = () => {
      commit()
      isAwaited.push(outgoing.isAwaitedAfter(outgoing.position))
      outgoing.advance()
    }
    bench.send(OUTSIDE, frame)
    t.same(isAwaited, seen, name)
  }
})

test('each goes when its own record is confirmed, in the order in which they came', async (t) => {
  const bench = confirming()
  for (const port of [1, 2, 3]) bench.send(OUTSIDE, syn(port))
  bench.outgoing.advance()
  bench.outgoing.advance()
  bench.outgoing.confirm(bench.outgoing.position)
  t.same(
    bench.breathe().map(({ frame }) => frame),
    [1, 2].map((port) => tcpToServer({ ...client(port), flags: TCP_SYN })),
  )
  t.same(
    confirm(bench).map(({ frame }) => frame),
    [tcpToServer({ ...client(3), flags: TCP_SYN })],
  )
})

test('nobody waits longer than 50 ms, or at all without a standby: served and counted, or refused', async (t) => {
  for (const witnesses of [0, 1]) {
    for (const sync of ['confirmed', 'confirmed-only'] as const) {
      const bench = confirming({ sync, witnesses })
      let sent = bench.send(OUTSIDE, syn(1))
      if (witnesses > 0) {
        bench.nowMs += 49
        t.same([...sent, ...bench.breathe()], [])
        bench.nowMs += 1
        sent = bench.breathe()
      }
      t.equal(sent.length, 1)
      if (sync === 'confirmed') {
        t.equal(sent[0].link, INSIDE)
        t.equal(bench.outgoing.unconfirmed, 1)
        t.same(state(bench), ['SYN_RECV'])
      } else {
        t.equal(sent[0].link, OUTSIDE)
        t.same([...sent[0].frame.subarray(34, 36)], [3, 3], 'port unreachable')
        t.equal(bench.drops.toObject().unconfirmed, 1)
        t.same(state(bench), [])
        t.same(
          told(bench).map(([kind]) => kind),
          witnesses > 0 ? [RECORD_UPSERT, RECORD_REMOVE] : [],
          'its end, to those who were told of it',
        )
      }
      t.equal(pool(bench).free, pool(bench).total)
    }
  }
})

test('a segment of which there is nothing to tell, as sloppy_tcp lets in, waits for nobody', async (t) => {
  for (const [sync, link] of [
    ['confirmed', INSIDE],
    ['confirmed-only', OUTSIDE],
  ] as const) {
    const bench = confirming({ sync })
    bench.set({ sloppyTcp: 1 })
    const sent = bench.send(OUTSIDE, clientTcp({ ...client(1), flags: TCP_PSH }))
    t.same(
      sent.map((each) => each.link),
      [link],
      sync,
    )
    t.equal(bench.outgoing.unconfirmed, sync === 'confirmed' ? 1 : 0)
  }
})

test('a connection that a peer tells of meanwhile is not refused: it was begun there', async (t) => {
  for (const method of ['nat', 'dr'] as const) {
    const bench = confirming({ sync: 'confirmed-only', method })
    bench.send(OUTSIDE, syn(1))
    const theirs = bench.outgoing.bytes.slice(bench.outgoing.peek(), bench.outgoing.peek() + RECORD_LENGTH)
    told(bench)
    theirs[RECORD.state] = 1
    theirs[RECORD.version + 1]++
    bench.incoming.bytes.set(theirs, bench.incoming.reserve())
    bench.incoming.commit()
    bench.outgoing.setWitnesses(0)
    t.same(
      bench.breathe().map(({ link }) => link),
      [INSIDE],
    )
    t.same(state(bench), ['ESTABLISHED'])
    t.same(told(bench), [], 'its end is not told')
    t.equal(pool(bench).free, pool(bench).total)
  }
})

test('a refusal is told as of what is refused, and ends nothing that a peer has made of it since', async (t) => {
  const sync = 'confirmed-only'
  const confirming6 = () => {
    const bench = scene6({ services: [{ ...service6(), sync }] })
    bench.outgoing.setWitnesses(1)
    return bench
  }
  for (const [scenes, frames] of [
    [() => confirming({ sync }), [syn(1), clientTcp(client(1))]],
    [confirming6, [clientTcp6({ flags: TCP_SYN }), clientTcp6()]],
  ] as const) {
    const [stopped, successor] = [scenes(), scenes()]
    // The SYN waits in the ring of a director that stands still, cluster thread and all, and comes to the next one again, before that goes on.
    stopped.link(OUTSIDE).inject(frames[0])
    successor.nowMs += 500
    successor.send(OUTSIDE, frames[0])
    confirm(successor)
    successor.send(OUTSIDE, frames[1])
    t.same(state(successor), ['ESTABLISHED'])
    stopped.nowMs += 900
    t.same(
      stopped.breathe().map(({ link }) => link),
      [OUTSIDE],
      'it goes on: refused, since nobody confirms',
    )
    const records = recordsOf(stopped)
    t.same(
      records.map((record) => record[RECORD.kind]),
      [RECORD_UPSERT, RECORD_REMOVE],
    )
    for (const record of records) successor.engine.replication.apply(record, 0)
    t.same(state(successor), ['ESTABLISHED'])
    const other = scenes()
    for (const record of records) other.engine.replication.apply(record, 0)
    t.same(state(other), [], 'who knows nothing else of it forgets it')
  }
})

test('what a server says before the first packet has gone to it is of another connection, and dropped', async (t) => {
  const bench = confirming()
  bench.send(OUTSIDE, syn(1))
  t.same(bench.send(INSIDE, serverTcp({ to: '203.0.113.7:1', flags: TCP_RST })), [])
  t.equal(bench.drops.toObject().unconfirmed, 1)
  t.same(told(bench), [[RECORD_UPSERT, 3]])
  t.equal(confirm(bench).length, 1)
  t.same(state(bench), ['SYN_RECV'])
})

test('when the last standby goes, what waits for it waits no longer', async (t) => {
  const bench = confirming()
  bench.send(OUTSIDE, syn(1))
  bench.outgoing.setWitnesses(0)
  t.equal(bench.breathe().length, 1)
  t.equal(bench.outgoing.unconfirmed, 1)
})

test('no more wait than there is room for', async (t) => {
  for (const sync of ['confirmed', 'confirmed-only'] as const) {
    const bench = confirming({ sync, slots: 1024 })
    const sent = Array.from({ length: 300 }, (_, index) => bench.send(OUTSIDE, syn(1000 + index)).length)
    const waiting = bench.engine.confirmations.count
    t.ok(waiting > 50 && waiting <= 256, `${waiting} wait`)
    t.same(sent, [...new Array(waiting).fill(0), ...new Array(300 - waiting).fill(1)])
    t.equal(bench.outgoing.unconfirmed, sync === 'confirmed' ? 300 - waiting : 0)
    t.equal(bench.send(OUTSIDE, syn(1000)).length, 0, 'a SYN that comes again does not overtake the first')
    t.equal(bench.drops.toObject().unconfirmed, sync === 'confirmed' ? 1 : 300 - waiting + 1)
    t.equal(confirm(bench).length, waiting)
    t.equal(pool(bench).free, pool(bench).total)
  }
})

test('neither fragments without their first nor hosts that do not answer take the room of what waits to be confirmed', async (t) => {
  const fragments = confirming({ sync: 'confirmed-only' })
  const payload = new Uint8Array(4000)
  for (let number = 0; number < 640; number++) {
    const frame = clientUdp({ from: `192.0.2.${number >> 5}:9`, payload, fragment: 0, identification: number })
    fragments.send(OUTSIDE, fragmentsOf(frame, 1500)[1])
  }
  const dead = { ...service(), servers: [{ ...service().servers[0], address: '10.1.0.2' }] }
  const neighbours = scene({
    services: [dead, { ...service(), port: 81, sync: 'confirmed-only' }],
    neighbours: { [SERVER1_ADDRESS]: MAC.server1 },
  })
  neighbours.outgoing.setWitnesses(1)
  for (let number = 0; number < 300; number++) neighbours.send(OUTSIDE, syn(1000 + number))
  for (const [bench, port] of [
    [fragments, 80],
    [neighbours, 81],
  ] as const) {
    const { held, total } = pool(bench)
    t.ok(held > total / 5 && held <= total / 4, `${held} of ${total} wait for something else`)
    t.same(bench.send(OUTSIDE, clientTcp({ to: `${VIP}:${port}`, flags: TCP_SYN })), [])
    t.equal(confirm(bench).length, 1)
  }
})

const DATA = Uint8Array.from({ length: 4000 }, (_, index) => index * 5)
const spec = { protocol: 'udp', sync: 'confirmed' } as const
const families = [
  {
    family: 'IPv4',
    scenes: () => scene({ services: [{ ...service(spec), ...spec }] }),
    fragments: (identification: number) => fragmentsOf(clientUdp({ payload: DATA, fragment: 0, identification }), 1500),
    whole: wholeOf,
    expected: udpToServer({ payload: DATA, fragment: 0, identification: 1 }),
  },
  {
    family: 'IPv6',
    scenes: () => scene6({ services: [{ ...service6(spec), ...spec }] }),
    fragments: (identification: number) => fragmentsOf6(clientUdp6({ payload: DATA }), 1500, identification),
    whole: wholeOf6,
    expected: udpToServer6({ payload: DATA }),
  },
]
for (const { family, scenes, fragments, whole, expected } of families) {
  test(`${family}: a datagram whose first fragment waits arrives whole, whenever the others come`, async (t) => {
    const pieces = fragments(1)
    for (const [order, confirmedAfter] of [
      [[0, 1, 2], 1],
      [[0, 1, 2], 3],
      [[2, 1, 0], 3],
    ] as const) {
      const bench = scenes()
      bench.outgoing.setWitnesses(1)
      const sent = order.flatMap((piece, number) => {
        const passed = bench.send(OUTSIDE, pieces[piece])
        return number + 1 === confirmedAfter ? [...passed, ...confirm(bench)] : passed
      })
      t.equal(hex(whole(sent.map(({ frame }) => frame))), hex(expected))
      t.ok(Object.values(bench.drops.toObject()).every((count) => count === 0))
      t.equal(pool(bench).free, pool(bench).total)
    }
  })
}

test('a datagram in fragments that has come whole before it is confirmed leaves nothing behind', async (t) => {
  const bench = scene({ services: [{ ...service(spec), ...spec }] })
  bench.outgoing.setWitnesses(1)
  for (let port = 1001; port <= 1100; port++) {
    const frames = fragmentsOf(clientUdp({ ...client(port), payload: DATA, fragment: 0, identification: port }), 1500)
    for (const frame of frames) bench.send(OUTSIDE, frame)
    confirm(bench)
  }
  t.same(
    Object.entries(bench.drops.toObject()).filter(([, count]) => count > 0),
    [],
  )
})

test('a record that found no room is never taken for confirmed, though the ring is read in the next instant', async (t) => {
  for (const protocol of ['tcp', 'udp'] as const) {
    const bench = confirming({ protocol, ringSlots: 2 })
    const begin = (port: number) =>
      bench.send(OUTSIDE, protocol === 'tcp' ? syn(port) : clientUdp(client(port))).map(({ link }) => link)
    t.same([begin(1), begin(2)], [[], []], 'the last place is one, too')
    const { outgoing } = bench
    const reserve = outgoing.reserve.bind(outgoing)
    outgoing.reserve = () => {
      const at = reserve()
      if (at < 0) outgoing.advance()
      return at
    }
    t.same(begin(3), [INSIDE])
    t.same([outgoing.lost, outgoing.length, outgoing.unconfirmed], [1, 1, 1])
    t.same(begin(4), [], 'what comes later waits again')
    t.equal(confirm(bench).length, 3)
  }
})

test('a connection that is gone when its packet may go begins anew', async (t) => {
  const bench = confirming()
  bench.send(OUTSIDE, syn(1))
  const [connection] = [...bench.reader.connections()]
  t.ok(connection)
  bench.engine.connections.discard(bench.table.findByClient(6, 0xcb007107 | 0, 0xc633640a | 0, (1 << 16) | 80))
  t.same(confirm(bench), [], 'it waits again')
  t.equal(confirm(bench).length, 1)
  t.same(state(bench), ['SYN_RECV'])
})

test('what waited behind the first packet of a connection that is gone waits for the new one too', async (t) => {
  const bench = confirming({ protocol: 'udp' })
  const payloads = ['first', 'second', 'third'].map((text) => new TextEncoder().encode(text))
  for (const payload of payloads) bench.send(OUTSIDE, clientUdp({ ...client(1), payload }))
  bench.engine.connections.discard(bench.table.findByClient(17, 0xcb007107 | 0, 0xc633640a | 0, (1 << 16) | 80))
  t.same(confirm(bench), [])
  t.same(
    confirm(bench).map(({ frame }) => new TextDecoder().decode(frame.subarray(42))),
    ['first', 'second', 'third'],
  )
  t.equal(pool(bench).free, pool(bench).total)
})

test('what begins no connection of the service does not wait', async (t) => {
  const bench = confirming({ protocol: 'udp' })
  bench.engine.services.set({ ...service({ protocol: 'udp' }), sync: 'confirmed', onePacket: true })
  t.equal(bench.send(OUTSIDE, clientUdp()).length, 1, 'a single datagram')
  t.same(confirming().send(OUTSIDE, clientTcp({ flags: TCP_ACK })), [])
  t.same(confirming().send(OUTSIDE, clientTcp({ flags: TCP_SYN | TCP_RST })), [])
  const plain = scene()
  plain.outgoing.setWitnesses(1)
  t.equal(plain.send(OUTSIDE, syn(1)).length, 1)
  t.same(told(plain), [])
})
