/** Masquerading and direct routing of IPv6, packet in and packet out: addresses, ports, hop limit and checksums, in both directions. */
import { test } from 'tap'
import { TCP_ACK, TCP_FIN, TCP_PSH, TCP_RST, TCP_SYN } from '../../../protocol/packet/tcp.ts'
import type { DirectorBench } from '../../support/director-bench.ts'
import { crc32cBitByBit } from '../../support/frames.ts'
import { hex, sentHex } from '../../support/hex.ts'
import type { Extension, FrameFields6 } from '../../support/ipv6-frames.ts'
import { icmpFrame6, ipv6Frame, tcpFrame6 } from '../../support/ipv6-frames.ts'
import {
  CLIENT6,
  clientTcp6,
  clientUdp6,
  finish6,
  SERVER1_ADDRESS6,
  scene6,
  segmentationHeader6,
  serverTcp6,
  serverUdp6,
  service6,
  tcpToClient6,
  tcpToServer6,
  udpToClient6,
  udpToServer6,
  unfinish6,
  unfinishedHeader6,
  VIP6,
  VIRTUAL6,
} from '../../support/ipv6-scene.ts'
import { INSIDE, MAC, OUTSIDE } from '../../support/scene.ts'

const SYN_ACK = TCP_SYN | TCP_ACK
const text = 'GET / HTTP/1.0\r\n\r\n'

function open(bench: DirectorBench): DirectorBench {
  bench.send(OUTSIDE, clientTcp6({ flags: TCP_SYN }))
  bench.send(INSIDE, serverTcp6({ flags: SYN_ACK }))
  bench.send(OUTSIDE, clientTcp6())
  return bench
}

const hopByHop: Extension = [0, Uint8Array.of(0, 0, 1, 4, 0, 0, 0, 0)]
const destinationOptions: Extension = [60, Uint8Array.of(0, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)]
const wholeFragment: Extension = [44, Uint8Array.of(0, 0, 0, 0, 1, 2, 3, 4)]
const laterFragment: Extension = [44, Uint8Array.of(0, 0, 5, 0xb8, 1, 2, 3, 4)]

const tcpCases: [sentence: string, link: string, frame: Uint8Array, expected: Uint8Array][] = [
  [
    'a client packet is rewritten to the server and the port it was given, one hop older',
    OUTSIDE,
    clientTcp6({ payload: text, sequence: 100, flags: TCP_PSH | TCP_ACK }),
    tcpToServer6({ payload: text, sequence: 100, flags: TCP_PSH | TCP_ACK }),
  ],
  [
    'the reply leaves with the virtual address and port as its source',
    INSIDE,
    serverTcp6({ payload: text, acknowledgement: 7 }),
    tcpToClient6({ payload: text, acknowledgement: 7 }),
  ],
  [
    'traffic class and flow label stay as they were',
    OUTSIDE,
    clientTcp6({ trafficClass: 0xb8, flowLabel: 0xabcde }),
    tcpToServer6({ trafficClass: 0xb8, flowLabel: 0xabcde }),
  ],
  [
    'a packet of an odd length is summed up right',
    OUTSIDE,
    clientTcp6({ payload: 'odd' }),
    tcpToServer6({ payload: 'odd' }),
  ],
  [
    'extension headers are walked over and kept',
    OUTSIDE,
    clientTcp6({ payload: text, extensions: [hopByHop, destinationOptions] }),
    tcpToServer6({ payload: text, extensions: [hopByHop, destinationOptions] }),
  ],
  [
    'a fragment that is the whole packet is no fragment',
    INSIDE,
    serverTcp6({ payload: text, extensions: [wholeFragment] }),
    tcpToClient6({ payload: text, extensions: [wholeFragment] }),
  ],
]

for (const [sentence, link, frame, expected] of tcpCases) {
  test(sentence, async (t) => {
    const sent = open(scene6()).send(link, frame)
    t.same(sentHex(sent), [[link === OUTSIDE ? INSIDE : OUTSIDE, hex(expected)]])
  })
}

