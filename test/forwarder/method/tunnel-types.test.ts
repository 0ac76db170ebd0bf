/** Every type of tunnel with every checksum option: golden packets, taken apart by a decoder that knows only the RFCs. */
import { type Test, test } from 'tap'
import type { TunnelSpec } from '../../../forwarder/service.ts'
import { DONT_FRAGMENT } from '../../../protocol/packet/ipv4.ts'
import { TCP_ACK, TCP_SYN } from '../../../protocol/packet/tcp.ts'
import type { DirectorBench, Sent } from '../../support/director-bench.ts'
import { checksumsAreRight, packetOf, wholeOf } from '../../support/frames.ts'
import { hex } from '../../support/hex.ts'
import {
  clientTcp,
  clientUdp,
  INSIDE,
  INSIDE_SOURCE,
  OUTSIDE,
  type SceneOptions,
  SERVER1_ADDRESS,
  scene,
  segmentationHeader,
  unfinish,
  unfinishedHeader,
} from '../../support/scene.ts'
import { openTunnel, type Tunnelled } from '../../support/tunnel-decoder.ts'

const GUE_PORT = 6080
const spec = (type: TunnelSpec['type'], checksum: TunnelSpec['checksum'] = 'none'): TunnelSpec => ({
  type,
  port: type === 'gue' ? GUE_PORT : 0,
  checksum,
})

interface Kind {
  readonly tunnel: TunnelSpec
  /** Bytes in front of a packet that is finished. */
  readonly overhead: number
  /** The same, of a packet whose checksum the sender has left to the card. */
  readonly overheadUnfinished: number
  readonly checksum: Tunnelled['checksum']
  /** What stands between the outer IP header and the packet, but for checksums and the source port. */
  readonly golden: string
}

const kinds: readonly Kind[] = [
  { tunnel: spec('ipip'), overhead: 20, overheadUnfinished: 20, checksum: 'none', golden: '' },
  { tunnel: spec('gre'), overhead: 24, overheadUnfinished: 24, checksum: 'none', golden: '00000800' },
  {
    tunnel: spec('gre', 'plain'),
    overhead: 28,
    overheadUnfinished: 28,
    checksum: 'good',
    golden: '80000800....0000',
  },
  {
    tunnel: spec('gue'),
    overhead: 32,
    overheadUnfinished: 32,
    checksum: 'none',
    golden: '....17c000340000' + '00040000',
  },
  {
    tunnel: spec('gue', 'plain'),
    overhead: 32,
    overheadUnfinished: 32,
    checksum: 'good',
    golden: '....17c00034....' + '00040000',
  },
  {
    tunnel: spec('gue', 'remote'),
    overhead: 32,
    overheadUnfinished: 40,
    checksum: 'good',
    golden: '....17c00034....' + '00040000',
  },
]

const name = ({ tunnel: { type, checksum } }: Kind) =>
  checksum === 'none' ? type : `${type} with checksum ${checksum}`
const tun = (kind: Kind, options: SceneOptions = {}) => scene({ method: 'tun', tunnel: kind.tunnel, ...options })
const syn = (fields: Parameters<typeof clientTcp>[0] = {}) => clientTcp({ flags: TCP_SYN, ...fields })

/** A SYN whose IP packet has this length. */
const long = (length: number, fragment = DONT_FRAGMENT) =>
  syn({ payload: Uint8Array.from({ length: length - 40 }, (_, index) => index * 3), fragment })

function send(bench: DirectorBench, frame: Uint8Array, header?: Uint8Array): Tunnelled[] {
  return bench.send(OUTSIDE, frame, header).map((sent) => openTunnel(sent.frame))
}

