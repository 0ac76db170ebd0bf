/** The tables of `director status`. */
import { test } from 'tap'
import { renderStatus } from '../../../node/cli/director/status-table.ts'
import type { DirectorStatus, ServerListing } from '../../../node/director/control/answers.ts'
import { noTraffic } from './served-pool.ts'

const status: DirectorStatus = {
  name: 'd2',
  version: '0.1.0',
  peerId: '12D3KooWExample',
  uptimeMs: (3 * 3600 + 25 * 60) * 1000,
  inSync: false,
  syncReason: 'waits for snapshot from d1',
  vips: [
    {
      vrid: 51,
      state: 'backup',
      priority: 184,
      effectivePriority: 1,
      syncGroup: null,
      tracked: [{ name: 'eth2', weight: -50, state: 'down', reason: 'eth2 has no carrier' }],
      addresses: ['10.1.0.100', '10.1.0.101'],
      gateway: '10.2.0.1',
      virtualMac: '00:00:5e:00:01:33',
      advertisementIntervalMs: 50,
      holder: '10.1.0.11',
      activeSinceMonotonicMs: null,
      waiting: 'its table is not in sync',
    },
  ],
  peers: [
    {
      name: 'd1',
      connected: true,
      recordsBehind: 12,
      behindMs: 7.6,
      peerRecordsBehind: 0,
      peerBehindMs: 0,
      rangesDifferent: 0,
      configurationDiffersMs: 0,
      formatVersion: 1,
      unreadableMessages: 0,
    },
    {
      name: 'd3',
      connected: false,
      recordsBehind: 0,
      behindMs: 0,
      peerRecordsBehind: 40,
      peerBehindMs: 900,
      rangesDifferent: 3,
      configurationDiffersMs: 61_000,
      formatVersion: 16,
      unreadableMessages: 7,
    },
  ],
  services: [
    {
      protocol: 'tcp',
      address: '10.1.0.100',
      port: 80,
      scheduler: 'wlc',
      schedulerFlags: [],
      onePacket: false,
      statistics: noTraffic,
      servers: [
        {
          address: '10.2.0.11',
          port: 8080,
          method: 'nat',
          weight: 100,
          effectiveWeight: 62,
          activeConnections: 5,
          inactiveConnections: 17,
          upperThreshold: 0,
          lowerThreshold: 0,
          isLocal: false,
          persistentConnections: 3,
          health: 'up',
          load: 0.514,
          loadFactor: 0.62,
          agentCheck: null,
          statistics: noTraffic,
        },
        {
          address: '10.2.0.12',
          port: 8080,
          method: 'nat',
          weight: 1,
          effectiveWeight: 0,
          activeConnections: 0,
          inactiveConnections: 0,
          upperThreshold: 0,
          lowerThreshold: 0,
          isLocal: false,
          persistentConnections: 0,
          health: 'down',
          load: null,
          loadFactor: 1,
          agentCheck: null,
          statistics: noTraffic,
        },
      ],
    },
  ],
  connections: { used: 22, capacity: 1048576 },
  frames: { kept: 0, capacity: 500 },
  checkpoint: { records: 20, ageMs: 61_000 },
  links: [{ name: 'outside', receivedFrames: 10, transmittedFrames: 9, transmitErrors: 0, overruns: 0 }],
  defences: {
    isMemoryShort: false,
    isDroppingEntries: false,
    isSecureTcp: false,
    packetDropRate: 0,
    droppedEntries: 0,
    evicted: 0,
  },
  interference: [],
  vrrpSockets: [{ address: '10.1.0.12', sendErrors: 0, receiveErrors: 0, unsoundPackets: 0, lastError: null }],
  refusedAdvertisements: {},
  refusedEntries: { stamps: 0, invalid: 0, surplus: 0, revocations: 0, admissions: 0 },
  refusedReports: { signature: 0 },
  refusedClients: 0,
  refusedStrangers: 0,
  failedHandshakes: 0,
  droppedMessages: 0,
  peerTroubles: {
    oversizedMessages: 0,
    malformedMessages: 0,
    failedHandlers: 0,
    silentPeers: 0,
    abortedConnections: 0,
    unreadableOpinions: 0,
  },
  refusedTokens: {},
  replication: { batchesSent: 12 },
  drops: { 'no-service': 4, malformed: 0 },
}

