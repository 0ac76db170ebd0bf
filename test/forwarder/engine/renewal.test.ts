/** Connections that go on as they are: the peers' copies are renewed, and one that is over gets no newer by that. */
import { test } from 'tap'
import { TCP_RST, TCP_SYN } from '../../../protocol/packet/tcp.ts'
import { RECORD } from '../../../protocol/wire/connection-record.ts'
import { type DirectorBench, tell, told } from '../../support/director-bench.ts'
import { clientTcp, OUTSIDE, scene } from '../../support/scene.ts'

const client = (port: number) => ({ from: `203.0.113.7:${port}` })
const ack = (port: number) => clientTcp(client(port))
const rst = (port: number) => clientTcp({ ...client(port), flags: TCP_RST })
const state = (bench: DirectorBench) => [...bench.reader.connections()].map((connection) => connection.state)

function established(bench: DirectorBench, port: number): void {
  bench.send(OUTSIDE, clientTcp({ ...client(port), flags: TCP_SYN }))
  bench.send(OUTSIDE, ack(port))
}

test('while traffic flows the peers’ copies are renewed before they expire', async (t) => {
  const first = scene()
  const peer = scene({ state: 'standby' })
  established(first, 1)
  let renewals = -1
  for (let second = 0; second < 3600; second += 10) {
    first.nowMs += 10_000
    peer.nowMs += 10_000
    first.send(OUTSIDE, ack(1))
    peer.breathe()
    for (const record of told(first)) {
      tell(peer, record)
      renewals++
    }
  }
  t.same(state(peer), ['ESTABLISHED'])
  t.ok(renewals >= 3600 / 900 && renewals <= (3600 / 900) * 8, `${renewals} renewals in an hour`)
})

test('under the longest of timeouts it is every half an hour: a version must not be left behind for half of its turn', async (t) => {
  const bench = scene()
  bench.set({ timeoutTcpS: 86_400 })
  established(bench, 1)
  told(bench)
  const minutes: number[] = []
  for (let minute = 1; minute <= 120; minute++) {
    bench.nowMs += 60_000
    bench.send(OUTSIDE, ack(1))
    if (told(bench).length > 0) minutes.push(minute)
  }
  t.same(minutes, [31, 62, 93])
})

test('a packet that comes before the record of its connection does not make the ended one before it count', async (t) => {
  const first = scene({ weights: [1, 1] })
  const successor = scene({ weights: [1, 1] })
  const serverOf = (bench: DirectorBench) =>
    [...bench.reader.connections()].find(({ clientPort }) => clientPort === 1)?.serverAddress
  for (const port of [1, 2, 3]) established(first, port)
  for (const port of [1, 2]) first.send(OUTSIDE, rst(port))
  for (const record of told(first)) tell(successor, record)
  t.equal(serverOf(successor), '10.1.0.2')
  for (const bench of [first, successor]) bench.nowMs += 5000
  established(first, 1)
  const records = told(first)
  for (const bench of [first, successor]) bench.nowMs += 500
  successor.send(OUTSIDE, ack(1))
  const renewals = told(successor)
  t.same(
    renewals.map((record) => [record[RECORD.state], tell(first, record)]),
    [[6, false]],
  )
  for (const record of records) tell(successor, record)
  t.same([first, successor].map(serverOf), ['10.1.0.1', '10.1.0.1'])
})

test('one that is over is renewed all the same, under its old version', async (t) => {
  const first = scene()
  const peer = scene({ state: 'standby' })
  established(first, 1)
  first.send(OUTSIDE, rst(1))
  for (const record of told(first)) tell(peer, record)
  const forward = (seconds: number) => {
    for (const bench of [first, peer]) {
      bench.nowMs += seconds * 1000
      bench.breathe()
    }
  }
  forward(8)
  first.send(OUTSIDE, ack(1))
  const renewals = told(first)
  t.same(
    renewals.map((record) => [tell(peer, record), tell(peer, record)]),
    [[true, false]],
  )
  forward(8)
  t.same(state(peer), ['CLOSE'])
  forward(8)
  t.same(state(peer), [])
})

test('a client that begins anew where a director has not heard of the end goes on there: the end does not come between', async (t) => {
  for (const beginsAnew of [true, false]) {
    const [stale, other] = [scene({ weights: [1, 1] }), scene({ weights: [1, 1] })]
    established(stale, 1)
    for (const record of told(stale)) tell(other, record)
    for (const bench of [stale, other]) bench.nowMs += 1000
    other.send(OUTSIDE, rst(1))
    const [end] = told(other)
    for (const bench of [stale, other]) bench.nowMs += 1000
    if (beginsAnew) for (let syn = 0; syn < 2; syn++) stale.send(OUTSIDE, clientTcp({ ...client(1), flags: TCP_SYN }))
    const renewals = told(stale)
    t.equal(renewals.length, beginsAnew ? 1 : 0)
    t.equal(tell(stale, end), !beginsAnew)
    t.same(
      renewals.map((record) => tell(other, record)),
      beginsAnew ? [true] : [],
    )
    for (const bench of [stale, other]) t.same(state(bench), [beginsAnew ? 'ESTABLISHED' : 'CLOSE'])
  }
})
