/** Neighbour discovery: for virtual addresses, for servers and next hops. */
import { test } from 'tap'
import { formatMac, parseMac } from '../../../protocol/packet/bytes.ts'
import { parseIPv6 } from '../../../protocol/packet/ipv6-address.ts'
import {
  unsolicitedAdvertisement,
  writeNeighbourFrame,
  writeSolicitation,
} from '../../../protocol/packet/neighbour-discovery.ts'
import { TCP_SYN } from '../../../protocol/packet/tcp.ts'
import { hex, sentHex } from '../../support/hex.ts'
import { icmpFrame6 } from '../../support/ipv6-frames.ts'
import {
  clientTcp6,
  INSIDE_SOURCE6,
  ROUTER6,
  SERVER1_ADDRESS6,
  scene6,
  serverTcp6,
  tcpToClient6,
  tcpToServer6,
  VIP6,
} from '../../support/ipv6-scene.ts'
import { INSIDE, MAC, OUTSIDE } from '../../support/scene.ts'

const target = (address: string) => parseIPv6(address)
const bytesOf = (address: string) => {
  const bytes = new Uint8Array(16)
  const view = new DataView(bytes.buffer)
  for (const [index, word] of parseIPv6(address).entries()) view.setInt32(index * 4, word)
  return bytes
}
const macOption = (type: number, mac: string) => Uint8Array.of(type, 1, ...parseMac(mac))
const concat = (...parts: Uint8Array[]) => Uint8Array.from(parts.flatMap((part) => [...part]))

/** What the router asks of the group of the virtual address, bytes written out as RFC 4861 draws them. */
function solicitation(
  options: { from?: string; to?: string; hopLimit?: number; option?: Uint8Array } = {},
): Uint8Array {
  return icmpFrame6({
    sourceMac: MAC.router,
    destinationMac: '33:33:ff:00:00:10',
    from: options.from ?? ROUTER6,
    to: options.to ?? 'ff02::1:ff00:10',
    hopLimit: options.hopLimit ?? 255,
    type: 135,
    payload: concat(bytesOf(VIP6), options.option ?? macOption(1, MAC.router)),
  })
}

function advertisement(options: { to?: string; mac?: string; flags?: number; sourceMac?: string } = {}): Uint8Array {
  const sourceMac = options.sourceMac ?? MAC.outside
  return icmpFrame6({
    sourceMac,
    destinationMac: options.mac ?? MAC.router,
    from: VIP6,
    to: options.to ?? ROUTER6,
    hopLimit: 255,
    type: 136,
    rest: options.flags ?? 0xe000_0000,
    payload: concat(bytesOf(VIP6), macOption(2, sourceMac)),
  })
}

test('a solicitation of an active virtual address is answered with the MAC of its link', async (t) => {
  t.same(sentHex(scene6().send(OUTSIDE, solicitation())), [[OUTSIDE, hex(advertisement())]])
})

test('with the virtual MAC, and from it, when the address has one', async (t) => {
  const sourceMac = '00:00:5e:00:02:33'
  const addresses = [{ address: VIP6, link: OUTSIDE, state: 'active' as const, mac: parseMac(sourceMac) }]
  const expected = advertisement({ sourceMac })
  t.same(sentHex(scene6({ addresses }).send(OUTSIDE, solicitation())), [[OUTSIDE, hex(expected)]])
  const again = solicitation()
  again.set(parseMac(sourceMac))
  t.same(
    sentHex(scene6({ addresses }).send(OUTSIDE, again)),
    [[OUTSIDE, hex(expected)]],
    'to a neighbour that makes sure',
  )
})

test('a solicitation without a link-layer address is answered to where it came from', async (t) => {
  const frame = solicitation({ to: VIP6, option: new Uint8Array(0) })
  t.same(sentHex(scene6().send(OUTSIDE, frame)), [[OUTSIDE, hex(advertisement())]])
})

test('a solicitation with more options is answered all the same', async (t) => {
  const nonce = Uint8Array.of(14, 1, 1, 2, 3, 4, 5, 6)
  const frame = solicitation({ option: concat(nonce, macOption(1, MAC.otherRouter)) })
  t.same(sentHex(scene6().send(OUTSIDE, frame)), [[OUTSIDE, hex(advertisement({ mac: MAC.otherRouter }))]])
})

test('who wants to make sure that nobody has the address is told before all that we have', async (t) => {
  const frame = solicitation({ from: '::', option: new Uint8Array(0) })
  const expected = advertisement({ to: 'ff02::1', mac: '33:33:00:00:00:01', flags: 0xa000_0000 })
  t.same(sentHex(scene6().send(OUTSIDE, frame)), [[OUTSIDE, hex(expected)]])
})

const unanswered: [sentence: string, link: string, frame: Uint8Array, state?: 'standby' | 'lingering'][] = [
  ['on another link', INSIDE, solicitation()],
  ['while another director holds the address', OUTSIDE, solicitation(), 'standby'],
  ['after the address was given up', OUTSIDE, solicitation(), 'lingering'],
  ['that was routed here from elsewhere', OUTSIDE, solicitation({ hopLimit: 254 })],
  ['from a group', OUTSIDE, solicitation({ from: 'ff02::5' })],
  ['with a wrong checksum', OUTSIDE, solicitation().map((byte, at) => (at === 56 ? byte ^ 1 : byte))],
  ['of an address that is not ours', OUTSIDE, solicitation().map((byte, at) => (at === 77 ? byte + 1 : byte))],
]

