/** The way to the next hop: asked for by ARP, waited for, kept fresh, given up. */
import { test } from 'tap'
import { ConnectionKey } from '../../../forwarder/table/connection-key.ts'
import { ARP_FRAME_LENGTH, ARP_REPLY, ARP_REQUEST, writeArpFrame } from '../../../protocol/packet/arp.ts'
import { parseIPv4, parseMac } from '../../../protocol/packet/bytes.ts'
import { TCP_SYN } from '../../../protocol/packet/tcp.ts'
import type { DirectorBench, Sent } from '../../support/director-bench.ts'
import { hex, sentHex } from '../../support/hex.ts'
import {
  clientTcp,
  INSIDE,
  INSIDE_SOURCE,
  MAC,
  OUTSIDE,
  SERVER1_ADDRESS,
  scene,
  segmentationHeader,
  service,
  tcpToServer,
  tunnelled,
  unfinish,
  VIP,
} from '../../support/scene.ts'

const SECOND_MS = 1024 // the engine looks after its neighbours every 8 ticks
const syn = (port: number) => clientTcp({ from: `203.0.113.7:${port}`, flags: TCP_SYN })
const synToServer = (port: number) => tcpToServer({ from: `203.0.113.7:${port}`, flags: TCP_SYN })

function arpOf(operation: number, mac: string, address: string): Uint8Array {
  const isRequest = operation === ARP_REQUEST
  const frame = new Uint8Array(ARP_FRAME_LENGTH)
  writeArpFrame(frame, 0, parseMac(isRequest ? 'ff:ff:ff:ff:ff:ff' : MAC.inside), {
    operation,
    senderMac: parseMac(mac),
    senderAddress: parseIPv4(address),
    targetMac: parseMac(isRequest ? '00:00:00:00:00:00' : MAC.inside),
    targetAddress: parseIPv4(isRequest ? SERVER1_ADDRESS : INSIDE_SOURCE),
  })
  return frame
}

const request = arpOf(ARP_REQUEST, MAC.inside, INSIDE_SOURCE)
const answer = arpOf(ARP_REPLY, MAC.server1, SERVER1_ADDRESS)
const isRequest = (sent: Sent) => hex(sent.frame) === hex(request)

/** Lets seconds go by; what was sent meanwhile. */
function wait(bench: DirectorBench, seconds: number): Sent[] {
  const sent: Sent[] = []
  for (let second = 0; second < seconds; second++) {
    bench.nowMs += SECOND_MS
    sent.push(...bench.breathe())
  }
  return sent
}

const unresolved = (options = {}) => scene({ neighbours: {}, ...options })

test('a server is asked for before the first packet needs it', async (t) => {
  const bench = unresolved()
  const sent = wait(bench, 1)
  t.same(sentHex(sent), [[INSIDE, hex(request)]])
})

test('packets for a server wait until it has answered, and then leave in order', async (t) => {
  const bench = unresolved()
  for (const port of [1, 2]) t.same(bench.send(OUTSIDE, syn(port)), [])
  t.equal(bench.engine.egress.poolUse.held, 2)
  t.same(sentHex(bench.send(INSIDE, answer)), [
    [INSIDE, hex(synToServer(1))],
    [INSIDE, hex(synToServer(2))],
  ])
  t.same(sentHex(bench.send(OUTSIDE, syn(3))), [[INSIDE, hex(synToServer(3))]])
  const { free, held, total } = bench.engine.egress.poolUse
  t.same({ free, held }, { free: total, held: 0 })
})

test('a tunnelled packet waits with its outer header', async (t) => {
  const bench = unresolved({ method: 'tun' })
  t.same(bench.send(OUTSIDE, syn(1)), [])
  const inner = clientTcp({ from: '203.0.113.7:1', flags: TCP_SYN, ttl: 63 })
  t.same(sentHex(bench.send(INSIDE, answer)), [[INSIDE, hex(tunnelled(inner))]])
})

test('no more than 192 packets wait, the others are dropped', async (t) => {
  // So small that a quarter of the pool is more.
  const bench = unresolved({ outsideMtu: 300, insideMtu: 300 })
  for (let port = 1001; port <= 1194; port++) t.same(bench.send(OUTSIDE, syn(port)), [])
  t.equal(bench.drops.toObject()['neighbour-pending'], 2)
  t.equal(bench.send(INSIDE, answer).length, 192)
})

