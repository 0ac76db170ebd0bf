/** ICMPv6: what the director answers, and errors about a connection's packets, translated for whom they concern. */
import { test } from 'tap'
import { TCP_SYN } from '../../../protocol/packet/tcp.ts'
import type { DirectorBench } from '../../support/director-bench.ts'
import { packetOf } from '../../support/frames.ts'
import { hex, sentHex } from '../../support/hex.ts'
import { icmpFrame6, tcpFrame6 } from '../../support/ipv6-frames.ts'
import {
  CLIENT6,
  CLIENT6_ADDRESS,
  clientTcp6,
  clientUdp6,
  INSIDE_SOURCE6,
  OUTSIDE_SOURCE6,
  ROUTER6,
  SERVER1_6,
  SERVER1_ADDRESS6,
  scene6,
  segmentationHeader6,
  serverTcp6,
  serverUdp6,
  tcpToClient6,
  tcpToServer6,
  udpToClient6,
  udpToServer6,
  unfinish6,
  VIP6,
} from '../../support/ipv6-scene.ts'
import { INSIDE, MAC, OUTSIDE } from '../../support/scene.ts'
import { trafficOf } from '../../support/traffic-counts.ts'

const toDirector = { sourceMac: MAC.router, destinationMac: MAC.outside }
const fromDirector = { sourceMac: MAC.outside, destinationMac: MAC.router }
const UNREACHABLE = 1
const TOO_BIG = 2
const TIME_EXCEEDED = 3
const PARAMETER_PROBLEM = 4

function open(bench: DirectorBench = scene6()): DirectorBench {
  bench.send(OUTSIDE, clientTcp6({ flags: TCP_SYN }))
  bench.send(INSIDE, serverTcp6({ flags: 0x12 }))
  bench.send(OUTSIDE, clientTcp6())
  return bench
}

/** An error of the director's own about a packet that came from the client. */
const errorToClient = (type: number, code: number, rest: number, about: Uint8Array) =>
  icmpFrame6({
    ...fromDirector,
    from: VIP6,
    to: CLIENT6_ADDRESS,
    trafficClass: 0xc0,
    type,
    code,
    rest,
    payload: packetOf(about).slice(0, 1280 - 48),
  })

test('a virtual address answers echo requests, whatever extension headers they have', async (t) => {
  const fields = { type: 128, rest: 0x1234_0001, payload: 'are you there' }
  const reply = icmpFrame6({ ...fromDirector, from: VIP6, to: CLIENT6_ADDRESS, ...fields, type: 129 })
  for (const extensions of [[], [[0, Uint8Array.of(0, 0, 1, 4, 0, 0, 0, 0)] as const]]) {
    const request = icmpFrame6({ ...toDirector, from: CLIENT6_ADDRESS, to: VIP6, ...fields, extensions })
    t.same(sentHex(scene6().send(OUTSIDE, request)), [[OUTSIDE, hex(reply)]])
  }
})

test('an echo request is not answered on standby, from nobody, damaged, or to a group', async (t) => {
  const request = (from: string, destinationMac: string = MAC.outside) =>
    icmpFrame6({ sourceMac: MAC.router, destinationMac, from, to: VIP6, type: 128, payload: 'x' })
  const cases: [Uint8Array, string | undefined, 'active' | 'standby'][] = [
    [request(CLIENT6_ADDRESS), 'standby', 'standby'],
    [request('::'), 'martian-source', 'active'],
    [request('ff02::1'), 'martian-source', 'active'],
    [request(CLIENT6_ADDRESS).map((byte, at) => (at === 62 ? 0 : byte)), 'bad-header', 'active'],
    [request(CLIENT6_ADDRESS).subarray(0, 60), 'bad-header', 'active'],
    [request(CLIENT6_ADDRESS, '33:33:00:00:00:01'), undefined, 'active'],
  ]
  for (const [frame, reason, state] of cases) {
    const bench = scene6({ state })
    t.same(bench.send(OUTSIDE, frame), [])
    if (reason !== undefined) t.equal(bench.drops.toObject()[reason], 1, reason)
  }
})

test('a port that is not served, and a service without servers, are told with port unreachable', async (t) => {
  const syn = clientTcp6({ flags: TCP_SYN, to: `[${VIP6}]:81` })
  t.same(sentHex(scene6().send(OUTSIDE, syn)), [[OUTSIDE, hex(errorToClient(UNREACHABLE, 4, 0, syn))]])
  const refused = clientTcp6({ flags: TCP_SYN })
  const bench = scene6({ weights: [0] })
  t.same(sentHex(bench.send(OUTSIDE, refused)), [[OUTSIDE, hex(errorToClient(UNREACHABLE, 4, 0, refused))]])
  t.equal(bench.drops.toObject()['no-server'], 1)
})

