/** When a peer's confirmation reaches the forwarder that waits for it (`sync: confirmed`). */
import { test } from 'tap'
import { RecordRing } from '../../../../forwarder/table/record-ring.ts'
import { AwaitedBatches } from '../../../../node/director/cluster/replication/awaited-batches.ts'
import { Pool, sameTables } from './replication-pool.ts'

test('a confirmation comes as soon as a peer has the records, and only for what it has', async (t) => {
  const pool = new Pool(['d1', 'd2', 'd3'])
  const [d1] = await pool.startAll()
  t.ok(d1.outgoing.hasWitness)
  d1.write(1)
  const first = d1.outgoing.awaitConfirmation()
  d1.flush()
  d1.write(2)
  const second = d1.outgoing.awaitConfirmation()
  t.notOk(d1.outgoing.isConfirmed(first))
  await pool.clock.until(() => d1.outgoing.isConfirmed(first), 2, 0.1)
  t.notOk(d1.outgoing.isConfirmed(second), 'what was not read has not been sent')
  d1.flush()
  await pool.clock.until(() => d1.outgoing.isConfirmed(second), 2, 0.1)
  pool.stop()
})

test('a record that is sent in the instant in which it is written is awaited, and so is what was before it', async (t) => {
  const ring = new RecordRing(RecordRing.allocate(8))
  ring.setWitnesses(1)
  const awaited = new AwaitedBatches(ring)
  const write = () => {
    ring.reserve()
    ring.commit()
  }
  /** Sends what there is, as RecordSender does. */
  const send = (sequence: number) => {
    while (ring.peek() >= 0) ring.advance()
    const isAwaited = awaited.isMoreAwaited
    awaited.sent(sequence, 0, isAwaited)
    return isAwaited
  }
  write()
  t.notOk(send(1))
  ring.wantsConfirmation = true
  t.notOk(awaited.isUrgent(0), 'nothing is written yet')
  write()
  t.ok(send(2))
  const position = ring.awaitConfirmation()
  t.notOk(ring.isConfirmed(position))
  t.ok(awaited.confirm(2))
  t.ok(ring.isConfirmed(position))
  ring.wantsConfirmation = true
  ring.wantsConfirmation = false
  write()
  t.notOk(send(3), 'a wish of which nothing came')
  ring.wantsConfirmation = true
  write()
  // The writer is in the midst of the next record: it has said up to where it wants, but not yet that it has written.
  const WANTED = 33
  Atomics.add(new Int32Array(ring.shared), WANTED, 1)
  t.ok(send(4))
})

test('a batch keeps others back only if it tells the peers that it is awaited', async (t) => {
  const ring = new RecordRing(RecordRing.allocate(8))
  const awaited = new AwaitedBatches(ring)
  ring.reserve()
  ring.commit()
  ring.advance()
  const { isMoreAwaited } = awaited
  ring.awaitConfirmation()
  awaited.sent(1, 0, isMoreAwaited)
  t.notOk(awaited.confirm(1))
})

test('what gossip lost is confirmed once it was sent again', async (t) => {
  const pool = new Pool(['d1', 'd2'])
  const [d1, d2] = await pool.startAll()
  pool.network.loss = 1
  d1.write(1)
  d1.flush()
  await pool.clock.advance(5)
  pool.network.loss = 0
  d1.write(2)
  const position = d1.outgoing.awaitConfirmation()
  d1.flush()
  await pool.clock.until(() => d2.connections.size === 1, 5, 0.1)
  t.notOk(d1.outgoing.isConfirmed(position), 'the one before has not come')
  await pool.clock.until(() => d1.outgoing.isConfirmed(position), 100, 1)
  t.ok(sameTables(d1, d2))
  pool.stop()
})

test('without a peer that has joined there is nobody to confirm', async (t) => {
  const pool = new Pool(['d1', 'd2'])
  const [d1, d2] = await pool.startAll()
  t.ok(d1.outgoing.hasWitness)
  await d2.kill()
  await pool.clock.advance(3000)
  t.notOk(d1.outgoing.hasWitness)
  pool.stop()
})

test('a peer whose table is full confirms nothing, is not in sync and says why, until it has had room for everything', async (t) => {
  const pool = new Pool(['d1', 'd2'])
  const [d1, d2] = await pool.startAll()
  const position = (n: number) => {
    d1.write(n)
    const awaited = d1.outgoing.awaitConfirmation()
    d1.flush()
    return awaited
  }
  d2.room = 1
  position(1)
  // The confirmation of the very first that is refused may be on its way.
  position(2)
  await pool.clock.advance(100)
  const refused = position(3)
  await pool.clock.advance(300)
  t.notOk(d1.outgoing.isConfirmed(refused))
  t.match(d2.status, { inSync: false, reason: 'its table has no room for all that the peers sent' })
  t.notOk(d1.outgoing.hasWitness, 'nobody waits for it')
  await pool.clock.advance(60_000)
  t.notOk(d2.inSync, 'not for as long as it lacks something, though nothing new comes')
  d2.room = 10
  await pool.clock.until(() => d2.inSync, 20_000, 100)
  t.ok(sameTables(d1, d2))
  const last = position(4)
  await pool.clock.until(() => d1.outgoing.isConfirmed(last), 5, 0.1)
  pool.stop()
})
