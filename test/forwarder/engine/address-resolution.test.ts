/** ARP: who is answered, for which address, on which link. */
import { test } from 'tap'
import type { VirtualAddress } from '../../../forwarder/commands.ts'
import { Loop } from '../../../forwarder/loop.ts'
import { ARP_FRAME_LENGTH, ARP_REPLY, ARP_REQUEST, writeArpFrame } from '../../../protocol/packet/arp.ts'
import { parseIPv4, parseMac } from '../../../protocol/packet/bytes.ts'
import { TCP_SYN } from '../../../protocol/packet/tcp.ts'
import { hex, sentHex } from '../../support/hex.ts'
import { CLIENT_ADDRESS, clientTcp, INSIDE, MAC, OUTSIDE, ROUTER, scene, VIP } from '../../support/scene.ts'

interface Arp {
  to?: string
  operation?: number
  senderMac?: string
  sender?: string
  targetMac?: string
  target?: string
}

const BROADCAST = 'ff:ff:ff:ff:ff:ff'
const UNKNOWN = '00:00:00:00:00:00'

/** A router asks for the virtual address. */
function arp({
  to = BROADCAST,
  operation = ARP_REQUEST,
  senderMac = MAC.router,
  sender = ROUTER,
  targetMac = UNKNOWN,
  target = VIP,
}: Arp = {}): Uint8Array {
  const frame = new Uint8Array(ARP_FRAME_LENGTH)
  writeArpFrame(frame, 0, parseMac(to), {
    operation,
    senderMac: parseMac(senderMac),
    senderAddress: parseIPv4(sender),
    targetMac: parseMac(targetMac),
    targetAddress: parseIPv4(target),
  })
  return frame
}

const replyFields = {
  to: MAC.router,
  operation: ARP_REPLY,
  senderMac: MAC.outside,
  sender: VIP,
  targetMac: MAC.router,
  target: ROUTER,
}
const reply = arp(replyFields)

test('a request for an active address is answered with the MAC of the link it came on', async (t) => {
  t.same(sentHex(scene().send(OUTSIDE, arp())), [[OUTSIDE, hex(reply)]])
})

test('with the virtual MAC, and from it, when the address has one, however it was asked for', async (t) => {
  const mac = '00:00:5e:00:01:33'
  const addresses = [{ address: VIP, link: OUTSIDE, state: 'active' as const, mac: parseMac(mac) }]
  const expected = arp({ ...replyFields, senderMac: mac })
  for (const to of [BROADCAST, mac, MAC.outside]) {
    t.same(sentHex(scene({ addresses }).send(OUTSIDE, arp({ to }))), [[OUTSIDE, hex(expected)]])
  }
})

test('so is one that was not broadcast, as a neighbour asks again', async (t) => {
  t.same(sentHex(scene().send(OUTSIDE, arp({ to: MAC.outside }))), [[OUTSIDE, hex(reply)]])
})

test('padding does not come back', async (t) => {
  const padded = new Uint8Array(60).fill(0xee)
  padded.set(arp())
  t.same(sentHex(scene().send(OUTSIDE, padded)), [[OUTSIDE, hex(reply)]])
})

test('a probe for the address, from a host that has none yet, is answered too', async (t) => {
  const expected = arp({
    to: MAC.router,
    operation: ARP_REPLY,
    senderMac: MAC.outside,
    sender: VIP,
    targetMac: MAC.router,
    target: '0.0.0.0',
  })
  t.same(sentHex(scene().send(OUTSIDE, arp({ sender: '0.0.0.0' }))), [[OUTSIDE, hex(expected)]])
})

const silent: [sentence: string, link: string, frame: Uint8Array, state?: VirtualAddress['state']][] = [
  ['a lingering address is not answered for', OUTSIDE, arp(), 'lingering'],
  ['an address on standby is not answered for', OUTSIDE, arp(), 'standby'],
  ['nor is an active one on another link than its own', INSIDE, arp()],
  ['nor an address that is not ours', OUTSIDE, arp({ target: '198.51.100.11' })],
  ['nor the host’s own address, which the host answers for', OUTSIDE, arp({ target: '198.51.100.1' })],
  ['an announcement of our address by another is not answered', OUTSIDE, arp({ sender: VIP })],
  ['a reply is not answered', OUTSIDE, arp({ operation: ARP_REPLY })],
  ['a truncated request is not answered', OUTSIDE, arp().subarray(0, ARP_FRAME_LENGTH - 1)],
]
for (const [sentence, link, frame, state] of silent) {
  test(sentence, async (t) => {
    t.same(scene({ state }).send(link, frame), [])
  })
}

test('an address is answered for from the moment that it becomes active', async (t) => {
  const bench = scene({ state: 'standby' })
  t.same(bench.send(OUTSIDE, arp()), [])
  const names = bench.links.map((link) => link.name)
  bench.engine.addresses.replace([{ address: VIP, link: OUTSIDE, state: 'active' }], names)
  t.same(sentHex(bench.send(OUTSIDE, arp())), [[OUTSIDE, hex(reply)]])
  bench.engine.addresses.replace([], names)
  t.same(bench.send(OUTSIDE, arp()), [], 'and no more when it is not ours any longer')
})

test('each of many addresses is answered for, and none beside them', async (t) => {
  const addresses = Array.from({ length: 200 }, (_, index) => `10.9.${index % 7}.${index}`)
  const bench = scene({ addresses: addresses.map((address) => ({ address, link: OUTSIDE, state: 'active' as const })) })
  for (const target of addresses) {
    const sent = bench.send(OUTSIDE, arp({ target }))
    t.equal(sent.length === 1 && hex(sent[0].frame.subarray(28, 32)), hex(arp({ sender: target }).subarray(28, 32)))
  }
  t.same(bench.send(OUTSIDE, arp({ target: '10.9.7.1' })), [])
})

test('an address that the asker does not share a network with is answered all the same', async (t) => {
  t.equal(scene().send(OUTSIDE, arp({ sender: CLIENT_ADDRESS })).length, 1)
})

test('what was asked while the director stood still is not answered: the address may have been given up since', async (t) => {
  const bench = scene()
  bench.link(OUTSIDE).inject(arp())
  bench.nowMs += 200
  t.same(bench.breathe(), [])
  t.same(sentHex(bench.send(OUTSIDE, arp())), [[OUTSIDE, hex(reply)]], 'whoever asks again is')
})

test('who asks right after a standstill is answered by what has become of the address meanwhile', async (t) => {
  const { engine, links, incoming, nowMs } = scene()
  let taken = 0
  const loop = new Loop(engine, links, incoming, () => {
    taken++
    engine.placeAddresses([{ address: VIP, link: OUTSIDE, state: 'standby' }], [OUTSIDE, INSIDE])
    links[0].inject(arp())
  })
  for (const ms of [0, 100, 300]) {
    t.equal(taken, 0)
    loop.breathe(nowMs + ms)
  }
  t.equal(taken, 1)
  t.same(links[0].take(), [])
})

test('nobody is answered while whoever decides has been silent for too long, and connections are served as before', async (t) => {
  const bench = scene()
  bench.engine.addresses.answersUntilMs = bench.nowMs
  t.same(sentHex(bench.send(OUTSIDE, arp())), [[OUTSIDE, hex(reply)]])
  bench.nowMs++
  t.same(bench.send(OUTSIDE, arp()), [])
  t.equal(bench.send(OUTSIDE, clientTcp({ flags: TCP_SYN })).length, 1)
})