test('UDP is rewritten in both directions, and a missing checksum stays missing', async (t) => {
  const bench = scene6({ protocol: 'udp' })
  t.same(sentHex(bench.send(OUTSIDE, clientUdp6({ payload: 'who' }))), [
    [INSIDE, hex(udpToServer6({ payload: 'who' }))],
  ])
  t.same(sentHex(bench.send(INSIDE, serverUdp6({ payload: 'me' }))), [[OUTSIDE, hex(udpToClient6({ payload: 'me' }))]])
  const fields = { payload: 'x', checksum: false }
  t.same(sentHex(bench.send(OUTSIDE, clientUdp6(fields))), [[INSIDE, hex(udpToServer6(fields))]])
})

test('by direct routing only the hop limit and the MAC change', async (t) => {
  const bench = scene6({ method: 'dr' })
  const sent = bench.send(OUTSIDE, clientTcp6({ flags: TCP_SYN }))
  const expected = clientTcp6({ flags: TCP_SYN, hopLimit: 63, sourceMac: MAC.inside, destinationMac: MAC.server1 })
  t.same(sentHex(sent), [[INSIDE, hex(expected)]])
})

test('an unfinished checksum is left for the card to finish, right in the end', async (t) => {
  for (const payload of [text, 'odd']) {
    const frame = clientTcp6({ payload })
    const [sent] = open(scene6()).send(OUTSIDE, unfinish6(frame), unfinishedHeader6(frame))
    t.equal(hex(finish6(sent.frame, sent.vnetHeader)), hex(tcpToServer6({ payload })))
  }
})

test('a frame that the card is to cut passes whole, with its virtio header', async (t) => {
  const payload = new Uint8Array(20_000).fill(7)
  const frame = clientTcp6({ payload })
  const header = segmentationHeader6(frame, 1440)
  const [sent] = open(scene6()).send(OUTSIDE, unfinish6(frame), header)
  t.equal(hex(sent.vnetHeader), hex(header))
  t.equal(hex(finish6(sent.frame, sent.vnetHeader)), hex(tcpToServer6({ payload })))
  const datagram = clientUdp6({ payload })
  const bench = scene6({ protocol: 'udp' })
  const [sentUdp] = bench.send(OUTSIDE, unfinish6(datagram), segmentationHeader6(datagram, 1200))
  t.equal(hex(finish6(sentUdp.frame, sentUdp.vnetHeader)), hex(udpToServer6({ payload })))
})

test('a connection is listed, counted and closed as one of IPv4 is', async (t) => {
  const bench = open(scene6())
  const [connection] = bench.reader.connections()
  t.match(connection, {
    protocol: 'tcp',
    state: 'ESTABLISHED',
    clientAddress: '2001:db8:c::7',
    clientPort: 3456,
    virtualAddress: VIP6,
    virtualPort: 80,
    serverAddress: SERVER1_ADDRESS6,
    serverPort: 8000,
  })
  bench.send(OUTSIDE, clientTcp6({ flags: TCP_FIN | TCP_ACK }))
  t.equal([...bench.reader.connections()][0].state, 'CLOSE_WAIT')
  bench.send(OUTSIDE, clientTcp6({ flags: TCP_RST }))
  t.equal([...bench.reader.connections()][0].state, 'CLOSE')
  bench.send(OUTSIDE, clientTcp6({ flags: TCP_SYN }))
  t.same(
    [...bench.reader.connections()].map(({ state }) => state),
    ['SYN_RECV'],
    'a SYN starts anew in the place of a connection that is over',
  )
})

test('every word of the client’s address tells its connection', async (t) => {
  const bench = scene6()
  const clients = ['2001:db8:c::7', '2001:db9:c::7', '2001:db8:d::7', '2001:db8:c:0:1::7', '2001:db8:c::8']
  for (const client of clients) bench.send(OUTSIDE, clientTcp6({ flags: TCP_SYN, from: `[${client}]:3456` }))
  const known = [...bench.reader.connections()].map(({ clientAddress }) => clientAddress)
  t.same(known.toSorted(), clients.toSorted())
  for (const client of clients) {
    const [sent] = bench.send(INSIDE, serverTcp6({ flags: SYN_ACK, to: `[${client}]:3456` }))
    t.equal(hex(sent.frame), hex(tcpToClient6({ flags: SYN_ACK, to: `[${client}]:3456` })))
  }
})

