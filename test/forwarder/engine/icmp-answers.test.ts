/** What the director says itself in ICMP: echo replies, and why it does not forward a packet. */
import { test } from 'tap'
import { refreshIPv4Checksum } from '../../../protocol/packet/ipv4.ts'
import { TCP_RST, TCP_SYN } from '../../../protocol/packet/tcp.ts'
import { icmpFrame, packetOf, tcpFrame } from '../../support/frames.ts'
import { hex, sentHex } from '../../support/hex.ts'
import {
  CLIENT_ADDRESS,
  clientTcp,
  clientUdp,
  INSIDE,
  INSIDE_SOURCE,
  MAC,
  OUTSIDE,
  type SceneOptions,
  SERVER1_ADDRESS,
  scene,
  serverTcp,
  VIP,
} from '../../support/scene.ts'
import { trafficOf } from '../../support/traffic-counts.ts'

const toVip = { sourceMac: MAC.router, destinationMac: MAC.outside, from: CLIENT_ADDRESS, to: VIP }
const fromVip = { sourceMac: MAC.outside, destinationMac: MAC.router, from: VIP, to: CLIENT_ADDRESS }
const echo = { rest: 0x12340007, payload: 'sixteen bytes...' }

test('an echo request to a virtual address is answered with what it carries', async (t) => {
  for (const payload of ['sixteen bytes...', 'odd', '']) {
    const sent = scene().send(OUTSIDE, icmpFrame({ ...toVip, ...echo, payload, type: 8, ttl: 3 }))
    t.same(sentHex(sent), [[OUTSIDE, hex(icmpFrame({ ...fromVip, ...echo, payload, type: 0, ttl: 64 }))]])
  }
})

test('an echo request to a lingering address is answered too', async (t) => {
  t.equal(scene({ state: 'lingering' }).send(OUTSIDE, icmpFrame({ ...toVip, ...echo, type: 8 })).length, 1)
})

const unanswered: [sentence: string, frame: Uint8Array, drop: string | undefined, options?: SceneOptions][] = [
  ['on standby an echo request is not answered', icmpFrame({ ...toVip, type: 8 }), 'standby', { state: 'standby' }],
  [
    'nor is one for another address, which is the host’s',
    icmpFrame({ ...toVip, to: '198.51.100.1', type: 8 }),
    undefined,
  ],
  ['nor is one that was damaged on its way', damaged(icmpFrame({ ...toVip, ...echo, type: 8 })), 'bad-header'],
  ['nor is a fragment of one', icmpFrame({ ...toVip, ...echo, type: 8, fragment: 0x2000 }), 'fragment'],
  ['nor is one that no host sent', icmpFrame({ ...toVip, from: '255.255.255.255', type: 8 }), 'martian-source'],
  ['nor is one that comes from ourselves', icmpFrame({ ...toVip, from: VIP, type: 8 }), 'martian-source'],
  [
    'nor is one that was sent to a group of machines, as all directors have it',
    icmpFrame({ ...toVip, destinationMac: 'ff:ff:ff:ff:ff:ff', type: 8 }),
    undefined,
  ],
  [
    'a timestamp request is not answered',
    icmpFrame({ ...toVip, type: 13, payload: new Uint8Array(12) }),
    'unsupported',
  ],
  ['an ICMP message without a whole header is dropped', shortIcmp(), 'truncated'],
]
for (const [sentence, frame, drop, options] of unanswered) {
  test(sentence, async (t) => {
    const bench = scene(options)
    t.same(bench.send(OUTSIDE, frame), [])
    t.same(
      Object.entries(bench.drops.toObject()).filter(([, count]) => count > 0),
      drop ? [[drop, 1]] : [],
    )
  })
}