test('no more packets than a quarter of the pool holds wait, for whichever hosts', async (t) => {
  const bench = unresolved({ weights: [1, 1, 1, 1] })
  for (let port = 1001; port <= 1100; port++) bench.send(OUTSIDE, syn(port))
  const { held, total } = bench.engine.egress.poolUse
  t.equal(held, Math.floor(total / 4))
  t.equal(bench.drops.toObject()['neighbour-pending'], 100 - held)
})

test('a frame of 64 KiB does not wait: no room is kept for it', async (t) => {
  const bench = unresolved()
  const frame = clientTcp({ flags: TCP_SYN, payload: new Uint8Array(60_000) })
  t.same(bench.send(OUTSIDE, unfinish(frame), segmentationHeader(frame, 1460)), [])
  t.equal(bench.drops.toObject()['neighbour-pending'], 1)
})

test('after three unanswered requests the packets that wait are given up, and asking goes on', async (t) => {
  const bench = unresolved()
  bench.send(OUTSIDE, syn(1))
  bench.send(OUTSIDE, syn(2))
  // The first request was sent while the scene was set up.
  t.equal(wait(bench, 2).filter(isRequest).length, 2)
  t.equal(bench.engine.egress.poolUse.held, 2)
  t.equal(wait(bench, 1).filter(isRequest).length, 1)
  t.equal(bench.drops.toObject()['neighbour-failed'], 2)
  const { free, held, total } = bench.engine.egress.poolUse
  t.same({ free, held }, { free: total, held: 0 })
  t.equal(wait(bench, 5).filter(isRequest).length, 5)
  t.same(bench.send(OUTSIDE, syn(1)), [])
  t.equal(bench.drops.toObject()['neighbour-failed'], 3)
  t.same(bench.send(INSIDE, answer), [], 'nothing waits any more')
  t.same(sentHex(bench.send(OUTSIDE, syn(3))), [[INSIDE, hex(synToServer(3))]])
})

test('a server’s address is confirmed every 30 s, without traffic too', async (t) => {
  const bench = scene()
  t.same(wait(bench, 29), [])
  t.ok(wait(bench, 2).some(isRequest))
  bench.send(INSIDE, answer)
  t.same(wait(bench, 28), [])
})

test('a server that does not answer any more loses its address after three requests', async (t) => {
  const bench = scene()
  wait(bench, 32)
  t.equal(bench.send(OUTSIDE, syn(1)).length, 1, 'until then packets are sent to it')
  wait(bench, 1)
  t.same(bench.send(OUTSIDE, syn(2)), [])
  t.equal(bench.drops.toObject()['neighbour-failed'], 1)
  t.equal(bench.engine.egress.poolUse.held, 0)
})

test('a server that moves to another MAC is followed as soon as it says so', async (t) => {
  const bench = scene()
  bench.send(OUTSIDE, syn(1))
  bench.send(INSIDE, arpOf(ARP_REPLY, MAC.server2, SERVER1_ADDRESS))
  const expected = tcpToServer({ from: '203.0.113.7:1', destinationMac: MAC.server2 })
  t.same(sentHex(bench.send(OUTSIDE, clientTcp({ from: '203.0.113.7:1' }))), [[INSIDE, hex(expected)]])
})

test('its requests tell where it is as well as its answers', async (t) => {
  const bench = unresolved()
  bench.send(OUTSIDE, syn(1))
  t.equal(bench.send(INSIDE, arpOf(ARP_REQUEST, MAC.server1, SERVER1_ADDRESS)).length, 1)
})

test('an answer that names a group of machines, or comes on another link, is not believed', async (t) => {
  const bench = unresolved()
  bench.send(OUTSIDE, syn(1))
  t.same(bench.send(INSIDE, arpOf(ARP_REPLY, '01:00:5e:00:00:01', SERVER1_ADDRESS)), [])
  t.same(bench.send(OUTSIDE, answer), [])
  t.equal(bench.send(INSIDE, answer).length, 1)
})