test('the status shows who holds what, peers and servers, in columns', async (t) => {
  t.equal(
    renderStatus(status),
    `Director d2 (0.1.0), up 3 h 25 min, NOT in sync: waits for snapshot from d1
Peer id 12D3KooWExample
Connections 22 of 1048576; checkpoint of 20, 1 min 1 s ago

VIP         Held by    State here  Priority  VRID  MAC                Gateway   Waiting for
10.1.0.100  10.1.0.11  backup      1 of 184    51  00:00:5e:00:01:33  10.2.0.1  its table is not in sync
10.1.0.101  10.1.0.11  backup      1 of 184    51  00:00:5e:00:01:33  10.2.0.1  its table is not in sync

Tracked  VRID  State  Weight  Reason
eth2       51  down      -50  eth2 has no carrier

Peer  Connected  We are behind it  It is behind us     Tables                  Configuration          Formats
d1    yes        12 records, 8 ms  no                  alike                   the same               1
d3    NO         no                40 records, 900 ms  3 of 2048 parts differ  differs for 1 min 1 s  16, 7 NOT READ

TCP 10.1.0.100:80 wlc
Server          Method  Weight  Effective  Load      Factor  Health  Active  Inactive  Persistent
10.2.0.11:8080  nat        100         62  51 %      0.62    up           5        17           3
10.2.0.12:8080  nat          1          0  no agent  1.00    DOWN         0         0           0

Link     Received  Transmitted  Errors  Overruns
outside        10            9       0         0

Dropped because of  Packets
no-service                4`,
  )
})

test('the priority is told alone while it is the configured one', async (t) => {
  const vips = status.vips.map((vip) => ({ ...vip, effectivePriority: 184, tracked: [] }))
  const text = renderStatus({ ...status, vips })
  t.match(text, /^10\.1\.0\.100 +10\.1\.0\.11 +backup +184 +51 /m)
  t.notMatch(text, /Tracked/)
})

test('the status of the active director names itself as holder', async (t) => {
  const vips = status.vips.map((vip) => ({ ...vip, state: 'active' as const, holder: null }))
  t.match(renderStatus({ ...status, vips }), /^10\.1\.0\.100 +this director +active/m)
})

test('addresses of IPv6 stand in brackets where a port follows', async (t) => {
  const addresses = { addresses: ['2001:db8:1::100'], virtualMac: null, gateway: 'fe80::1', holder: 'fe80::11' }
  const vips = [{ ...status.vips[0], ...addresses }]
  const [service] = status.services
  const servers = [{ ...service.servers[0], address: '2001:db8:2::11' }]
  const text = renderStatus({ ...status, vips, services: [{ ...service, address: '2001:db8:1::100', servers }] })
  t.match(text, /^2001:db8:1::100 +fe80::11 +backup +1 of 184 +51 +own +fe80::1 /m)
  t.match(text, /^TCP \[2001:db8:1::100\]:80 wlc$/m)
  t.match(text, /^\[2001:db8:2::11\]:8080 +nat/m)
})

test("a firewall mark's service is named after its mark, as vsadm does", async (t) => {
  const marked = status.services.map((each) => ({ ...each, protocol: 'fwm' as const, port: 0, mark: 9 }))
  const addressed = (address: string) =>
    renderStatus({ ...status, services: marked.map((each) => ({ ...each, address })) })
  t.match(addressed('0.0.0.0'), /^FWM 9 wlc$/m)
  t.match(addressed('::'), /^FWM 9 IPv6 wlc$/m)
})

test('advertisements that were not believed are shown by their reason', async (t) => {
  const text = renderStatus({ ...status, refusedAdvertisements: { 'hop-limit': 3, checksum: 1 } })
  t.match(text, /^VRRP not believed because of +Packets\nhop-limit +3\nchecksum +1$/m)
})

test('a VRRP socket is shown when it could not do something, with the last error', async (t) => {
  const [sound] = status.vrrpSockets
  const failing = { ...sound, address: 'fe80::12', sendErrors: 7, lastError: 'outside: cannot send' }
  const text = renderStatus({ ...status, vrrpSockets: [sound, failing] })
  t.match(text, /^VRRP from +Send errors .*Last error\nfe80::12 +7 +0 +0 +outside: cannot send$/m)
  t.notMatch(text, /^10\.1\.0\.12 /m)
})

test('a host that interferes is shown, with what mends it', async (t) => {
  const interference = ['net.ipv4.conf.eth0.forwarding = 1: the kernel would forward; run "sysctl ..."']
  t.match(renderStatus({ ...status, interference }), `\nHOST INTERFERES: ${interference[0]}\n`)
})

