/** IPv6 addresses have numbers here that look like IPv4's of 0.0.0.0/8: whoever puts such a one on the wire reaches nothing by it. */
import { test } from 'tap'
import { ARP_FRAME_LENGTH, ARP_REPLY, ARP_REQUEST, writeArpFrame } from '../../../protocol/packet/arp.ts'
import { formatIPv4, parseIPv4, parseMac } from '../../../protocol/packet/bytes.ts'
import { TCP_SYN } from '../../../protocol/packet/tcp.ts'
import type { DirectorBench } from '../../support/director-bench.ts'
import { icmpFrame, tcpFrame } from '../../support/frames.ts'
import { hex, sentHex } from '../../support/hex.ts'
import { clientTcp6, SERVER1_ADDRESS6, scene6, tcpToServer6, VIP6 } from '../../support/ipv6-scene.ts'
import { CLIENT, CLIENT_ADDRESS, INSIDE, MAC, OUTSIDE, ROUTER } from '../../support/scene.ts'

/** What the number of an IPv6 address would be as an address of IPv4. */
function disguised(bench: DirectorBench, address: string): string {
  const text = formatIPv4(bench.engine.services.directory.book.numberOf(address))
  if (!/^0\.0\.0\.[1-9]/.test(text)) throw new Error(`${address} has no number: ${text}`)
  return text
}

function arp(operation: number, mac: string, sender: string, target: string): Uint8Array {
  const frame = new Uint8Array(ARP_FRAME_LENGTH)
  writeArpFrame(frame, 0, parseMac('ff:ff:ff:ff:ff:ff'), {
    operation,
    senderMac: parseMac(mac),
    senderAddress: parseIPv4(sender),
    targetMac: parseMac('00:00:00:00:00:00'),
    targetAddress: parseIPv4(target),
  })
  return frame
}

test('ARP for the number of a virtual address is not answered', async (t) => {
  const bench = scene6()
  t.same(bench.send(OUTSIDE, arp(ARP_REQUEST, MAC.router, ROUTER, disguised(bench, VIP6))), [])
})

test('ARP in the name of a server’s number moves the server nowhere', async (t) => {
  const bench = scene6()
  const server = disguised(bench, SERVER1_ADDRESS6)
  bench.send(INSIDE, arp(ARP_REPLY, MAC.server2, server, server))
  t.same(sentHex(bench.send(OUTSIDE, clientTcp6({ flags: TCP_SYN }))), [
    [INSIDE, hex(tcpToServer6({ flags: TCP_SYN }))],
  ])
})

test('a ping and a SYN to the number of a virtual address are the host’s', async (t) => {
  const bench = scene6()
  const to = disguised(bench, VIP6)
  const macs = { sourceMac: MAC.router, destinationMac: MAC.outside }
  t.same(bench.send(OUTSIDE, icmpFrame({ ...macs, from: CLIENT_ADDRESS, to, type: 8 })), [])
  t.same(bench.send(OUTSIDE, tcpFrame({ ...macs, from: CLIENT, to: `${to}:80`, flags: TCP_SYN })), [])
  t.equal(bench.table.memory.used, 0)
  t.ok(Object.values(bench.drops.toObject()).every((count) => count === 0))
})
