/** Masquerading, packet in and packet out: addresses, ports, TTL and every checksum, in both directions. */
import { test } from 'tap'
import { readUint16, writeUint16 } from '../../../protocol/packet/bytes.ts'
import { refreshIPv4Checksum } from '../../../protocol/packet/ipv4.ts'
import { TCP_ACK, TCP_FIN, TCP_PSH, TCP_SYN } from '../../../protocol/packet/tcp.ts'
import type { DirectorBench } from '../../support/director-bench.ts'
import { checksumsAreRight } from '../../support/frames.ts'
import { hex, sentHex } from '../../support/hex.ts'
import {
  clientTcp,
  clientUdp,
  finish,
  INSIDE,
  OUTSIDE,
  scene,
  segmentationHeader,
  serverTcp,
  serverUdp,
  tcpToClient,
  tcpToServer,
  udpToClient,
  udpToServer,
  unfinish,
  unfinishedHeader,
} from '../../support/scene.ts'

const SYN_ACK = TCP_SYN | TCP_ACK
const text = 'GET / HTTP/1.0\r\n\r\n'

/** A connection on which packets of either side may pass. */
function open(bench: DirectorBench): DirectorBench {
  bench.send(OUTSIDE, clientTcp({ flags: TCP_SYN }))
  bench.send(INSIDE, serverTcp({ flags: SYN_ACK }))
  bench.send(OUTSIDE, clientTcp())
  return bench
}

const tcpCases: [sentence: string, link: string, frame: Uint8Array, expected: Uint8Array][] = [
  [
    'a client packet is rewritten to the server and the port it was given, one hop older',
    OUTSIDE,
    clientTcp({ payload: text, sequence: 100, flags: TCP_PSH | TCP_ACK }),
    tcpToServer({ payload: text, sequence: 100, flags: TCP_PSH | TCP_ACK }),
  ],
  [
    'the reply leaves with the virtual address and port as its source',
    INSIDE,
    serverTcp({ payload: text, acknowledgement: 7 }),
    tcpToClient({ payload: text, acknowledgement: 7 }),
  ],
  [
    'type of service, identification and a missing DF stay as they were',
    OUTSIDE,
    clientTcp({ tos: 0xb8, identification: 0xbeef, fragment: 0 }),
    tcpToServer({ tos: 0xb8, identification: 0xbeef, fragment: 0 }),
  ],
  ['a TTL of 2 is the lowest that passes', OUTSIDE, clientTcp({ ttl: 2 }), tcpToServer({ ttl: 1 })],
  ['an odd payload keeps its checksum right', INSIDE, serverTcp({ payload: 'odd' }), tcpToClient({ payload: 'odd' })],
  [
    'Ethernet padding is left off',
    OUTSIDE,
    padded(clientTcp({ flags: TCP_FIN | TCP_ACK })),
    tcpToServer({ flags: TCP_FIN | TCP_ACK }),
  ],
  [
    'IP options are kept',
    OUTSIDE,
    withIpOptions(clientTcp({ payload: text })),
    withIpOptions(tcpToServer({ payload: text })),
  ],
  [
    'a wrong checksum stays wrong by as much, so that the receiver still sees it',
    OUTSIDE,
    withWrongChecksum(clientTcp({ payload: text })),
    withWrongChecksum(tcpToServer({ payload: text })),
  ],
]

for (const [sentence, link, frame, expected] of tcpCases) {
  test(sentence, async (t) => {
    const sent = open(scene()).send(link, frame)
    t.same(sentHex(sent), [[link === OUTSIDE ? INSIDE : OUTSIDE, hex(expected)]])
    t.same(sent[0].vnetHeader, new Uint8Array(10))
  })
}

const withoutChecksum = { payload: 'query', checksum: false }
const udpCases: [sentence: string, link: string, frame: Uint8Array, expected: Uint8Array][] = [
  [
    'a datagram is rewritten with its checksum',
    OUTSIDE,
    clientUdp({ payload: 'query' }),
    udpToServer({ payload: 'query' }),
  ],
  ['a reply datagram is too', INSIDE, serverUdp({ payload: 'reply' }), udpToClient({ payload: 'reply' })],
  ['a datagram without a checksum stays without', OUTSIDE, clientUdp(withoutChecksum), udpToServer(withoutChecksum)],
  ['a reply without a checksum stays without', INSIDE, serverUdp(withoutChecksum), udpToClient(withoutChecksum)],
  ['a checksum that comes out as 0 is sent as ffff', OUTSIDE, clientUdp(sumsToZero()), udpToServer(sumsToZero())],
]

for (const [sentence, link, frame, expected] of udpCases) {
  test(sentence, async (t) => {
    const bench = scene({ protocol: 'udp' })
    if (link === INSIDE) bench.send(OUTSIDE, clientUdp())
    const sent = bench.send(link, frame)
    t.same(sentHex(sent), [[link === OUTSIDE ? INSIDE : OUTSIDE, hex(expected)]])
  })
}