const tcpSyn = clientTcp({ flags: TCP_SYN })
const refusals: [
  sentence: string,
  frame: Uint8Array,
  type: number,
  code: number,
  drop: string,
  options?: SceneOptions,
][] = [
  [
    'a SYN to a port that is not served is refused: port unreachable',
    clientTcp({ to: `${VIP}:81`, flags: TCP_SYN }),
    3,
    3,
    'no-service',
  ],
  ['a datagram to a port that is not served is, too', clientUdp(), 3, 3, 'no-service'],
  ['with every server at weight 0 a SYN is refused: port unreachable', tcpSyn, 3, 3, 'no-server', { weights: [0, 0] }],
  ['without any server it is', tcpSyn, 3, 3, 'no-server', { weights: [] }],
  ['a datagram without a server is', clientUdp({ payload: 'x' }), 3, 3, 'no-server', { protocol: 'udp', weights: [] }],
  ['a packet at its last hop is answered: time exceeded', clientTcp({ flags: TCP_SYN, ttl: 1 }), 11, 0, 'ttl-exceeded'],
  ['one past its last hop is', clientTcp({ flags: TCP_SYN, ttl: 0 }), 11, 0, 'ttl-exceeded'],
  ['with direct routing it is', clientTcp({ flags: TCP_SYN, ttl: 1 }), 11, 0, 'ttl-exceeded', { method: 'dr' }],
  ['through a tunnel it is', clientTcp({ flags: TCP_SYN, ttl: 1 }), 11, 0, 'ttl-exceeded', { method: 'tun' }],
]
for (const [sentence, frame, type, code, drop, options] of refusals) {
  test(sentence, async (t) => {
    const bench = scene(options)
    t.same(sentHex(bench.send(OUTSIDE, frame)), [[OUTSIDE, hex(error(type, code, frame))]])
    t.equal(bench.drops.toObject()[drop], 1)
  })
}

test('what ends here has been counted, and has moved the state', async (t) => {
  const bench = scene()
  bench.send(OUTSIDE, clientTcp({ flags: TCP_SYN, ttl: 1 }))
  t.same(trafficOf(bench), { inPackets: 1, inBytes: 40, outPackets: 0, outBytes: 0 })
  t.same(
    [...bench.reader.connections()].map(({ state }) => state),
    ['SYN_RECV'],
  )
})

test('of a long packet only so much is quoted that the error has 576 bytes', async (t) => {
  const frame = clientTcp({ flags: TCP_SYN, to: `${VIP}:81`, payload: new Uint8Array(1400) })
  const [sent] = scene().send(OUTSIDE, frame)
  t.equal(sent.frame.length, 14 + 576)
  t.equal(hex(sent.frame), hex(error(3, 3, frame)))
})

test('a server is told of its packet at its last hop by the director', async (t) => {
  const bench = scene()
  bench.send(OUTSIDE, tcpSyn)
  const frame = serverTcp({ ttl: 1 })
  const expected = error(11, 0, frame, {
    sourceMac: MAC.inside,
    destinationMac: MAC.server1,
    from: INSIDE_SOURCE,
    to: SERVER1_ADDRESS,
  })
  t.same(sentHex(bench.send(INSIDE, frame)), [[INSIDE, hex(expected)]])
  t.equal(bench.drops.toObject()['ttl-exceeded'], 1)
})

for (const method of ['nat', 'dr'] as const) {
  test(`a packet that does not fit into the link to the server (${method}) is answered with that link's MTU`, async (t) => {
    const bench = scene({ method, outsideMtu: 9000, insideMtu: 1500 })
    bench.send(OUTSIDE, tcpSyn)
    const fits = clientTcp({ payload: new Uint8Array(1460) })
    t.equal(bench.send(OUTSIDE, fits)[0].link, INSIDE)
    const frame = clientTcp({ payload: new Uint8Array(1461) })
    t.same(sentHex(bench.send(OUTSIDE, frame)), [[OUTSIDE, hex(error(3, 4, frame, { rest: 1500 }))]])
    t.equal(bench.drops.toObject()['too-big'], 1)
  })
}

test('a reply that does not fit into the link to the client is answered with that link’s MTU', async (t) => {
  const bench = scene({ outsideMtu: 1400, insideMtu: 9000 })
  bench.send(OUTSIDE, tcpSyn)
  t.equal(bench.send(INSIDE, serverTcp({ payload: new Uint8Array(1360) }))[0].link, OUTSIDE)
  const frame = serverTcp({ payload: new Uint8Array(1361) })
  const expected = error(3, 4, frame, {
    sourceMac: MAC.inside,
    destinationMac: MAC.server1,
    from: INSIDE_SOURCE,
    to: SERVER1_ADDRESS,
    rest: 1400,
  })
  t.same(sentHex(bench.send(INSIDE, frame)), [[INSIDE, hex(expected)]])
})

