/** What a director that cannot be asked any more had said, and questions that cannot be put. */
import { test } from 'tap'
import { AbsentSenders } from '../../../../node/director/cluster/replication/absent-senders.ts'
import { SenderView } from '../../../../node/director/cluster/replication/sender-view.ts'
import { Pool, sameTables, writeSteadily } from './replication-pool.ts'

/** d1 said ten things that d3 did not hear, not even that there was something, and died. */
async function afterLastWords() {
  const pool = new Pool(['d1', 'd2', 'd3'])
  const [d1, d2, d3] = await pool.startAll()
  await writeSteadily(pool, d1, 0, 10)
  await pool.clock.advance(500)
  pool.network.isolate('d3')
  await writeSteadily(pool, d1, 10, 20)
  await pool.clock.advance(50)
  await d1.kill()
  return { pool, d2, d3 }
}

test('the last words of a director that died are fetched from a peer that heard them', async (t) => {
  const { pool, d2, d3 } = await afterLastWords()
  pool.network.heal('d2', 'd3')
  await pool.clock.until(() => sameTables(d2, d3), 5000, 10)
  t.equal(d3.connections.size, 20)
  await pool.clock.advance(10_000)
  t.equal(d3.replicator.status().counters.snapshotsTaken, 2, 'one when it joined, and this')
  pool.stop()
})

test('so are those of a director that has restarted since', async (t) => {
  const { pool, d2, d3 } = await afterLastWords()
  await pool.start('d1')
  pool.network.cut('d1', 'd3')
  pool.network.heal('d2', 'd3')
  await pool.clock.until(() => sameTables(d2, d3), 5000, 10)
  t.equal(d3.connections.size, 20)
  pool.stop()
})

test('the table that is fetched for another does not hide which connections of the giver ended', async (t) => {
  const pool = new Pool(['d1', 'd2', 'd3'])
  const [d1, d2, d3] = await pool.startAll()
  await writeSteadily(pool, d2, 0, 10)
  await pool.clock.advance(500)
  pool.network.cut('d1', 'd3')
  await writeSteadily(pool, d1, 10, 20)
  await pool.clock.advance(50)
  await d1.kill()
  // d3 learns that d2 has more of d1, and is cut off before it has had it.
  await pool.clock.advance(500)
  pool.network.cut('d2', 'd3')
  for (let n = 0; n < 5; n++) d2.end(n)
  d2.flush()
  await pool.clock.advance(1000)
  pool.network.heal('d2', 'd3')
  await pool.clock.until(() => d3.connections.size === 15, 5000, 10)
  t.ok(sameTables(d2, d3))
  pool.stop()
})

test('last words of which nobody heard all are fetched once', async (t) => {
  const pool = new Pool(['d1', 'd2', 'd3'])
  const [d1, d2, d3] = await pool.startAll()
  await writeSteadily(pool, d1, 0, 10)
  await pool.clock.advance(500)
  pool.network.cut('d1', 'd3')
  pool.network.loss = 1
  d1.write(10)
  d1.flush()
  await pool.clock.advance(3)
  pool.network.loss = 0
  d1.write(11)
  d1.flush()
  await pool.clock.until(() => d2.connections.size === 11, 10)
  await d1.kill()
  await pool.clock.until(() => sameTables(d2, d3), 5000, 10)
  t.equal(d3.connections.size, 11)
  await pool.untilAll(({ name, inSync }) => name === 'd1' || inSync)
  for (let second = 0; second < 20; second++) {
    await pool.clock.advance(1000)
    if (!d3.inSync) t.fail(`out of sync in second ${second}: ${d3.replicator.status().reason}`)
  }
  t.equal(d3.replicator.status().counters.snapshotsTaken, 2, 'one when it joined, and this')
  pool.stop()
})

test('who has copied the tables of two that had heard different last words asks neither again', async (t) => {
  const absent = new AbsentSenders()
  const far = { epoch: 'e', sequence: 10, records: 100 }
  const more = { epoch: 'e', sequence: 9, records: 120 }
  const views = [far, more].map((theirs, index) => {
    const view = new SenderView(`d${index + 2}`)
    view.connected = true
    const head = {
      epoch: view.name,
      sequence: 0,
      records: 0,
      joined: true,
      inSync: true,
      full: false,
      lost: 0,
      sentAtMs: 0,
    }
    view.presence = { ...head, applied: [{ ...theirs, heardMs: 0 }] }
    return view
  })
  const asked: string[] = []
  for (let now = 0; now < 60_000; now += 100) {
    for (const { peer } of absent.rescuers(views, 'own', now)) {
      asked.push(peer)
      absent.note(peer === 'd2' ? far : more)
    }
  }
  t.same(asked, ['d2', 'd3'])
  t.same(absent.positions(), [{ epoch: 'e', sequence: 10, records: 120 }])
})

test('a newcomer whose questions cannot be sent asks again after a pause, and the thread goes on meanwhile', async (t) => {
  const pool = new Pool(['d1', 'd2'])
  const d1 = await pool.start('d1')
  await pool.clock.until(() => d1.joined, 3000, 10)
  const d2 = await pool.start('d2')
  const send = d2.transport.send.bind(d2.transport)
  let refused = 0
  let refuses = true
  d2.transport.send = async (peer, topic, message) => {
    if (topic !== 'sync' || !refuses) return send(peer, topic, message)
    refused++
    throw new Error('d1 does not keep up')
  }
  await pool.clock.advance(2500)
  t.ok(refused >= 2 && refused <= 4, `${refused} questions`)
  refuses = false
  await pool.untilInSync()
  pool.stop()
})