test('without a route to the server its packets are dropped', async (t) => {
  for (const method of ['nat', 'dr', 'tun'] as const) {
    const bench = scene({ method, routes: [] })
    t.same(bench.send(OUTSIDE, syn(1)), [])
    t.equal(bench.drops.toObject()['no-route'], 1)
  }
})

test('a new route is taken at once: the longest prefix that covers the server', async (t) => {
  const bench = scene()
  bench.send(OUTSIDE, syn(1))
  bench.engine.setRoutes([
    { destination: '10.0.0.0', prefixLength: 8, gateway: '10.1.0.9', link: INSIDE, source: INSIDE_SOURCE },
    { destination: SERVER1_ADDRESS, prefixLength: 32, gateway: '10.1.0.2', link: INSIDE, source: INSIDE_SOURCE },
    { destination: '0.0.0.0', prefixLength: 0, gateway: '198.51.100.254', link: OUTSIDE, source: '198.51.100.1' },
    { destination: SERVER1_ADDRESS, prefixLength: 31, link: 'gone', source: '1.2.3.4' },
  ])
  bench.resolve({ '10.1.0.2': MAC.server2 })
  const expected = tcpToServer({ from: '203.0.113.7:1', destinationMac: MAC.server2 })
  t.same(sentHex(bench.send(OUTSIDE, clientTcp({ from: '203.0.113.7:1' }))), [[INSIDE, hex(expected)]])
})

test('a server that two services share stays known when it leaves one of them', async (t) => {
  const other = { ...service(), port: 443 }
  const bench = scene({ services: [service(), other] })
  bench.send(OUTSIDE, syn(1))
  bench.engine.services.set({ ...other, servers: [] })
  // Ten minutes without traffic: an entry that nobody needs would be forgotten.
  for (let minute = 0; minute < 11; minute++) {
    wait(bench, 58)
    bench.send(INSIDE, answer)
  }
  bench.send(INSIDE, arpOf(ARP_REPLY, MAC.server2, SERVER1_ADDRESS))
  const [sent] = bench.send(OUTSIDE, syn(2))
  t.equal(hex(sent.frame), hex(tcpToServer({ from: '203.0.113.7:2', flags: TCP_SYN, destinationMac: MAC.server2 })))
})

test('the address that a server is asked for with is the director’s own on that link, not the virtual one', async (t) => {
  const [sent] = wait(unresolved(), 1)
  t.equal(hex(sent.frame.subarray(28, 32)), hex(Uint8Array.from(INSIDE_SOURCE.split('.'), Number)))
  t.not(INSIDE_SOURCE, VIP)
})

test('when the director has another address there, tunnels and requests have it too, though the next hop was known', async (t) => {
  const bench = scene({ method: 'tun', weights: [1] })
  bench.send(OUTSIDE, syn(1))
  bench.engine.setRoutes([{ destination: '10.1.0.0', prefixLength: 24, link: INSIDE, source: '10.1.0.253' }])
  const [sent] = bench.send(OUTSIDE, syn(2))
  t.equal(sent.frame.subarray(26, 30).join('.'), '10.1.0.253')
  const asked = wait(bench, 31).find(({ frame }) => frame[13] === 6)
  t.equal(asked?.frame.subarray(28, 32).join('.'), '10.1.0.253')
})

test('a client that is reached by the same next hop as a server, with another address of ours, leaves the server its own', async (t) => {
  const bench = scene({ method: 'tun' })
  bench.engine.setRoutes([
    { destination: SERVER1_ADDRESS, prefixLength: 32, gateway: '10.1.0.9', link: INSIDE, source: INSIDE_SOURCE },
    { destination: '0.0.0.0', prefixLength: 0, gateway: '10.1.0.9', link: INSIDE, source: '10.1.0.253' },
  ])
  bench.resolve({ '10.1.0.9': MAC.server1 })
  const client = new ConnectionKey()
  client.setIPv4(6, parseIPv4('203.0.113.9'), parseIPv4(VIP), 0)
  bench.engine.egress.expectClient(client)
  const [sent] = bench.send(OUTSIDE, syn(1))
  t.equal(sent.frame.subarray(26, 30).join('.'), INSIDE_SOURCE)
})
