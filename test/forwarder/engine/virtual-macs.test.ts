/** Frames to virtual router MACs: whose are taken, and what comes of them. ARP and neighbour discovery have files of their own. */
import { test } from 'tap'
import type { VirtualAddress } from '../../../forwarder/commands.ts'
import { TCP_SYN } from '../../../protocol/packet/tcp.ts'
import { virtualRouterMac } from '../../../protocol/packet/virtual-router-mac.ts'
import { icmpFrame } from '../../support/frames.ts'
import { hex, sentHex } from '../../support/hex.ts'
import { clientTcp6, scene6, tcpToServer6, VIP6 } from '../../support/ipv6-scene.ts'
import {
  CLIENT_ADDRESS,
  clientTcp,
  INSIDE,
  MAC,
  OUTSIDE,
  scene,
  serverTcp,
  tcpToClient,
  tcpToServer,
  VIP,
} from '../../support/scene.ts'

const GATEWAY = '10.1.0.253'
const VIRTUAL_MAC = '00:00:5e:00:01:33'
const VIRTUAL_MAC6 = '00:00:5e:00:02:33'
const mac = virtualRouterMac(51, false)

/** A group with its gateway inside, of VRID 51. */
const group = (state: VirtualAddress['state']): VirtualAddress[] => [
  { address: VIP, link: OUTSIDE, state, mac },
  { address: GATEWAY, link: INSIDE, state, mac },
]
const syn = (destinationMac: string) => clientTcp({ flags: TCP_SYN, destinationMac })
const forwarded = [[INSIDE, hex(tcpToServer({ flags: TCP_SYN }))]]

const cases: [sentence: string, state: VirtualAddress['state'], destinationMac: string, isTaken: boolean][] = [
  ['the virtual MAC of an active group is taken', 'active', VIRTUAL_MAC, true],
  ['that of a lingering one too: neighbours learn one by one', 'lingering', VIRTUAL_MAC, true],
  ['that of a group on standby is not: the active director has it as well', 'standby', VIRTUAL_MAC, false],
  ['that of another virtual router is not', 'active', '00:00:5e:00:01:34', false],
  ['that of the same number in the other family is not', 'active', VIRTUAL_MAC6, false],
  ['the link’s own MAC is taken all the same', 'active', MAC.outside, true],
  ['what else begins like a virtual MAC is no virtual router’s', 'active', '00:00:5e:00:53:33', true],
]
for (const [sentence, state, destinationMac, isTaken] of cases) {
  test(`a frame to ${sentence}`, async (t) => {
    const bench = scene({ addresses: group(state) })
    t.same(sentHex(bench.send(OUTSIDE, syn(destinationMac))), isTaken ? forwarded : [])
    t.ok(
      Object.values(bench.drops.toObject()).every((count) => count === 0),
      'and if not, the host has it',
    )
  })
}

test('it is taken from the moment that the group becomes active until it is on standby, on its own links', async (t) => {
  const bench = scene({ addresses: group('standby') })
  const names = [OUTSIDE, INSIDE]
  t.same(bench.send(OUTSIDE, syn(VIRTUAL_MAC)), [])
  bench.engine.placeAddresses(group('active'), names)
  t.same(sentHex(bench.send(OUTSIDE, syn(VIRTUAL_MAC))), forwarded)
  const reply = serverTcp({ destinationMac: VIRTUAL_MAC })
  t.same(sentHex(bench.send(INSIDE, reply)), [[OUTSIDE, hex(tcpToClient())]], 'servers have it as their gateway')
  bench.engine.placeAddresses(group('active').slice(0, 1), names)
  t.same(bench.send(INSIDE, reply), [], 'not where the group has no address')
  bench.engine.placeAddresses(group('standby'), names)
  t.same(bench.send(OUTSIDE, syn(VIRTUAL_MAC)), [])
})

test('an answer in place comes from the link’s own MAC: a director that lingers must not move the virtual one back', async (t) => {
  const echo = { rest: 7, payload: 'sixteen bytes...' }
  const request = { sourceMac: MAC.router, destinationMac: VIRTUAL_MAC, from: CLIENT_ADDRESS, to: VIP }
  const reply = { sourceMac: MAC.outside, destinationMac: MAC.router, from: VIP, to: CLIENT_ADDRESS, ttl: 64 }
  for (const state of ['active', 'lingering'] as const) {
    const sent = scene({ addresses: group(state) }).send(OUTSIDE, icmpFrame({ ...request, ...echo, type: 8 }))
    t.same(sentHex(sent), [[OUTSIDE, hex(icmpFrame({ ...reply, ...echo, type: 0 }))]])
  }
})

test('over IPv6 the virtual MAC of the group of IPv6 is taken', async (t) => {
  const addresses = [{ address: VIP6, link: OUTSIDE, state: 'active' as const, mac: virtualRouterMac(51, true) }]
  const bench = scene6({ addresses })
  t.same(bench.send(OUTSIDE, clientTcp6({ flags: TCP_SYN, destinationMac: VIRTUAL_MAC })), [])
  const sent = bench.send(OUTSIDE, clientTcp6({ flags: TCP_SYN, destinationMac: VIRTUAL_MAC6 }))
  t.same(sentHex(sent), [[INSIDE, hex(tcpToServer6({ flags: TCP_SYN }))]])
})