test('defences are shown while they are at work, and what they have done after that', async (t) => {
  const atWork = { isMemoryShort: true, isDroppingEntries: true, isSecureTcp: false, packetDropRate: 4 }
  const shown = renderStatus({ ...status, defences: { ...atWork, droppedEntries: 7, evicted: 9 } })
  t.match(shown, /^Memory is short\nDefences at work: drop_entry, drop_packet \(one in 4\)\nEnded by drop_entry: 7\n/m)
  t.match(shown, /^Entries that made room in the full table: 9$/m)
})

test('configuration of peers that is not taken is shown, with what to look at', async (t) => {
  const shown = renderStatus({
    ...status,
    refusedEntries: { stamps: 3, invalid: 0, surplus: 0, revocations: 0, admissions: 0 },
  })
  t.match(shown, /^Configuration not taken from peers +Entries\nstamped too far ahead: compare the clocks +3$/m)
  t.notMatch(shown, /compare the versions/)
})

test('reports of agents that are not believed are shown by their reason', async (t) => {
  const shown = renderStatus({ ...status, refusedReports: { signature: 0, address: 2 } })
  t.match(shown, /^Agents not believed because of +Reports\naddress +2$/m)
  t.notMatch(shown, /signature/)
})

test('clients that were not let in at controlTls are shown when there are any', async (t) => {
  t.match(renderStatus({ ...status, refusedClients: 3 }), /^Not let in at controlTls: 3 connections$/m)
  t.notMatch(renderStatus(status), /controlTls/)
})

test('strangers, and why their tokens did not let in, are shown only when there were any', async (t) => {
  t.notMatch(renderStatus(status), /Strangers|Tokens/)
  const shown = renderStatus({ ...status, refusedStrangers: 4, refusedTokens: { signature: 3, peer: 0 } })
  t.match(shown, /^Strangers refused at the cluster port: 4 times$/m)
  t.match(shown, /^Tokens that did not let in because of +Times\nsignature +3\n\n/m)
})

test('handshakes that failed are shown when there are any', async (t) => {
  t.notMatch(renderStatus(status), /Handshakes/)
  t.match(renderStatus({ ...status, failedHandshakes: 5 }), /^Handshakes that failed at the cluster port: 5$/m)
})

test('what HAProxy agents say is shown of those that have said something', async (t) => {
  t.notMatch(renderStatus(status), /Agent of/)
  const [service, ...services] = status.services
  const [server, ...servers] = service.servers
  const said = { weightPercent: 50, maxConnections: null, administration: 'drain', isDown: false } as const
  const withAgent = (agentCheck: ServerListing['agentCheck']) =>
    renderStatus({
      ...status,
      services: [{ ...service, servers: [{ ...server, agentCheck }, ...servers] }, ...services],
    })
  const shown = withAgent({ ...said, description: 'backup runs' })
  t.match(shown, /^Agent of +Says +Weight +Connections +Because\n10\S+ +drain +50 % +- +backup runs$/m)
  t.match(withAgent({ ...said, isDown: true, maxConnections: 9, description: '' }), /^10\S+ +DOWN +50 % +9 +-$/m)
})

test('frames that wait are shown when there are any', async (t) => {
  t.notMatch(renderStatus(status), /Frames that wait/)
  t.match(renderStatus({ ...status, frames: { kept: 3, capacity: 500 } }), /^Frames that wait: 3 of 500$/m)
})

test('messages of peers that were dropped are shown when there are any', async (t) => {
  t.notMatch(renderStatus(status), /Messages of peers/)
  t.match(renderStatus({ ...status, droppedMessages: 7 }), /^Messages of peers .* taken: 7 dropped$/m)
})

test('what went wrong between directors is shown by its name when there is any', async (t) => {
  t.notMatch(renderStatus(status), /Trouble/)
  const shown = renderStatus({ ...status, peerTroubles: { ...status.peerTroubles, silentPeers: 3 } })
  t.match(shown, /^Trouble between directors +Times\nsilentPeers +3\n\n/m)
})

test('a director alone and without services shows no empty tables', async (t) => {
  const nothing = { vips: [], peers: [], services: [], links: [], drops: {}, checkpoint: null }
  const alone = { ...status, ...nothing, inSync: true, uptimeMs: 400 }
  t.equal(
    renderStatus(alone),
    'Director d2 (0.1.0), up 0 s, in sync\nPeer id 12D3KooWExample\nConnections 22 of 1048576',
  )
})