test('a packet that has travelled too far is told with time exceeded, to client and server', async (t) => {
  const old = clientTcp6({ hopLimit: 1 })
  const bench = open()
  const before = trafficOf(bench).inPackets
  t.same(sentHex(bench.send(OUTSIDE, old)), [[OUTSIDE, hex(errorToClient(TIME_EXCEEDED, 0, 0, old))]])
  t.equal(trafficOf(bench).inPackets, before + 1, 'and counted')
  const reply = serverTcp6({ hopLimit: 1 })
  const expected = icmpFrame6({
    sourceMac: MAC.inside,
    destinationMac: MAC.server1,
    from: INSIDE_SOURCE6,
    to: CLIENT6_ADDRESS,
    trafficClass: 0xc0,
    type: TIME_EXCEEDED,
    payload: packetOf(reply),
  })
  const [sent] = open().send(INSIDE, reply)
  t.equal(sent.link, INSIDE)
  t.equal(hex(sent.frame.subarray(0, 38)), hex(expected.subarray(0, 38)), 'it comes from the director’s own address')
  t.equal(hex(sent.frame.subarray(38, 54)), hex(packetOf(reply).subarray(8, 24)), 'and goes to the server')
})

test('a packet that does not fit is told with packet too big and the MTU of its way', async (t) => {
  const bench = open(scene6({ insideMtu: 1400 }))
  const large = clientTcp6({ payload: new Uint8Array(1400) })
  t.same(sentHex(bench.send(OUTSIDE, large)), [[OUTSIDE, hex(errorToClient(TOO_BIG, 0, 1400, large))]])
  const changed = open(scene6())
  changed.engine.egress.setMtus({ [INSIDE]: 1400 })
  t.same(sentHex(changed.send(OUTSIDE, large)), [[OUTSIDE, hex(errorToClient(TOO_BIG, 0, 1400, large))]])
  const reply = serverTcp6({ payload: new Uint8Array(1400) })
  const [sent] = open(scene6({ outsideMtu: 1300 })).send(INSIDE, reply)
  t.equal(sent.frame[54], TOO_BIG)
  t.equal(new DataView(sent.frame.slice().buffer).getUint32(58), 1300)
  t.equal(sent.frame.length, 14 + 1280, 'it quotes as much as every link can carry')
  const cut = unfinish6(large)
  const [error] = bench.send(OUTSIDE, cut, segmentationHeader6(large, 1380))
  t.equal(error.frame[54], TOO_BIG, 'the segments count, not the frame')
  t.equal(bench.send(OUTSIDE, cut, segmentationHeader6(large, 1340)).length, 1)
})

test('errors of our own are limited in number', async (t) => {
  const bench = scene6()
  const syn = clientTcp6({ flags: TCP_SYN, to: `[${VIP6}]:81` })
  let answered = 0
  for (let count = 0; count < 1500; count++) answered += bench.send(OUTSIDE, syn).length
  t.equal(answered, 1000)
  t.equal(bench.drops.toObject()['icmp-limited'], 500)
})

test('a scan of ports keeps nobody from being told that his packet is too big, which is told 1000 times at once', async (t) => {
  const bench = open(scene6({ outsideMtu: 9000 }))
  const closed = clientTcp6({ flags: TCP_SYN, to: `[${VIP6}]:81` })
  for (let count = 0; count < 1001; count++) bench.send(OUTSIDE, closed)
  t.equal(bench.drops.toObject()['icmp-limited'], 1)
  const large = clientTcp6({ payload: new Uint8Array(1500) })
  let told = 0
  for (let count = 0; count < 1100; count++) told += bench.send(OUTSIDE, large).length
  t.equal(told, 1000)
})

const errors: [name: string, type: number, code: number, rest: number][] = [
  ['unreachable', UNREACHABLE, 0, 0],
  ['packet too big', TOO_BIG, 0, 1280],
  ['time exceeded', TIME_EXCEEDED, 0, 0],
  ['parameter problem', PARAMETER_PROBLEM, 1, 40],
]