test('an MTU that changes while the director runs counts from then on, up to the largest of the start', async (t) => {
  const bench = scene({ method: 'dr' })
  bench.send(OUTSIDE, tcpSyn)
  const route = { destination: '10.1.0.0', prefixLength: 24, link: INSIDE, source: INSIDE_SOURCE }
  for (const [mtu, longest] of [
    [1400, 1400],
    [9000, 1500],
  ]) {
    bench.engine.setRoutes([route], { [INSIDE]: mtu, another: 500 })
    const [fits] = bench.send(OUTSIDE, clientTcp({ payload: new Uint8Array(longest - 40) }))
    t.equal(fits.link, INSIDE)
    const frame = clientTcp({ payload: new Uint8Array(longest - 39) })
    t.same(sentHex(bench.send(OUTSIDE, frame)), [[OUTSIDE, hex(error(3, 4, frame, { rest: longest }))]])
  }
})

const silent: [sentence: string, frame: Uint8Array, drop: string][] = [
  ['a segment in the middle of an unknown conversation is dropped in silence', clientTcp(), 'no-connection'],
  ['so is a reset', clientTcp({ flags: TCP_RST }), 'no-connection'],
  ['so is a SYN that resets', clientTcp({ flags: TCP_SYN | TCP_RST }), 'no-connection'],
  ['so is a segment to a port that is not served', clientTcp({ to: `${VIP}:81` }), 'no-connection'],
  [
    'so is a SYN that no host sent',
    tcpFrame({ ...toVip, from: '127.0.0.1:1', to: `${VIP}:80`, flags: TCP_SYN }),
    'martian-source',
  ],
  [
    'so is a SYN in our own name',
    tcpFrame({ ...toVip, from: `${VIP}:80`, to: `${VIP}:80`, flags: TCP_SYN }),
    'martian-source',
  ],
]
for (const [sentence, frame, drop] of silent) {
  test(sentence, async (t) => {
    const bench = scene()
    t.same(bench.send(OUTSIDE, frame), [])
    t.equal(bench.drops.toObject()[drop], 1)
    t.equal(bench.table.memory.used, 0)
  })
}

test('no more than 1000 errors leave at once, and then one a millisecond', async (t) => {
  const bench = scene()
  const refused = clientTcp({ to: `${VIP}:81`, flags: TCP_SYN })
  const answers = (attempts: number) => {
    let count = 0
    for (let attempt = 0; attempt < attempts; attempt++) count += bench.send(OUTSIDE, refused).length
    return count
  }
  t.equal(answers(1200), 1000)
  t.equal(bench.drops.toObject()['icmp-limited'], 200)
  t.equal(bench.drops.toObject()['no-service'], 1200)
  bench.nowMs += 30
  t.equal(answers(100), 30)
  t.equal(bench.send(OUTSIDE, icmpFrame({ ...toVip, type: 8 })).length, 1, 'echo replies are not counted in')
})

test('a scan of ports keeps nobody from being told that his packet is too big, which is told 1000 times at once', async (t) => {
  const bench = scene({ outsideMtu: 9000, insideMtu: 1500 })
  bench.send(OUTSIDE, tcpSyn)
  const closed = clientTcp({ to: `${VIP}:81`, flags: TCP_SYN })
  for (let count = 0; count < 1001; count++) bench.send(OUTSIDE, closed)
  t.equal(bench.drops.toObject()['icmp-limited'], 1)
  const tooBig = clientTcp({ payload: new Uint8Array(1461) })
  let told = 0
  for (let count = 0; count < 1100; count++) told += bench.send(OUTSIDE, tooBig).length
  t.equal(told, 1000)
})

/** The ICMP error about a frame, as the client must see it. */
function error(type: number, code: number, about: Uint8Array, fields: Partial<Parameters<typeof icmpFrame>[0]> = {}) {
  const payload = packetOf(about).subarray(0, 576 - 28)
  return icmpFrame({ ...fromVip, tos: 0xc0, fragment: 0, type, code, payload, ...fields })
}

function damaged(frame: Uint8Array): Uint8Array {
  frame[frame.length - 1] ^= 1
  return frame
}

function shortIcmp(): Uint8Array {
  const frame = icmpFrame({ ...toVip, type: 8 }).subarray(0, 14 + 20 + 7)
  frame[17] = 27
  refreshIPv4Checksum(frame, 14, 20)
  return frame
}
