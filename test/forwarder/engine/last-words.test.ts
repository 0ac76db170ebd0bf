/** A takeover between two connections with the same ports: the end of the first must not count over the second, whichever is heard of first. */
import { test } from 'tap'
import { TCP_RST, TCP_SYN } from '../../../protocol/packet/tcp.ts'
import { type DirectorBench, told } from '../../support/director-bench.ts'
import { clientTcp6, scene6, VIP6 } from '../../support/ipv6-scene.ts'
import { clientTcp, INSIDE, OUTSIDE, scene, service, VIP } from '../../support/scene.ts'

const syn = () => clientTcp({ flags: TCP_SYN })
const ack = () => clientTcp()
const rst = () => clientTcp({ flags: TCP_RST })
/** Of the connection that all of this is about. */
const serverOf = (bench: DirectorBench) =>
  [...bench.reader.connections()].find(({ clientPort }) => clientPort === 3456)?.serverAddress

function take(bench: DirectorBench, address = VIP): void {
  bench.engine.placeAddresses([{ address, link: OUTSIDE, state: 'active' }], [OUTSIDE, INSIDE])
}

function tell(bench: DirectorBench, records: readonly Uint8Array[]): void {
  for (const record of records) bench.engine.replication.apply(record, 0)
  // The way to the client may be asked for.
  bench.breathe()
}

function pass(bench: DirectorBench, ms: number): void {
  bench.nowMs += ms
  bench.breathe()
}

/** Two directors that know of a connection to the first server which is over. */
function afterTheFirst(): [DirectorBench, DirectorBench] {
  const before = scene({ weights: [1, 1] })
  const after = scene({ weights: [1, 1], state: 'standby' })
  for (const frame of [syn(), ack(), rst()]) before.send(OUTSIDE, frame)
  tell(after, told(before))
  for (const bench of [before, after]) pass(bench, 1000)
  return [before, after]
}

test('right after a takeover a packet of a connection that is over waits for the record of its next one', async (t) => {
  const [before, after] = afterTheFirst()
  for (const frame of [syn(), ack()]) before.send(OUTSIDE, frame)
  take(after)
  t.same(after.send(OUTSIDE, ack()), [])
  t.equal(after.drops.toObject().over, 1)
  const first = serverOf(after)
  tell(after, told(before))
  t.equal(serverOf(after), serverOf(before))
  t.not(serverOf(after), first)
  t.same(
    after.send(OUTSIDE, ack()).map(({ link }) => link),
    [INSIDE],
  )
})

test('a SYN begins the next connection at once, and later than a second after a takeover what is over is led as ever', async (t) => {
  const [, after] = afterTheFirst()
  take(after)
  pass(after, 999)
  t.same(after.send(OUTSIDE, ack()), [])
  pass(after, 1)
  t.equal(after.send(OUTSIDE, ack()).length, 1)
  const [, other] = afterTheFirst()
  take(other)
  t.equal(other.send(OUTSIDE, syn()).length, 1)
})

test('a SYN for a connection that its template has led is not held up by a takeover', async (t) => {
  const persistence = { timeoutS: 60, netmask: '255.255.255.255' }
  const services = [{ ...service({ weights: [1, 1] }), persistence }]
  const [before, after] = [scene({ services }), scene({ services, state: 'standby' })]
  for (const frame of [syn(), ack(), rst()]) before.send(OUTSIDE, frame)
  tell(after, told(before))
  pass(after, 1000)
  take(after)
  t.same(after.send(OUTSIDE, ack()), [])
  t.equal(after.send(OUTSIDE, syn()).length, 1)
})

test('the same in IPv6', async (t) => {
  const after = scene6({ state: 'standby' })
  const before = scene6()
  for (const flags of [TCP_SYN, undefined, TCP_RST]) before.send(OUTSIDE, clientTcp6({ flags }))
  tell(after, told(before))
  pass(after, 1000)
  take(after, VIP6)
  t.same(after.send(OUTSIDE, clientTcp6()), [])
  pass(after, 1000)
  t.equal(after.send(OUTSIDE, clientTcp6()).length, 1)
})

test('what waited while a director stood still does not count over what its successor has done since', async (t) => {
  const before = scene({ weights: [1, 1] })
  const after = scene({ weights: [1, 1], state: 'standby' })
  for (const frame of [syn(), ack()]) before.send(OUTSIDE, frame)
  tell(after, told(before))
  pass(before, 1000)
  // It stands still; the client sends again, to the other one.
  before.link(OUTSIDE).inject(rst())
  pass(after, 2000)
  take(after)
  after.send(OUTSIDE, rst())
  after.nowMs += 300
  const other = '203.0.113.8:1'
  for (const frame of [clientTcp({ flags: TCP_SYN, from: other }), syn(), ack()]) after.send(OUTSIDE, frame)
  const next = serverOf(after)
  t.not(next, serverOf(before))
  before.nowMs += 2000
  t.equal(before.breathe().length, 1, 'what waited goes on')
  const [old] = told(before)
  t.equal(after.engine.replication.apply(old, 0), false)
  tell(before, told(after))
  t.same([before, after].map(serverOf), [next, next])
})

test('a standstill of more than half a second comes between what was asked for before it and its end', async (t) => {
  const bench = scene()
  const asked = bench.nowMs
  pass(bench, 400)
  t.notOk(bench.loop.hasSleptThrough(asked), 'no standstill that is long')
  pass(bench, 501)
  t.ok(bench.loop.hasSleptThrough(asked))
  t.notOk(bench.loop.hasSleptThrough(bench.nowMs - 500), 'asked for in the last half second of it')
  pass(bench, 10)
  t.notOk(bench.loop.hasSleptThrough(bench.nowMs))
})

test('who rests forwards what has come, tells of it, and takes nothing any more', async (t) => {
  const bench = scene()
  bench.send(OUTSIDE, syn())
  bench.link(OUTSIDE).inject(ack())
  bench.loop.rest()
  t.equal(bench.breathe().length, 1)
  t.equal(told(bench).length, 1, 'it is established')
  t.same(bench.send(OUTSIDE, rst()), [])
  t.same(told(bench), [])
  t.match([...bench.reader.connections()], [{ state: 'ESTABLISHED' }])
})
