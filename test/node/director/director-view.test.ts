/** What the control socket is told of a director's parts. */
import { type Test, test } from 'tap'
import { DirectorView, type DirectorViewSources } from '../../../node/director/director-view.ts'

/** Of the parts' facts, those that a test is about. */
function viewOf(t: Test, sources: object): DirectorView {
  const view = new DirectorView({ pool: { services: () => [] }, ...sources } as unknown as DirectorViewSources)
  t.teardown(() => view.stop())
  return view
}

test('a director is well while its threads live and no group of virtual addresses is in fault', async (t) => {
  const sources = {
    forwarder: { isRunning: true },
    cluster: { isRunning: true },
    vip: { status: [{ state: 'active' }, { state: 'init' }] },
  }
  const view = viewOf(t, sources)
  t.same(view.health(), { forwarder: true, cluster: true, vip: true })
  sources.vip.status[1].state = 'fault'
  t.same(view.health(), { forwarder: true, cluster: true, vip: false })
  sources.vip.status = []
  sources.cluster.isRunning = false
  t.same(view.health(), { forwarder: true, cluster: false, vip: true })
})

test('the status has what went wrong between directors, as the transport and the opinions on health counted it', async (t) => {
  const counters = {
    oversizedMessages: 1,
    malformedMessages: 2,
    refusedStrangers: 3,
    failedHandlers: 4,
    silentPeers: 5,
    abortedConnections: 6,
    droppedMessages: 7,
  }
  const view = viewOf(t, {
    config: {},
    cluster: { status: () => ({ inSync: true, peers: [{ name: 'd2' }] }), counters },
    forwarder: { linkStatistics: () => [] },
    vip: {},
    transports: [],
    interference: { found: [] },
    health: { unreadableMessages: 8 },
    readiness: { state: { inSync: false, reason: 'does not know yet' } },
    agreement: { differsMs: () => undefined },
  })
  t.match(view.status(), {
    inSync: false,
    syncReason: 'does not know yet',
    peers: [{ name: 'd2', configurationDiffersMs: null }],
    refusedStrangers: 3,
    droppedMessages: 7,
    peerTroubles: {
      oversizedMessages: 1,
      malformedMessages: 2,
      failedHandlers: 4,
      silentPeers: 5,
      abortedConnections: 6,
      unreadableOpinions: 8,
    },
  })
})