for (const kind of kinds) {
  const { tunnel, overhead, overheadUnfinished, checksum, golden } = kind

  test(`${name(kind)}: the packet as it is, one hop older, behind headers that say what they must`, async (t) => {
    const [sent, ...more] = tun(kind).send(OUTSIDE, syn({ tos: 0xb8 }))
    t.same(more, [])
    t.equal(sent.link, INSIDE)
    const opened = openTunnel(sent.frame)
    t.match(opened, {
      type: tunnel.type,
      source: INSIDE_SOURCE,
      destination: SERVER1_ADDRESS,
      ttl: 63,
      tos: 0xb8,
      identification: 0,
      dontFragment: true,
      checksum,
    })
    t.equal(hex(opened.packet), hex(packetOf(syn({ tos: 0xb8, ttl: 63 }))))
    t.match(hex(sent.frame.subarray(34, 14 + overhead)), new RegExp(`^${golden}$`))
    t.same(sent.vnetHeader, new Uint8Array(10), 'nothing is left for a card to finish')
  })

  test(`${name(kind)}: the longest packet that fits fits, and one byte more is answered with its length`, async (t) => {
    const [opened] = send(tun(kind), long(1500 - overhead))
    t.equal(opened.packet.length, 1500 - overhead)
    const bench = tun(kind)
    const [answer] = bench.send(OUTSIDE, long(1500 - overhead + 1))
    t.equal(answer.link, OUTSIDE)
    t.match(
      hex(answer.frame.subarray(34, 42)),
      new RegExp(`^0304....0000${(1500 - overhead).toString(16).padStart(4, '0')}$`),
    )
    t.equal(bench.drops.toObject()['too-big'], 1)
  })

  test(`${name(kind)}: a packet without DF that does not fit is cut behind its outer header`, async (t) => {
    const frame = long(1500, 0)
    const sent = tun(kind).send(OUTSIDE, frame)
    const whole = reassemble(t, sent)
    t.equal(hex(openTunnel(whole).packet), hex(packetOf(clientTcp({ ...sameAs(frame), ttl: 63 }))))
  })

  test(`${name(kind)}: with pmtu_disc 0 one with DF is cut too`, async (t) => {
    const bench = tun(kind)
    bench.engine.settings.pmtuDisc = 0
    const opened = openTunnel(reassemble(t, bench.send(OUTSIDE, long(1500))))
    t.notOk(opened.dontFragment)
    t.equal(opened.packet.length, 1500)
    t.equal((opened.packet[6] & 0x40) !== 0, true, 'the packet inside still has it')
  })

  test(`${name(kind)}: an unfinished checksum is ${overheadUnfinished > overhead ? 'left to the far end' : 'finished'}`, async (t) => {
    for (const [protocol, frame, field] of [
      ['tcp', syn({ payload: 'data' }), 36],
      ['udp', clientUdp({ payload: 'data' }), 26],
    ] as const) {
      const [opened] = send(tun(kind, { protocol }), unfinish(frame), unfinishedHeader(frame))
      t.equal(opened.checksum, checksum)
      const inner = Uint8Array.from([...frame.subarray(0, 14), ...opened.packet])
      if (overheadUnfinished === overhead) {
        t.equal(opened.remote, undefined)
        t.ok(checksumsAreRight(inner))
      } else {
        t.same(opened.remote, [20, field])
        const left = unfinish(
          protocol === 'tcp' ? syn({ payload: 'data', ttl: 63 }) : clientUdp({ payload: 'data', ttl: 63 }),
        )
        t.equal(hex(opened.packet), hex(packetOf(left)))
      }
    }
  })

  test(`${name(kind)}: a large frame goes as the segments that the card would have cut`, async (t) => {
    const bench = tun(kind)
    bench.send(OUTSIDE, syn())
    const data = Uint8Array.from({ length: 3000 }, (_, index) => index * 7)
    const frame = clientTcp({ payload: data, flags: TCP_ACK })
    const opened = send(bench, unfinish(frame), segmentationHeader(frame, 1400))
    t.same(
      opened.map(({ packet }) => packet.length),
      [1440, 1440, 240],
    )
    t.same(Buffer.concat(opened.map(({ packet }) => packet.subarray(40))), Buffer.from(data))
    for (const { packet } of opened) t.ok(checksumsAreRight(Uint8Array.from([...frame.subarray(0, 14), ...packet])))
  })

  test(`${name(kind)}: segments that are too long for the tunnel are cut again where that is allowed`, async (t) => {
    const bench = tun(kind)
    bench.send(OUTSIDE, syn())
    bench.engine.settings.pmtuDisc = 0
    const frame = clientTcp({ payload: new Uint8Array(2920), flags: TCP_ACK })
    const sent = bench.send(OUTSIDE, unfinish(frame), segmentationHeader(frame, 1460))
    t.equal(sent.length, 4)
    for (const half of [sent.slice(0, 2), sent.slice(2)]) {
      t.equal(openTunnel(reassemble(t, half)).packet.length, 1500)
    }
    const { free, held, total } = bench.engine.egress.poolUse
    t.same({ free, held }, { free: total, held: 0 })
  })
}

test('gue: the source port is the flow’s, in the range of the kernel’s own', async (t) => {
  const bench = tun(kinds[3], { protocol: 'udp' })
  const portOf = (from: string, payload = '') => send(bench, clientUdp({ from, payload }))[0].ports?.[0] ?? 0
  const first = portOf('203.0.113.7:1000')
  t.equal(portOf('203.0.113.7:1000', 'more'), first)
  const ports = Array.from({ length: 200 }, (_, index) => portOf(`203.0.113.7:${2000 + index}`))
  t.ok(new Set(ports).size > 190)
  t.ok(ports.every((port) => port >= 32_768 && port < 60_999))
})

test('a remote checksum that the virtio header puts outside the packet is not believed', async (t) => {
  for (const [at, value] of [
    [6, 250],
    [6, 2],
    [8, 200],
  ]) {
    const bench = tun(kinds[5])
    const header = unfinishedHeader(syn())
    header[at] = value
    t.same(bench.send(OUTSIDE, unfinish(syn()), header), [])
    t.equal(bench.drops.toObject()['bad-header'], 1)
  }
})

test('a server’s tunnel is changed like the rest of it', async (t) => {
  const bench = tun(kinds[0])
  t.equal(send(bench, syn())[0].type, 'ipip')
  const server = { address: SERVER1_ADDRESS, port: 80, method: 'tun', weight: 1, tunnel: spec('gre') } as const
  bench.engine.services.set({ protocol: 'tcp', address: '198.51.100.10', port: 80, scheduler: 'rr', servers: [server] })
  t.equal(send(bench, syn())[0].type, 'gre')
})

/** The frame that was cut into these, which all have one name. */
function reassemble(t: Test, sent: readonly Sent[]): Uint8Array {
  const frames = sent.map(({ frame }) => frame)
  t.ok(frames.length > 1 && frames.every((frame) => frame.length <= 1514))
  t.equal(new Set(frames.map((frame) => hex(frame.subarray(18, 20)) + hex(frame.subarray(26, 34)))).size, 1)
  return wholeOf(frames)
}

function sameAs(frame: Uint8Array): Parameters<typeof clientTcp>[0] {
  return { flags: TCP_SYN, payload: frame.slice(54), fragment: 0 }
}