test('the case of the checksum that comes out as 0 is what it says', async (t) => {
  t.equal(readUint16(udpToServer(sumsToZero()), 40), 0xffff)
})

test('a TCP checksum that comes out as 0 is sent as 0', async (t) => {
  const payload = new Uint8Array(2)
  writeUint16(payload, 0, readUint16(tcpToServer({ payload }), 50))
  const [sent] = open(scene()).send(OUTSIDE, clientTcp({ payload }))
  t.equal(readUint16(sent.frame, 50), 0)
  t.equal(hex(sent.frame), hex(tcpToServer({ payload })))
})

const unfinishedCases: [sentence: string, link: string, frame: Uint8Array, expected: Uint8Array, protocol?: 'udp'][] = [
  ['of a client TCP packet', OUTSIDE, clientTcp({ payload: text }), tcpToServer({ payload: text })],
  ['of a server TCP packet', INSIDE, serverTcp({ payload: text }), tcpToClient({ payload: text })],
  ['of a client datagram', OUTSIDE, clientUdp({ payload: text }), udpToServer({ payload: text }), 'udp'],
  ['of a server datagram', INSIDE, serverUdp({ payload: text }), udpToClient({ payload: text }), 'udp'],
]
for (const [whose, link, frame, expected, protocol] of unfinishedCases) {
  test(`the unfinished checksum ${whose} stays unfinished, and the card finishes it right`, async (t) => {
    const bench = protocol ? scene({ protocol }) : open(scene())
    if (protocol) bench.send(OUTSIDE, clientUdp())
    const header = unfinishedHeader(frame)
    const [sent] = bench.send(link, unfinish(frame), header)
    t.same(sent.vnetHeader, header)
    t.equal(hex(finish(sent.frame, sent.vnetHeader)), hex(expected))
  })
}

for (const [link, frame, expected] of [
  [OUTSIDE, clientTcp({ payload: bulk() }), tcpToServer({ payload: bulk() })],
  [INSIDE, serverTcp({ payload: bulk() }), tcpToClient({ payload: bulk() })],
] as const) {
  test(`a frame of 64 KiB from ${link} passes in one piece, to be cut by the card`, async (t) => {
    const header = segmentationHeader(frame, 1460)
    const sent = open(scene()).send(link, unfinish(frame), header)
    t.equal(sent.length, 1)
    t.equal(sent[0].frame.length, 14 + 65_535)
    t.same(sent[0].vnetHeader, header)
    t.ok(Buffer.from(finish(sent[0].frame, header)).equals(expected))
  })
}

test('every frame of a whole conversation has right checksums', async (t) => {
  const bench = scene()
  const conversation: [string, Uint8Array][] = [
    [OUTSIDE, clientTcp({ flags: TCP_SYN })],
    [INSIDE, serverTcp({ flags: SYN_ACK })],
    [OUTSIDE, clientTcp({ payload: text })],
    [INSIDE, serverTcp({ payload: 'HTTP/1.0 200 OK\r\n\r\n', flags: TCP_FIN | TCP_ACK })],
    [OUTSIDE, clientTcp({ flags: TCP_FIN | TCP_ACK })],
    [INSIDE, serverTcp()],
  ]
  for (const [link, frame] of conversation) {
    const sent = bench.send(link, frame)
    t.equal(sent.length, 1)
    t.ok(checksumsAreRight(sent[0].frame))
  }
})

/** As much data as an IPv4 packet can hold. */
function bulk(): Uint8Array {
  return Uint8Array.from({ length: 65_535 - 40 }, (_, index) => index * 7)
}

function padded(frame: Uint8Array): Uint8Array {
  const longer = new Uint8Array(60).fill(0xee)
  longer.set(frame)
  return longer
}

function withIpOptions(frame: Uint8Array): Uint8Array {
  const longer = new Uint8Array(frame.length + 4)
  longer.set(frame.subarray(0, 34))
  longer.set([1, 1, 1, 0], 34) // no operation three times, end of list
  longer.set(frame.subarray(34), 38)
  longer[14] = 0x46
  writeUint16(longer, 16, longer.length - 14)
  refreshIPv4Checksum(longer, 14, 24)
  return longer
}

function withWrongChecksum(frame: Uint8Array): Uint8Array {
  frame[54] ^= 0xff // the first byte of data
  return frame
}

/** Data for which the checksum of the datagram to the server is 0. */
function sumsToZero(): { payload: Uint8Array } {
  const payload = new Uint8Array(2)
  writeUint16(payload, 0, readUint16(udpToServer({ payload }), 40))
  return { payload }
}
