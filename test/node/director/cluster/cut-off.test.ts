/** A director that was cut off is in sync when its peers have answered it: not by what had waited on the way since before. */
import { test } from 'tap'
import { SenderView } from '../../../../node/director/cluster/replication/sender-view.ts'
import type { Presence } from '../../../../protocol/wire/presence.ts'
import { Pool } from './replication-pool.ts'

const SELF = 'aaaaaaaaaaaaaaaa'
const PEER = 'bbbbbbbbbbbbbbbb'

test('a presence that answers none of ours from after the cut is not taken for an answer', async (t) => {
  const view = connectedView(5000)
  view.announce(presence(7, [{ epoch: SELF, heardMs: 4999 }]), 5100, SELF)
  t.notOk(view.isAnswered, 'it had waited on the way')
  view.announce(presence(9, [{ epoch: SELF, heardMs: 5000 }]), 5200, SELF)
  t.ok(view.isAnswered)
  t.notOk(view.isCaughtUp, 'what it had said by then has not come')
  view.cover({ epoch: PEER, sequence: 7, records: 7 })
  t.notOk(view.isCaughtUp, 'what the presence that had waited spoke of is not enough')
  view.cover({ epoch: PEER, sequence: 9, records: 9 })
  t.ok(view.isCaughtUp)
  view.announce(presence(12, [{ epoch: SELF, heardMs: 5000 }]), 5400, SELF)
  t.ok(view.isCaughtUp, 'whoever has answered once need not be caught up with again')
})

test('an answer that took long has waited on its way, and so does what was told behind it', async (t) => {
  const view = connectedView(5000)
  view.announce(presence(3, [{ epoch: SELF, heardMs: 5010 }]), 5411, SELF)
  t.notOk(view.isAnswered)
  view.announce(presence(5, [{ epoch: SELF, heardMs: 5210 }]), 5610, SELF)
  t.ok(view.isAnswered)
  t.notOk(view.isCaughtUp, 'it is this one that counts')
  view.cover({ epoch: PEER, sequence: 5, records: 5 })
  view.announce(presence(5, [{ epoch: SELF, heardMs: 5210 }]), 6610, SELF)
  t.ok(view.isCaughtUp, 'later ones may take as long as they like')
})

test('a peer that is always slow is waited for no longer than what was held back can be', async (t) => {
  const view = connectedView(5000)
  for (const heardMs of [5100, 6000, 6999]) {
    view.announce(presence(0, [{ epoch: SELF, heardMs }]), heardMs + 600, SELF)
    t.notOk(view.isAnswered)
  }
  view.announce(presence(0, [{ epoch: SELF, heardMs: 7000 }]), 7600, SELF)
  t.ok(view.isAnswered)
})

test('an answer counts from one cut to the next', async (t) => {
  const view = connectedView(5000)
  view.announce(presence(0, [{ epoch: SELF, heardMs: 5200 }]), 5300, SELF)
  t.ok(view.isAnswered)
  view.heardFrom = 6000
  t.notOk(view.isAnswered)
  view.announce(presence(0, [{ epoch: SELF, heardMs: 5800 }]), 6100, SELF)
  t.notOk(view.isAnswered)
  view.announce(presence(0, [{ epoch: SELF, heardMs: 6050 }]), 6200, SELF)
  t.ok(view.isAnswered)
})

test('a peer that does not say what it has heard answers by speaking', async (t) => {
  for (const applied of [[], [{ epoch: SELF, heardMs: 0 }], [{ epoch: 'cccccccccccccccc', heardMs: 4000 }]]) {
    const view = connectedView(5000)
    t.notOk(view.isAnswered)
    view.announce(presence(0, applied), 5100, SELF)
    t.ok(view.isAnswered)
  }
})

test('the clock that is echoed has 32 bits, and may pass its end', async (t) => {
  const end = 2 ** 32
  const view = connectedView(end - 10)
  view.announce(presence(0, [{ epoch: SELF, heardMs: end - 11 }]), end, SELF)
  t.notOk(view.isAnswered)
  view.announce(presence(0, [{ epoch: SELF, heardMs: 5 }]), end + 100, SELF)
  t.ok(view.isAnswered)
})

test('a link that was down for too short to miss anybody puts its director out of sync until it is answered', async (t) => {
  const pool = new Pool(['d1', 'd2', 'd3'])
  const [d1, d2, d3] = await pool.startAll()
  await pool.clock.advance(1000)
  d3.replicator.doubt()
  t.match(d3.status, { inSync: false, reason: /waits to hear from d1/ })
  t.ok(d1.inSync && d2.inSync, 'the others go on')
  await pool.untilInSync()
  t.match(d3.status, { inSync: true })
  pool.stop()
})

test('who is heard by nobody is not in sync, though it hears them', async (t) => {
  const pool = new Pool(['d1', 'd2'])
  const [d1, d2] = await pool.startAll()
  await pool.clock.advance(1000)
  pool.network.cutOneWay('d2', 'd1')
  d2.replicator.doubt()
  await pool.clock.advance(400)
  t.match(d2.replicator.status().reason, /waits to be heard by d1/)
  pool.network.heal('d1', 'd2')
  await pool.untilInSync()
  t.ok(d1.inSync)
  pool.stop()
})

function connectedView(heardFrom: number): SenderView {
  const view = new SenderView('d2')
  view.meet(PEER)
  view.connected = true
  view.heardFrom = heardFrom
  return view
}

function presence(sequence: number, applied: { epoch: string; heardMs: number }[]): Presence {
  return {
    epoch: PEER,
    sequence,
    records: sequence,
    joined: true,
    inSync: true,
    full: false,
    lost: 0,
    sentAtMs: 77,
    applied: applied.map((entry) => ({ sequence: 0, records: 0, ...entry })),
  }
}
