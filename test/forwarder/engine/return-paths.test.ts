/** Replies go back the way the client's packets came, whatever the routes say, unless nobody seems to be there any more. */
import { test } from 'tap'
import { ReturnPaths } from '../../../forwarder/engine/return-paths.ts'
import { ARP_FRAME_LENGTH, ARP_REPLY, writeArpFrame } from '../../../protocol/packet/arp.ts'
import { parseIPv4, parseMac } from '../../../protocol/packet/bytes.ts'
import { ICMPV6_NEIGHBOUR_SOLICITATION } from '../../../protocol/packet/icmpv6.ts'
import { parseIPv6 } from '../../../protocol/packet/ipv6-address.ts'
import { unsolicitedAdvertisement } from '../../../protocol/packet/neighbour-discovery.ts'
import { TCP_SYN } from '../../../protocol/packet/tcp.ts'
import type { DirectorBench, Sent } from '../../support/director-bench.ts'
import { hex, sentHex } from '../../support/hex.ts'
import { clientTcp6, ROUTER6, scene6, serverTcp6, tcpToClient6 } from '../../support/ipv6-scene.ts'
import {
  clientTcp,
  clientUdp,
  INSIDE,
  INSIDE_SOURCE,
  MAC,
  OUTSIDE,
  OUTSIDE_SOURCE,
  ROUTER,
  SERVER1_ADDRESS,
  scene,
  serverTcp,
  serverUdp,
  tcpToClient,
} from '../../support/scene.ts'

/** The other router says that an address is its own. */
function arpOf(address: string): Uint8Array {
  const frame = new Uint8Array(ARP_FRAME_LENGTH)
  writeArpFrame(frame, 0, parseMac(MAC.outside), {
    operation: ARP_REPLY,
    senderMac: parseMac(MAC.otherRouter),
    senderAddress: parseIPv4(address),
    targetMac: parseMac(MAC.outside),
    targetAddress: parseIPv4(OUTSIDE_SOURCE),
  })
  return frame
}

/** What the last of a server's packets became, sent twice a second for so long. */
function serves(bench: DirectorBench, seconds: number, packet = serverTcp()): string[][] {
  let sent: Sent[] = []
  for (let count = 0; count < seconds * 2; count++) {
    bench.nowMs += 500
    sent = bench.send(INSIDE, packet)
  }
  return sentHex(sent.filter(({ frame }) => !isAsking(frame)))
}

function isAsking(frame: Uint8Array): boolean {
  return (frame[12] === 8 && frame[13] === 6) || frame[54] === ICMPV6_NEIGHBOUR_SOLICITATION
}

const byRouter = [[OUTSIDE, hex(tcpToClient())]]
const byOther = [[OUTSIDE, hex(tcpToClient({ destinationMac: MAC.otherRouter }))]]

test('a reply goes to the router that the request came from, not to the one of the route', async (t) => {
  const bench = scene({ neighbours: { '10.1.0.1': MAC.server1, [ROUTER]: MAC.otherRouter } })
  bench.send(OUTSIDE, clientTcp({ flags: TCP_SYN }))
  t.same(sentHex(bench.send(INSIDE, serverTcp())), [[OUTSIDE, hex(tcpToClient())]])
})

test('when the client’s packets begin to come from another router, replies go there', async (t) => {
  const bench = scene()
  bench.send(OUTSIDE, clientTcp({ flags: TCP_SYN }))
  bench.send(OUTSIDE, clientTcp({ sourceMac: MAC.otherRouter }))
  t.same(sentHex(bench.send(INSIDE, serverTcp())), [[OUTSIDE, hex(tcpToClient({ destinationMac: MAC.otherRouter }))]])
  bench.send(OUTSIDE, clientTcp())
  t.same(sentHex(bench.send(INSIDE, serverTcp())), [[OUTSIDE, hex(tcpToClient())]])
})

test('a client on the servers’ side is answered there', async (t) => {
  const bench = scene()
  bench.send(INSIDE, clientTcp({ flags: TCP_SYN, sourceMac: MAC.server2, destinationMac: MAC.inside }))
  const expected = tcpToClient({ sourceMac: MAC.inside, destinationMac: MAC.server2 })
  t.same(sentHex(bench.send(INSIDE, serverTcp())), [[INSIDE, hex(expected)]])
})

test('the reply of a connection that a peer has told of, before its client has said a word, goes by route', async (t) => {
  const first = scene()
  first.send(OUTSIDE, clientTcp({ flags: TCP_SYN }))
  first.send(OUTSIDE, clientTcp())
  const bench = scene()
  const at = first.outgoing.peek()
  bench.engine.replication.apply(first.outgoing.bytes, at)
  const asked = bench.send(INSIDE, serverTcp())
  t.equal(asked.length, 1, 'the router is asked for')
  t.equal(hex(asked[0].frame.subarray(38, 42)), hex(Uint8Array.from(ROUTER.split('.'), Number)))
  t.same(sentHex(bench.send(OUTSIDE, arpOf(ROUTER))), byOther)
})