for (const [name, type, code, rest] of errors) {
  test(`${name} about a reply reaches the server, which knows the packet as its own`, async (t) => {
    const error = { type, code, rest }
    const fromRouter = { ...toDirector, from: OUTSIDE_SOURCE6, to: VIP6 }
    const expected = {
      ...error,
      sourceMac: MAC.inside,
      destinationMac: MAC.server1,
      from: OUTSIDE_SOURCE6,
      to: SERVER1_ADDRESS6,
      hopLimit: 63,
    }
    // What the server sent, as it was when it left us: one hop older.
    for (const length of [48, 60, 200]) {
      const quoted = packetOf(tcpToClient6({ payload: new Uint8Array(500).fill(9) })).slice(0, length)
      const own = packetOf(serverTcp6({ payload: new Uint8Array(500).fill(9), hopLimit: 63 })).slice(0, length)
      const sent = open().send(OUTSIDE, icmpFrame6({ ...fromRouter, ...error, payload: quoted }))
      t.same(sentHex(sent), [[INSIDE, hex(icmpFrame6({ ...expected, payload: own }))]], `${length} bytes quoted`)
    }
  })

  test(`${name} about a request reaches the client, in the virtual address's name`, async (t) => {
    const error = { type, code, rest }
    const quoted = packetOf(tcpToServer6({ payload: 'hello' }))
    const own = packetOf(clientTcp6({ payload: 'hello', hopLimit: 63 }))
    const fromInside = {
      sourceMac: MAC.server1,
      destinationMac: MAC.inside,
      from: '2001:db8:2::77',
      to: CLIENT6_ADDRESS,
    }
    const sent = open().send(INSIDE, icmpFrame6({ ...fromInside, ...error, payload: quoted }))
    const expected = { ...fromDirector, ...error, from: VIP6, to: CLIENT6_ADDRESS, hopLimit: 63, payload: own }
    t.same(sentHex(sent), [[OUTSIDE, hex(icmpFrame6(expected))]])
  })
}

test('errors about datagrams are translated too', async (t) => {
  const bench = scene6({ protocol: 'udp' })
  bench.send(OUTSIDE, clientUdp6({ payload: 'a' }))
  bench.send(INSIDE, serverUdp6({ payload: 'b' }))
  const refused = { type: UNREACHABLE, code: 4 }
  const toVip = icmpFrame6({
    ...toDirector,
    from: CLIENT6_ADDRESS,
    to: VIP6,
    ...refused,
    payload: packetOf(udpToClient6({ payload: 'b' })),
  })
  const [toServer] = bench.send(OUTSIDE, toVip)
  t.equal(hex(toServer.frame.subarray(62)), hex(packetOf(serverUdp6({ payload: 'b', hopLimit: 63 }))))
  const toClient = icmpFrame6({
    from: SERVER1_ADDRESS6,
    to: CLIENT6_ADDRESS,
    ...refused,
    payload: packetOf(udpToServer6({ payload: 'a' })),
  })
  const [sent] = bench.send(INSIDE, toClient)
  t.equal(hex(sent.frame.subarray(62)), hex(packetOf(clientUdp6({ payload: 'a', hopLimit: 63 }))))
  const bytes = 49 + toVip.length - 14
  t.same(trafficOf(bench), { inPackets: 2, inBytes: bytes, outPackets: 2, outBytes: bytes })
})

test('by direct routing an error goes to the server as it is', async (t) => {
  const bench = scene6({ method: 'dr' })
  bench.send(OUTSIDE, clientTcp6({ flags: TCP_SYN }))
  const fields = { type: TOO_BIG, rest: 1280, from: CLIENT6_ADDRESS, to: VIP6, payload: packetOf(tcpToClient6()) }
  const expected = icmpFrame6({ ...fields, sourceMac: MAC.inside, destinationMac: MAC.server1, hopLimit: 63 })
  t.same(sentHex(bench.send(OUTSIDE, icmpFrame6({ ...fields, ...toDirector }))), [[INSIDE, hex(expected)]])
})

test('an error that belongs to nothing is dropped when it is for us, and the host’s when it is not', async (t) => {
  const error = { ...toDirector, from: CLIENT6_ADDRESS, type: UNREACHABLE }
  const strange = packetOf(tcpFrame6({ from: `[${VIP6}]:80`, to: '[2001:db8:c::99]:1' }))
  const bench = open()
  for (const payload of [strange, strange.subarray(0, 47), new Uint8Array(100)]) {
    t.same(bench.send(OUTSIDE, icmpFrame6({ ...error, to: VIP6, payload })), [])
  }
  t.equal(bench.drops.toObject()['icmp-unrelated'], 3)
  t.same(bench.send(OUTSIDE, icmpFrame6({ ...error, to: ROUTER6, payload: strange })), [])
  t.equal(bench.drops.toObject()['icmp-unrelated'], 3)
  const quoted = packetOf(tcpFrame6({ from: CLIENT6, to: SERVER1_6.replace('8000', '9') }))
  t.same(
    bench.send(INSIDE, icmpFrame6({ from: SERVER1_ADDRESS6, to: CLIENT6_ADDRESS, type: UNREACHABLE, payload: quoted })),
    [],
  )
})
