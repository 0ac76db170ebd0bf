/** SYNs that waited in a ring while their director stood still: their clients have sent them again. */
import { test } from 'tap'
import { isSyn } from '../../../forwarder/engine/late-frames.ts'
import { TCP_ACK, TCP_FIN, TCP_RST, TCP_SYN } from '../../../protocol/packet/tcp.ts'
import type { DirectorBench } from '../../support/director-bench.ts'
import { clientTcp6, scene6 } from '../../support/ipv6-scene.ts'
import { clientTcp, clientUdp, OUTSIDE, scene } from '../../support/scene.ts'

test('a SYN is told from everything else', async (t) => {
  const whether = (bytes: Uint8Array) =>
    isSyn({
      memory: { bytes, view: new DataView(bytes.buffer, bytes.byteOffset) },
      start: 0,
      length: bytes.length,
    } as never)
  for (const make of [clientTcp, clientTcp6]) {
    t.ok(whether(make({ flags: TCP_SYN })))
    for (const flags of [TCP_SYN | TCP_ACK, TCP_ACK, TCP_RST, TCP_FIN | TCP_ACK]) t.notOk(whether(make({ flags })))
    const whole = make({ flags: TCP_SYN })
    const header = make === clientTcp ? 54 : 74
    t.ok(whether(whole.subarray(0, header)))
    for (let length = 14; length < header; length++)
      t.notOk(whether(whole.subarray(0, length)), `${length} bytes of it`)
  }
  t.notOk(whether(clientUdp()))
  const fragment = clientTcp({ flags: TCP_SYN })
  fragment[14 + 7] = 5
  t.notOk(whether(fragment), 'no first fragment has a TCP header')
})

test('a SYN that has waited for a second is dropped, one that has waited for less goes on, and so does everything else', async (t) => {
  for (const [bench, syn, ack] of [
    [scene(), clientTcp({ flags: TCP_SYN }), clientTcp()],
    [scene6(), clientTcp6({ flags: TCP_SYN }), clientTcp6()],
  ] as [DirectorBench, Uint8Array, Uint8Array][]) {
    bench.outgoing.setWitnesses(1)
    bench.breathe()
    const standStill = (ms: number, frame: Uint8Array) => {
      bench.link(OUTSIDE).inject(frame.slice())
      bench.nowMs += ms
      return bench.breathe().length
    }
    t.equal(standStill(1000, syn), 0)
    t.equal(bench.drops.toObject().late, 1)
    t.equal(bench.send(OUTSIDE, syn.slice()).length, 1, 'sent again')
    t.equal(standStill(999, syn), 1)
    t.equal(standStill(5000, ack), 1)
    t.equal(bench.drops.toObject().late, 1)
    bench.outgoing.setWitnesses(0)
    t.equal(standStill(5000, syn), 1, 'nobody else has answered it')
  }
})