test('a client that pretends to be a group of machines is answered by route', async (t) => {
  const bench = scene({ neighbours: { '10.1.0.1': MAC.server1 } })
  bench.send(OUTSIDE, clientTcp({ flags: TCP_SYN, sourceMac: '03:00:00:00:00:01' }))
  const sent = bench.send(INSIDE, serverTcp())
  t.equal(hex(sent[0].frame.subarray(38, 42)), hex(Uint8Array.from(ROUTER.split('.'), Number)))
})

test('invented MACs fill the paths at worst; those known before stay', async (t) => {
  const paths = new ReturnPaths()
  const view = new DataView(new ArrayBuffer(6))
  const numbers = new Set<number>()
  for (let mac = 1; mac <= 5000; mac++) {
    view.setUint32(2, mac)
    numbers.add(paths.intern(1, view, 0))
  }
  t.equal(numbers.size, 4096, '4095 paths, and the unknown one for all others')
  t.ok(numbers.has(0))
  view.setUint32(2, 1)
  const first = paths.intern(1, view, 0)
  t.ok(first > 0)
  t.ok(paths.hears(first, 1, view, 0))
  t.notOk(paths.hears(first, 0, view, 0), 'another link')
  view.setUint32(2, 2)
  t.notOk(paths.hears(first, 1, view, 0), 'another MAC')
})

test('a router that is silent while packets are sent there is given up for the one of the route, once that has answered', async (t) => {
  const bench = scene()
  bench.send(OUTSIDE, clientTcp({ flags: TCP_SYN }))
  t.same(serves(bench, 2), byRouter)
  t.same(serves(bench, 1), byRouter, 'asked for by now')
  bench.send(OUTSIDE, arpOf(ROUTER))
  t.same(serves(bench, 0.5), byOther)
  bench.send(OUTSIDE, clientTcp({ from: '203.0.113.8:3456', flags: TCP_SYN }))
  t.same(serves(bench, 0.5), byRouter, 'another of its clients shows that it lives')
  t.same(serves(bench, 2.5), byOther)
  bench.send(OUTSIDE, clientTcp({ sourceMac: MAC.otherRouter }))
  t.same(serves(bench, 0.5), byOther)
})

test('a router whose clients acknowledge what they get keeps its connections, and so does one after a pause', async (t) => {
  const bench = scene()
  bench.send(OUTSIDE, clientTcp({ flags: TCP_SYN }))
  serves(bench, 3)
  bench.send(OUTSIDE, arpOf(ROUTER))
  for (let second = 0; second < 4; second++) {
    bench.send(OUTSIDE, clientTcp())
    t.same(serves(bench, 1), byRouter)
  }
  bench.nowMs += 8000
  t.same(serves(bench, 2), byRouter)
  t.same(serves(bench, 0.5), byOther)
})

test('packets of any length go to the router of the route when the other is silent', async (t) => {
  const bench = scene({ protocol: 'udp', outsideMtu: 1000 })
  bench.send(OUTSIDE, clientUdp())
  serves(bench, 3, serverUdp())
  bench.send(OUTSIDE, arpOf(ROUTER))
  const pieces = bench.send(INSIDE, serverUdp({ payload: new Uint8Array(1400), fragment: 0 }))
  t.equal(pieces.length, 2)
  t.ok(pieces.every(({ frame }) => hex(frame.subarray(0, 6)) === hex(parseMac(MAC.otherRouter))))
})

test('a silent path stays where no route leads, or one by another link', async (t) => {
  for (const route of [undefined, { gateway: SERVER1_ADDRESS, link: INSIDE, source: INSIDE_SOURCE }]) {
    const toServers = { destination: '10.1.0.0', prefixLength: 24, link: INSIDE, source: INSIDE_SOURCE }
    const other = route ? [{ destination: '0.0.0.0', prefixLength: 0, ...route }] : []
    const bench = scene({ routes: [toServers, ...other] })
    bench.send(OUTSIDE, clientTcp({ flags: TCP_SYN }))
    t.same(serves(bench, 6), byRouter)
  }
})

test('a client on our own network keeps its path, and when it has moved to another MAC that counts', async (t) => {
  const near = '198.51.100.7'
  const bench = scene()
  bench.send(OUTSIDE, clientTcp({ from: `${near}:3456`, flags: TCP_SYN }))
  const packet = serverTcp({ to: `${near}:3456` })
  t.same(serves(bench, 6, packet), [[OUTSIDE, hex(tcpToClient({ to: `${near}:3456` }))]])
  bench.send(OUTSIDE, arpOf(near))
  const moved = tcpToClient({ to: `${near}:3456`, destinationMac: MAC.otherRouter })
  t.same(serves(bench, 0.5, packet), [[OUTSIDE, hex(moved)]])
})

test('a silent router of IPv6 is given up too', async (t) => {
  const bench = scene6()
  bench.send(OUTSIDE, clientTcp6({ flags: TCP_SYN }))
  t.same(serves(bench, 3, serverTcp6()), [[OUTSIDE, hex(tcpToClient6())]])
  bench.send(OUTSIDE, unsolicitedAdvertisement(parseIPv6(ROUTER6), parseMac(MAC.otherRouter)))
  const byOther6 = hex(tcpToClient6({ destinationMac: MAC.otherRouter }))
  t.same(serves(bench, 0.5, serverTcp6()), [[OUTSIDE, byOther6]])
})
