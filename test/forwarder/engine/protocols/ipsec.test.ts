/** AH and ESP: they go the way of the key exchange between the same addresses, and are otherwise left alone. */
import { test } from 'tap'
import { PROTOCOL_AH, PROTOCOL_ESP } from '../../../../protocol/packet/ipv4.ts'
import type { DirectorBench } from '../../../support/director-bench.ts'
import { icmpFrame, ipPacketFrame, packetOf, udpFrame } from '../../../support/frames.ts'
import { hex, sentHex } from '../../../support/hex.ts'
import {
  CLIENT_ADDRESS,
  INSIDE,
  MAC,
  OUTSIDE,
  type SceneOptions,
  SERVER1_ADDRESS,
  scene,
  service,
  tunnelled,
  VIP,
} from '../../../support/scene.ts'

const payload = 'parameter index, sequence number, and what nobody can read'
const fromClient = { sourceMac: MAC.router, destinationMac: MAC.outside, from: CLIENT_ADDRESS, to: VIP }

function ipsecScene(options: SceneOptions = {}): DirectorBench {
  const specification = service({ ...options, protocol: 'udp' })
  const servers = specification.servers.map((server) => ({ ...server, port: 500 }))
  return scene({ ...options, services: [{ ...specification, port: 500, servers }] })
}

function exchangeKeys(bench: DirectorBench): DirectorBench {
  bench.send(
    OUTSIDE,
    udpFrame({ ...fromClient, from: `${CLIENT_ADDRESS}:500`, to: `${VIP}:500`, payload: 'security association' }),
  )
  return bench
}

for (const [name, protocol] of [
  ['ESP', PROTOCOL_ESP],
  ['AH', PROTOCOL_AH],
] as const) {
  const clients = ipPacketFrame({ ...fromClient, protocol, payload })

  test(`${name} by NAT: only the addresses and the TTL change, in both directions`, async (t) => {
    const bench = exchangeKeys(ipsecScene())
    const toServer = { sourceMac: MAC.inside, destinationMac: MAC.server1, to: SERVER1_ADDRESS, ttl: 63 }
    t.same(sentHex(bench.send(OUTSIDE, clients)), [
      [INSIDE, hex(ipPacketFrame({ protocol, payload, from: CLIENT_ADDRESS, ...toServer }))],
    ])
    const reply = { protocol, payload, from: SERVER1_ADDRESS, to: CLIENT_ADDRESS }
    const toClient = { sourceMac: MAC.outside, destinationMac: MAC.router, from: VIP, ttl: 63 }
    t.same(sentHex(bench.send(INSIDE, ipPacketFrame({ ...reply, destinationMac: MAC.inside }))), [
      [OUTSIDE, hex(ipPacketFrame({ ...reply, ...toClient }))],
    ])
  })

  test(`${name} by DR and TUN follows the key exchange too`, async (t) => {
    const passed = ipPacketFrame({
      ...fromClient,
      sourceMac: MAC.inside,
      destinationMac: MAC.server1,
      protocol,
      payload,
      ttl: 63,
    })
    t.same(sentHex(exchangeKeys(ipsecScene({ method: 'dr' })).send(OUTSIDE, clients)), [[INSIDE, hex(passed)]])
    t.same(sentHex(exchangeKeys(ipsecScene({ method: 'tun' })).send(OUTSIDE, clients)), [
      [INSIDE, hex(tunnelled(passed))],
    ])
  })

  test(`${name} without a key exchange is dropped when it is for a virtual address, and is the host's otherwise`, async (t) => {
    const bench = ipsecScene()
    t.same(bench.send(OUTSIDE, clients), [])
    t.equal(bench.drops.toObject()['no-connection'], 1)
    const counted = { ...bench.drops.toObject() }
    bench.send(
      INSIDE,
      ipPacketFrame({ destinationMac: MAC.inside, from: SERVER1_ADDRESS, to: CLIENT_ADDRESS, protocol, payload }),
    )
    t.same(bench.drops.toObject(), counted)
  })

  test(`${name} keeps the connection of its key exchange alive`, async (t) => {
    const bench = exchangeKeys(ipsecScene())
    bench.nowMs += 299_000
    bench.send(OUTSIDE, clients)
    bench.nowMs += 299_000
    bench.send(OUTSIDE, clients)
    t.equal(bench.table.memory.used, 1)
    bench.nowMs += 301_000
    bench.send(OUTSIDE, clients)
    t.equal(bench.table.memory.used, 0)
  })

  test(`an ICMP error about ${name} finds its client, and no port is written into what it quotes`, async (t) => {
    const bench = exchangeKeys(ipsecScene())
    const [{ frame }] = bench.send(OUTSIDE, clients)
    const error = icmpFrame({
      destinationMac: MAC.inside,
      from: `${SERVER1_ADDRESS}:0`,
      to: `${CLIENT_ADDRESS}:0`,
      type: 3,
      code: 4,
      rest: 1400,
      payload: packetOf(frame),
    })
    const [sent] = bench.send(INSIDE, error)
    t.equal(sent.link, OUTSIDE)
    const quoted = sent.frame.subarray(14 + 20 + 8)
    t.equal(hex(quoted.subarray(16, 20)), hex(Uint8Array.from(VIP.split('.'), Number)))
    t.equal(Buffer.from(quoted.subarray(20)).toString(), payload)
  })
}

test('fragments of ESP are forwarded each for itself', async (t) => {
  const bench = exchangeKeys(ipsecScene())
  for (const fragment of [0x2000, 0x0010]) {
    const [sent] = bench.send(OUTSIDE, ipPacketFrame({ ...fromClient, protocol: PROTOCOL_ESP, payload, fragment }))
    t.equal(hex(sent.frame.subarray(30, 34)), hex(Uint8Array.from(SERVER1_ADDRESS.split('.'), Number)))
  }
})