test('round robin goes round the IPv6 servers, newest first', async (t) => {
  const bench = scene6({ weights: [1, 1] })
  for (const port of [1, 2, 3]) bench.send(OUTSIDE, clientTcp6({ flags: TCP_SYN, from: `[2001:db8:c::7]:${port}` }))
  const servers = [...bench.reader.connections()].map(({ serverAddress }) => serverAddress)
  t.same(servers, ['2001:db8:2::2', '2001:db8:2::1', '2001:db8:2::2'])
})

const tooMany = Array.from({ length: 9 }, () => hopByHop)
const dropCases: [reason: string, sentence: string, frame: Uint8Array][] = [
  ['no-connection', 'in the middle of an unknown connection', clientTcp6({ from: '[2001:db8:c::9]:1' })],
  ['extension-headers', 'with more extension headers than anybody needs', clientTcp6({ extensions: tooMany })],
  [
    'truncated',
    'whose extension header is longer than it',
    clientTcp6({ extensions: [[60, Uint8Array.of(0, 255, 0, 0, 0, 0, 0, 0)]] }),
  ],
  [
    'truncated',
    'whose TCP header is cut off',
    ipv6Frame({ from: CLIENT6, to: VIRTUAL6 }, 6, new Uint8Array(19), undefined),
  ],
  ['truncated', 'that ends within its IPv6 header', clientTcp6().subarray(0, 50)],
  ['bad-header', 'that is shorter than it says', clientTcp6({ payload: text }).subarray(0, 80)],
  ['bad-header', 'of another version', clientTcp6().map((byte, at) => (at === 14 ? 0x50 : byte))],
  [
    'unsupported',
    'of a protocol that is not forwarded',
    ipv6Frame({ from: CLIENT6, to: VIRTUAL6 }, 47, new Uint8Array(8), undefined),
  ],
  ['martian-source', 'from the virtual address itself', clientTcp6({ flags: TCP_SYN, from: `[${VIP6}]:5` })],
  ['martian-source', 'from the loopback address', clientTcp6({ flags: TCP_SYN, from: '[::1]:5' })],
  ['martian-source', 'from an IPv4 address in disguise', clientTcp6({ flags: TCP_SYN, from: '[::ffff:10.0.0.1]:5' })],
  ['martian-source', 'from a link-local address', clientTcp6({ flags: TCP_SYN, from: '[fe80::5]:5' })],
  ['martian-source', 'from a group', clientTcp6({ flags: TCP_SYN, from: '[ff02::1]:5' })],
]

for (const [reason, sentence, frame] of dropCases) {
  test(`a packet ${sentence} is dropped and counted`, async (t) => {
    const bench = scene6()
    t.same(bench.send(OUTSIDE, frame), [])
    t.equal(bench.drops.toObject()[reason], 1)
  })
}

test('what has nothing to do with the director is left to the host', async (t) => {
  const bench = open(scene6())
  const elsewhere = { from: CLIENT6, to: '[2001:db8:1::99]:80' }
  const frames = [
    tcpFrame6({ ...elsewhere, flags: TCP_SYN }),
    tcpFrame6({ ...elsewhere, extensions: [laterFragment] }),
    tcpFrame6({ ...elsewhere, extensions: tooMany }),
    ipv6Frame({ ...elsewhere, to: '2001:db8:1::99' }, 47, new Uint8Array(8), undefined),
    serverTcp6({ from: '[2001:db8:2::1]:9999' }),
    tcpFrame6({ from: CLIENT6, to: VIRTUAL6, flags: TCP_SYN, destinationMac: '33:33:00:00:00:10' }),
    icmpFrame6({ from: CLIENT6, to: '2001:db8:1::99', type: 128 }),
  ]
  for (const frame of frames) t.same(bench.send(OUTSIDE, frame), [])
  t.same(
    Object.values(bench.drops.toObject()).filter((count) => count > 0),
    [],
  )
})

