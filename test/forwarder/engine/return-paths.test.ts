/** Replies go back the way the client's packets came, whatever the routes say. */
import { test } from 'tap'
import { ReturnPaths } from '../../../forwarder/engine/return-paths.ts'
import { ARP_FRAME_LENGTH, ARP_REPLY, writeArpFrame } from '../../../protocol/packet/arp.ts'
import { parseIPv4, parseMac } from '../../../protocol/packet/bytes.ts'
import { TCP_SYN } from '../../../protocol/packet/tcp.ts'
import { hex, sentHex } from '../../support/hex.ts'
import {
  clientTcp,
  INSIDE,
  MAC,
  OUTSIDE,
  OUTSIDE_SOURCE,
  ROUTER,
  scene,
  serverTcp,
  tcpToClient,
} from '../../support/scene.ts'

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
  const answer = new Uint8Array(ARP_FRAME_LENGTH)
  writeArpFrame(answer, 0, parseMac(MAC.outside), {
    operation: ARP_REPLY,
    senderMac: parseMac(MAC.otherRouter),
    senderAddress: parseIPv4(ROUTER),
    targetMac: parseMac(MAC.outside),
    targetAddress: parseIPv4(OUTSIDE_SOURCE),
  })
  t.same(sentHex(bench.send(OUTSIDE, answer)), [[OUTSIDE, hex(tcpToClient({ destinationMac: MAC.otherRouter }))]])
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
  t.ok(paths.matches(first, 1, view, 0))
  t.notOk(paths.matches(first, 0, view, 0), 'another link')
  view.setUint32(2, 2)
  t.notOk(paths.matches(first, 1, view, 0), 'another MAC')
})