for (const [sentence, link, frame, state] of unanswered) {
  test(`a solicitation ${sentence} is not answered`, async (t) => {
    t.same(scene6({ state }).send(link, frame), [])
  })
}

test('a server is asked for in its solicited-node group before a packet needs it', async (t) => {
  const bench = scene6({ neighbours: {} })
  bench.nowMs += 1024
  const expected = new Uint8Array(86)
  writeSolicitation(expected, 0, parseMac(MAC.inside), target(INSIDE_SOURCE6), target(SERVER1_ADDRESS6))
  t.same(sentHex(bench.breathe()), [[INSIDE, hex(expected)]])
  t.equal(hex(expected.subarray(0, 6)), '3333ff000001')
  t.equal(hex(expected.subarray(38, 54)), 'ff0200000000000000000001ff000001')
})

test('a packet waits for its server’s advertisement and then leaves', async (t) => {
  const bench = scene6({ neighbours: {} })
  t.same(bench.send(OUTSIDE, clientTcp6({ flags: TCP_SYN })), [])
  const sent = bench.send(INSIDE, unsolicitedAdvertisement(target(SERVER1_ADDRESS6), parseMac(MAC.server1)))
  t.same(sentHex(sent), [[INSIDE, hex(tcpToServer6({ flags: TCP_SYN }))]])
})

test('a server that asks for somebody else is known by its question', async (t) => {
  const bench = scene6({ neighbours: {} })
  bench.send(OUTSIDE, clientTcp6({ flags: TCP_SYN }))
  const question = new Uint8Array(86)
  writeSolicitation(question, 0, parseMac(MAC.server1), target(SERVER1_ADDRESS6), target(INSIDE_SOURCE6))
  t.same(sentHex(bench.send(INSIDE, question)), [[INSIDE, hex(tcpToServer6({ flags: TCP_SYN }))]])
})

test('an advertisement moves a known address only if it says that it overrides; else the address is asked for again', async (t) => {
  const bench = scene6()
  const says = (mac: string, flags: number) => {
    const frame = new Uint8Array(86)
    writeNeighbourFrame(frame, 0, {
      type: 136,
      flags,
      source: target(SERVER1_ADDRESS6),
      destination: target(INSIDE_SOURCE6),
      target: target(SERVER1_ADDRESS6),
      mac: parseMac(mac),
      destinationMac: parseMac(MAC.inside),
    })
    bench.send(INSIDE, frame)
    const [sent] = bench.send(OUTSIDE, clientTcp6({ flags: TCP_SYN }))
    return formatMac(sent.frame)
  }
  t.equal(says(MAC.server2, 0x4000_0000), MAC.server1)
  bench.nowMs += 1024
  const asked = new Uint8Array(86)
  writeSolicitation(asked, 0, parseMac(MAC.inside), target(INSIDE_SOURCE6), target(SERVER1_ADDRESS6))
  t.same(sentHex(bench.breathe()), [[INSIDE, hex(asked)]])
  t.equal(says(MAC.server1, 0x4000_0000), MAC.server1)
  t.equal(says(MAC.server2, 0x6000_0000), MAC.server2)
})

test('an advertisement with the MAC of a group, or none, teaches nothing', async (t) => {
  const bench = scene6({ neighbours: {} })
  bench.send(OUTSIDE, clientTcp6({ flags: TCP_SYN }))
  const frame = new Uint8Array(86)
  writeNeighbourFrame(frame, 0, {
    type: 136,
    flags: 0x6000_0000,
    source: target(SERVER1_ADDRESS6),
    destination: target(INSIDE_SOURCE6),
    target: target(SERVER1_ADDRESS6),
    mac: parseMac('33:33:00:00:00:01'),
    destinationMac: parseMac(MAC.inside),
  })
  t.same(bench.send(INSIDE, frame), [])
  const bare = icmpFrame6({
    from: SERVER1_ADDRESS6,
    to: INSIDE_SOURCE6,
    hopLimit: 255,
    type: 136,
    payload: bytesOf(SERVER1_ADDRESS6),
  })
  t.same(bench.send(INSIDE, bare), [])
})

test('a client whose way is not known is reached by the route, through a link-local gateway', async (t) => {
  const bench = scene6()
  bench.send(OUTSIDE, clientTcp6({ flags: TCP_SYN }))
  // As after a takeover: the connection is known by replication, the way is not.
  const other = scene6()
  bench.send(INSIDE, serverTcp6({ flags: 0x12 }))
  bench.send(OUTSIDE, clientTcp6())
  const record = bench.outgoing.peek()
  const slot = other.incoming.reserve()
  other.incoming.bytes.set(bench.outgoing.bytes.subarray(record, record + 72), slot)
  other.incoming.commit()
  const [asked] = other.breathe()
  t.equal(other.reader.memory.used, 1)
  t.same(other.send(INSIDE, serverTcp6({ payload: 'late' })), [])
  const expected = new Uint8Array(86)
  writeSolicitation(expected, 0, parseMac(MAC.outside), target('2001:db8:1::1'), target(ROUTER6))
  t.equal(hex(asked.frame), hex(expected))
  const sent = other.send(OUTSIDE, unsolicitedAdvertisement(target(ROUTER6), parseMac(MAC.router)))
  t.same(sentHex(sent), [[OUTSIDE, hex(tcpToClient6({ payload: 'late' }))]])
})