test('a standby forwards the connections that it knows and drops new ones', async (t) => {
  const bench = open(scene6())
  bench.engine.addresses.replace([{ address: VIP6, link: OUTSIDE, state: 'standby' }], [OUTSIDE, INSIDE])
  t.equal(bench.send(OUTSIDE, clientTcp6()).length, 1)
  t.same(bench.send(OUTSIDE, clientTcp6({ flags: TCP_SYN, from: '[2001:db8:c::8]:1' })), [])
  t.equal(bench.drops.toObject().standby, 1)
})

test('IPsec’s packets go the way of the key exchange between the same addresses, unchanged but for the address', async (t) => {
  const service = { ...service6({ protocol: 'udp' }), port: 500 }
  const bench = scene6({ services: [{ ...service, servers: [{ ...service.servers[0], port: 500 }] }] })
  bench.send(OUTSIDE, clientUdp6({ from: '[2001:db8:c::7]:500', to: `[${VIP6}]:500`, payload: 'ike' }))
  const secret = Uint8Array.from({ length: 64 }, (_, index) => index)
  for (const protocol of [50, 51]) {
    const client = { sourceMac: MAC.router, destinationMac: MAC.outside, from: '2001:db8:c::7', to: VIP6 }
    const server = { sourceMac: MAC.inside, destinationMac: MAC.server1, from: '2001:db8:c::7', to: SERVER1_ADDRESS6 }
    const sent = bench.send(OUTSIDE, ipv6Frame(client, protocol, secret, undefined))
    t.same(sentHex(sent), [[INSIDE, hex(ipv6Frame({ ...server, hopLimit: 63 }, protocol, secret, undefined))]])
    const reply = { sourceMac: MAC.server1, destinationMac: MAC.inside, from: SERVER1_ADDRESS6, to: '2001:db8:c::7' }
    const back = { sourceMac: MAC.outside, destinationMac: MAC.router, from: VIP6, to: '2001:db8:c::7', hopLimit: 63 }
    const returned = bench.send(INSIDE, ipv6Frame(reply, protocol, secret, undefined))
    t.same(sentHex(returned), [[OUTSIDE, hex(ipv6Frame(back, protocol, secret, undefined))]])
  }
})

/** A packet with an INIT or INIT ACK chunk, its CRC32c computed by its definition. */
function sctp(fields: FrameFields6, from: number, to: number, type: number): Uint8Array {
  const message = new Uint8Array(32)
  const view = new DataView(message.buffer)
  view.setUint16(0, from)
  view.setUint16(2, to)
  view.setUint32(12, (type << 24) | 20)
  view.setUint32(8, crc32cBitByBit(message), true)
  return ipv6Frame(fields, 132, message, undefined)
}

test('SCTP is rewritten in both directions, with its own checksum', async (t) => {
  const bench = scene6({ protocol: 'sctp' })
  const client = '2001:db8:c::7'
  const init = sctp({ sourceMac: MAC.router, destinationMac: MAC.outside, from: client, to: VIP6 }, 3456, 80, 1)
  const toServer = {
    sourceMac: MAC.inside,
    destinationMac: MAC.server1,
    from: client,
    to: SERVER1_ADDRESS6,
    hopLimit: 63,
  }
  t.same(sentHex(bench.send(OUTSIDE, init)), [[INSIDE, hex(sctp(toServer, 3456, 8000, 1))]])
  const answer = sctp({ from: SERVER1_ADDRESS6, to: client }, 8000, 3456, 2)
  const toClient = { sourceMac: MAC.outside, destinationMac: MAC.router, from: VIP6, to: client, hopLimit: 63 }
  t.same(sentHex(bench.send(INSIDE, answer)), [[OUTSIDE, hex(sctp(toClient, 80, 3456, 2))]])
})
