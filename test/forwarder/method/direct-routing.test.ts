/** Direct routing, packet in and packet out: another MAC, one hop older, nothing else. */
import { test } from 'tap'
import { TCP_SYN } from '../../../protocol/packet/tcp.ts'
import { hex, sentHex } from '../../support/hex.ts'
import {
  clientTcp,
  clientUdp,
  finish,
  INSIDE,
  MAC,
  OUTSIDE,
  type SceneOptions,
  scene,
  segmentationHeader,
  serverTcp,
  unfinish,
  unfinishedHeader,
  VIRTUAL,
} from '../../support/scene.ts'

const onItsWay = { sourceMac: MAC.inside, destinationMac: MAC.server1, ttl: 63 }

const cases: [sentence: string, frame: Uint8Array, expected: Uint8Array, options?: SceneOptions][] = [
  [
    'a SYN keeps its addresses and gets the MAC of a server',
    clientTcp({ flags: TCP_SYN }),
    clientTcp({ flags: TCP_SYN, ...onItsWay }),
  ],
  [
    'type of service, identification and a missing DF stay',
    syn({ tos: 4, identification: 9, fragment: 0 }),
    syn({ tos: 4, identification: 9, fragment: 0, ...onItsWay }),
  ],
  ['a TTL of 2 is the lowest that passes', syn({ ttl: 2 }), syn({ ...onItsWay, ttl: 1 })],
  [
    'a datagram passes too',
    clientUdp({ payload: 'query' }),
    clientUdp({ payload: 'query', ...onItsWay }),
    { protocol: 'udp' },
  ],
]

for (const [sentence, frame, expected, options] of cases) {
  test(sentence, async (t) => {
    const sent = scene({ method: 'dr', ...options }).send(OUTSIDE, frame)
    t.same(sentHex(sent), [[INSIDE, hex(expected)]])
  })
}

test('an unfinished checksum is left for the card as it came', async (t) => {
  const frame = syn({ payload: 'data' })
  const [sent] = scene({ method: 'dr' }).send(OUTSIDE, unfinish(frame), unfinishedHeader(frame))
  t.same(sent.vnetHeader, unfinishedHeader(frame))
  t.same(finish(sent.frame, sent.vnetHeader), syn({ payload: 'data', ...onItsWay }))
})

test('a frame of 64 KiB passes in one piece', async (t) => {
  const payload = Uint8Array.from({ length: 65_535 - 40 }, (_, index) => index * 7)
  const frame = syn({ payload })
  const [sent] = scene({ method: 'dr' }).send(OUTSIDE, unfinish(frame), segmentationHeader(frame, 1460))
  t.same(sent.vnetHeader, segmentationHeader(frame, 1460))
  t.ok(Buffer.from(finish(sent.frame, sent.vnetHeader)).equals(syn({ payload, ...onItsWay })))
})

test('what a server says in the name of the service does not pass here and is left to the host', async (t) => {
  const bench = scene({ method: 'dr' })
  bench.send(OUTSIDE, syn())
  t.same(bench.send(INSIDE, serverTcp({ from: VIRTUAL })), [])
})

function syn(fields: Parameters<typeof clientTcp>[0] = {}): Uint8Array {
  return clientTcp({ flags: TCP_SYN, ...fields })
}
