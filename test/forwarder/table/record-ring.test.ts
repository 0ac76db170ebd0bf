/** The ring of records: order, room, loss, wraparound, and two threads. */
import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import { test } from 'tap'
import { RecordRing } from '../../../forwarder/table/record-ring.ts'
import { RECORD_LENGTH } from '../../../protocol/wire/connection-record.ts'

function write(ring: RecordRing, value: number): boolean {
  const at = ring.reserve()
  if (at < 0) return false
  ring.bytes.fill(value, at, at + RECORD_LENGTH)
  ring.commit()
  return true
}

function read(ring: RecordRing): number | undefined {
  const at = ring.peek()
  if (at < 0) return undefined
  const value = ring.bytes[at]
  ring.advance()
  return value
}

test('records come out in the order in which they were written', async (t) => {
  const ring = new RecordRing(RecordRing.allocate(8))
  t.equal(read(ring), undefined)
  for (const value of [1, 2, 3]) t.ok(write(ring, value))
  t.equal(ring.length, 3)
  t.same([read(ring), read(ring), read(ring), read(ring)], [1, 2, 3, undefined])
})

test('a full ring loses what is written, and counts it; what was in it stays', async (t) => {
  const ring = new RecordRing(RecordRing.allocate(4))
  t.same(
    [1, 2, 3, 4, 5, 6].map((value) => write(ring, value)),
    [true, true, true, true, false, false],
  )
  t.same([ring.lost, ring.length, ring.capacity], [2, 4, 4])
  t.equal(read(ring), 1)
  t.ok(write(ring, 7))
  t.same([read(ring), read(ring), read(ring), read(ring)], [2, 3, 4, 7])
  t.equal(ring.lost, 2)
})

test('a ring of one slot works', async (t) => {
  const ring = new RecordRing(RecordRing.allocate(1))
  for (const value of [1, 2, 3]) {
    t.ok(write(ring, value))
    t.notOk(write(ring, 99))
    t.equal(read(ring), value)
  }
})

test('a size that is no power of two is refused', async (t) => {
  for (const slots of [0, 3, -1]) t.throws(() => RecordRing.allocate(slots), RangeError)
})

test('positions wrap round at 2^32 and at 2^31 without a gap', async (t) => {
  for (const position of [2 ** 31 - 3, -3]) {
    const shared = RecordRing.allocate(4)
    // The head is the first word, the tail the seventeenth: both as if so many records had passed.
    const header = new Int32Array(shared, 0, 32)
    header[0] = position
    header[16] = position
    const ring = new RecordRing(shared)
    for (let value = 1; value <= 20; value++) {
      t.ok(write(ring, value))
      t.equal(ring.length, 1)
      t.equal(read(ring), value)
    }
    t.same(
      [1, 2, 3, 4, 5].map((value) => write(ring, value)),
      [true, true, true, true, false],
    )
  }
})

test('what was awaited and confirmed long ago does not count when positions have come round to it', async (t) => {
  for (const position of [2 ** 31 + 5, 2 ** 31 - 5, 2 ** 32 - 2]) {
    const shared = RecordRing.allocate(8)
    const header = new Int32Array(shared, 0, 32)
    header[0] = position
    header[16] = position
    const ring = new RecordRing(shared)
    t.notOk(ring.isAwaitedAfter(ring.position), 'nothing is awaited')
    write(ring, 1)
    const sentTo = ring.position
    const wanted = ring.awaitConfirmation()
    t.notOk(ring.isConfirmed(wanted), 'nobody has it')
    t.ok(ring.isAwaitedAfter(sentTo))
    read(ring)
    ring.confirm(ring.position)
    t.ok(ring.isConfirmed(wanted))
    t.notOk(ring.isAwaitedAfter(ring.position))
  }
})

test('a reader that waits for nothing goes on after its time, without an error', async (t) => {
  const ring = new RecordRing(RecordRing.allocate(4))
  const alive = setInterval(() => {}, 1000) // the wait alone does not keep a process
  await ring.whenWritten(1)
  clearInterval(alive)
  t.equal(ring.length, 0)
})

test('a reader does not wait when there is something to read', async (t) => {
  const ring = new RecordRing(RecordRing.allocate(4))
  write(ring, 1)
  await ring.whenWritten(2 ** 31 - 1)
  t.equal(read(ring), 1)
})

test('half a million records pass from one thread to another, whole, in order, or counted as lost', async (t) => {
  const shared = RecordRing.allocate(1024)
  const ring = new RecordRing(shared)
  const count = 500_000
  const writer = new Worker(new URL('./ring-writer.ts', import.meta.url), { workerData: { shared, count } })
  const exited = once(writer, 'exit')
  const alive = setInterval(() => {}, 1000)
  t.teardown(() => clearInterval(alive))
  const view = new DataView(ring.bytes.buffer, ring.bytes.byteOffset)
  let received = 0
  let last = -1
  let isDone = false
  exited.then(() => {
    isDone = true
  })
  while (!isDone || ring.length > 0) {
    for (let at = ring.peek(); at >= 0; at = ring.peek()) {
      const first = view.getUint32(at)
      const end = view.getUint32(at + RECORD_LENGTH - 4)
      if (first !== end || first <= last) return t.fail(`record ${first} … ${end} after ${last}`)
      last = first
      received++
      ring.advance()
    }
    await ring.whenWritten(10)
    await new Promise(setImmediate)
  }
  t.equal(received + ring.lost, count)
  t.ok(received > 0)
})
