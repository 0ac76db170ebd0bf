/** Copies of tables that are interrupted, or begun while their giver is behind: on a virtual network. */
import { test } from 'tap'
import { SnapshotClient } from '../../../../node/director/cluster/replication/snapshot-client.ts'
import { VirtualClock } from '../../../../node/director/virtual-clock.ts'
import { readUint16 } from '../../../../protocol/packet/bytes.ts'
import { RECORD, RECORD_LENGTH } from '../../../../protocol/wire/connection-record.ts'
import { blockOf } from '../../../../protocol/wire/record-block.ts'
import { parseSyncMessage } from '../../../../protocol/wire/sync-message.ts'
import { makeRecord } from './record.ts'
import { Pool, sameTables, writeSteadily } from './replication-pool.ts'

test('a newcomer whose snapshot breaks off takes it from another', async (t) => {
  const pool = new Pool(['d1', 'd2', 'd3'], { network: { bytesPerMs: 1000 } })
  await pool.start('d1')
  await pool.start('d2')
  await pool.clock.until(() => pool.directors.every((director) => director.inSync), 5000)
  const [d1, d2] = pool.directors
  await writeSteadily(pool, d1, 0, 50_000, 1000)
  await pool.untilInSync()
  const d3 = await pool.start('d3')
  await pool.clock.until(() => /from d1: [1-9]/.test(d3.replicator.status().reason), 1000)
  pool.network.cut('d1', 'd3')
  await pool.clock.until(() => d3.inSync, 3000, 10)
  t.ok(sameTables(d2, d3))
  pool.stop()
})

test('a newcomer that its giver takes for gone for a moment is given the rest', async (t) => {
  const pool = new Pool(['d1', 'd2'], { network: { bytesPerMs: 5000 } })
  const d1 = await pool.start('d1')
  await pool.untilAll(({ joined }) => joined)
  await writeSteadily(pool, d1, 0, 50_000, 1000)
  const d2 = await pool.start('d2')
  await pool.clock.until(() => /from d1: [2-9]\d{3}/.test(d2.replicator.status().reason), 1000)
  // At d1 alone: the newcomer was too busy to give a sign of life, and does not know that it was missed.
  const transport = pool.network.member('d1')
  transport?.disconnect('d2')
  await pool.clock.advance(100)
  t.match(d2.replicator.status().reason, /waits for snapshot from d1/)
  // In pieces that have come already, and are not taken from the second answer.
  for (let n = 0; n < 100; n++) d1.write(n, 2)
  d1.flush()
  await pool.clock.advance(100)
  transport?.connect('d2')
  await pool.clock.until(() => d2.inSync, 1000, 10)
  t.ok(sameTables(d1, d2))
  t.equal(d2.replicator.status().counters.snapshotsTaken, 1)
  pool.stop()
})

test('a snapshot has what its giver had been sent, though its forwarder had not yet taken it', async (t) => {
  const pool = new Pool(['d1', 'd2', 'd3'])
  await pool.start('d1')
  await pool.start('d2')
  await pool.untilInSync()
  const [d1, d2] = pool.directors
  d1.takes = false
  await writeSteadily(pool, d2, 0, 1000)
  await pool.clock.advance(50)
  const d3 = await pool.start('d3')
  await pool.clock.until(() => /from d1/.test(d3.replicator.status().reason), 1000)
  await pool.clock.advance(200)
  t.match(d3.replicator.status().reason, /from d1: 0 records/, 'it waits')
  d1.takes = true
  d1.take()
  await pool.untilInSync()
  t.equal(d3.connections.size, 1000)
  t.equal(d3.replicator.status().counters.snapshotsTaken, 1)
  pool.stop()
})

test('a giver that stops while its forwarder is behind keeps no newcomer waiting', async (t) => {
  const pool = new Pool(['d1', 'd2', 'd3'])
  const [d1, d2] = [await pool.start('d1'), await pool.start('d2')]
  await pool.untilInSync()
  d1.takes = false
  await writeSteadily(pool, d2, 0, 1000)
  await pool.clock.advance(50)
  const d3 = await pool.start('d3')
  await pool.clock.until(() => /from d1/.test(d3.replicator.status().reason), 1000)
  d1.replicator.stop()
  await pool.clock.until(() => d3.replicator.status().joined, 200)
  t.equal(d3.connections.size, 1000)
  pool.stop()
})

test('no piece is left out, though a question is answered three times, and the forwarder does not take all of that', async (t) => {
  const asked: { id: number; from: number }[] = []
  const taken: number[] = []
  const record = new Uint8Array(RECORD_LENGTH)
  let isBusy = false
  let ids = 0
  let isFinished = false
  const client = new SnapshotClient({
    clock: new VirtualClock(),
    nextId: () => ++ids,
    send: (_, bytes) => {
      const message = parseSyncMessage(bytes)
      if (message?.kind === 'snapshot-request') asked.push(message)
    },
    apply: (block) => {
      block.read(0, record, 0)
      taken.push(readUint16(record, RECORD.clientPort) - 1024)
    },
    isBusy: () => isBusy,
    finished: () => {
      isFinished = true
    },
    failed: () => t.fail('failed'),
  })
  const answer = (id: number, from: number, to: number) => {
    if (from === 1) client.handle('d1', { kind: 'snapshot-header', id, slots: 10, positions: [] })
    for (let next = from; next <= to; next++)
      client.handle('d1', { kind: 'snapshot-piece', id, next, last: next === 10, block: blockOf(makeRecord(next, 1)) })
  }
  client.begin('d1')
  answer(1, 1, 3)
  answer(1, 1, 5)
  isBusy = true
  answer(1, 1, 7)
  isBusy = false
  client.resume()
  answer(1, 8, 8)
  t.same(
    asked.map(({ id, from }) => [id, from]),
    [
      [1, 0],
      [2, 6],
    ],
  )
  answer(2, 7, 10)
  t.same([...new Set(taken)], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
  t.ok(isFinished)
})
