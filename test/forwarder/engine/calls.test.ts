/** SIP calls as clients (--pe sip): which server a datagram goes to, what is listed of a call, and what the peers know of it. */
import { test } from 'tap'
import { dropCode } from '../../../forwarder/engine/drop-reason.ts'
import { explain } from '../../../forwarder/engine/explain.ts'
import type { MarkRule, PersistenceSpec, ServiceSpec } from '../../../forwarder/service.ts'
import { TCP_SYN } from '../../../protocol/packet/tcp.ts'
import { RECORD, RECORD_CALL, RECORD_LENGTH, RECORDS_OF_PLACE_MAX } from '../../../protocol/wire/connection-record.ts'
import { type DirectorBench, told } from '../../support/director-bench.ts'
import { clientUdp6, scene6, service6, VIP6 } from '../../support/ipv6-scene.ts'
import {
  clientTcp,
  clientUdp,
  INSIDE,
  MAC,
  OUTSIDE,
  type SceneOptions,
  scene,
  serverOf,
  serverUdp,
  service,
  udpToClient,
  VIP,
} from '../../support/scene.ts'

const [ALICE, BOB] = ['203.0.113.7', '203.0.113.8']
const persistence: PersistenceSpec = { timeoutS: 60, netmask: '255.255.255.255', engine: 'sip' }
const neighbours = { '10.1.0.1': MAC.server1, '10.1.0.2': MAC.server2, '10.1.0.3': '02:00:00:00:02:03' }

/** A director with three servers for SIP, each datagram for itself. */
function bench(options: SceneOptions = {}, variation: Partial<ServiceSpec> = {}): DirectorBench {
  const base = service({ protocol: 'udp', weights: [1, 1, 1], ...options })
  return scene({ neighbours, ...options, services: [{ ...base, onePacket: true, persistence, ...variation }] })
}

const message = (callId: string) => `INVITE sip:bob@example.com SIP/2.0\r\nCall-ID: ${callId}\r\nCSeq: 1 INVITE\r\n\r\n`
const said = (callId: string, from = `${ALICE}:5060`) => clientUdp({ from, payload: message(callId) })

function listing(bench: DirectorBench): string[] {
  return [...bench.reader.connections()]
    .filter(({ isTemplate }) => isTemplate)
    .map((each) => {
      const { name, data } = each.persistenceEngine ?? { name: '', data: '' }
      const ends = `${each.clientAddress}:${each.clientPort} ${each.virtualAddress}:${each.virtualPort} ${each.serverAddress}:${each.serverPort}`
      return `${each.protocol} ${each.state} ${ends} ${name} ${data}`
    })
    .sort()
}

function pass(bench: DirectorBench, seconds: number): void {
  bench.nowMs += seconds * 1000
  bench.resolve(neighbours)
}

const persistentConnections = (bench: DirectorBench) =>
  bench.engine.services.serverBySlot.reduce((sum, server) => sum + (server?.persistentConnections ?? 0), 0)

test('a call stays with its server, whatever port it comes from; another one of the same client has its own', async (t) => {
  const pool = bench()
  t.same(
    [said('a@x'), said('b@x'), said('a@x', `${ALICE}:5061`), said('c@x'), said('b@x'), said('a@x')].map((frame) =>
      serverOf(pool, frame),
    ),
    [3, 2, 3, 1, 2, 3],
  )
  t.same(listing(pool), [
    `udp NONE ${ALICE}:0 ${VIP}:80 10.1.0.1:8000 sip c@x`,
    `udp NONE ${ALICE}:0 ${VIP}:80 10.1.0.2:8000 sip b@x`,
    `udp NONE ${ALICE}:0 ${VIP}:80 10.1.0.3:8000 sip a@x`,
  ])
  t.equal(persistentConnections(pool), 3)
})

test('the reply to a call goes back to the port that it came from', async (t) => {
  const pool = bench()
  serverOf(pool, said('a@x'))
  serverOf(pool, said('b@x'))
  for (const server of [3, 2]) {
    const [sent] = pool.send(INSIDE, serverUdp({ from: `10.1.0.${server}:8000`, to: `${ALICE}:5060`, payload: 'OK' }))
    t.same(sent.frame, udpToClient({ to: `${ALICE}:5060`, payload: 'OK' }))
  }
})

test('a call is of who sends it, by what the mask leaves of the address', async (t) => {
  const alone = bench()
  t.same([serverOf(alone, said('a@x')), serverOf(alone, said('a@x', `${BOB}:5060`))], [3, 2])
  const shared = bench({}, { persistence: { ...persistence, netmask: '255.255.255.0' } })
  t.same([serverOf(shared, said('a@x')), serverOf(shared, said('a@x', `${BOB}:5060`))], [3, 3])
  t.same(listing(shared), [`udp NONE 203.0.113.0:0 ${VIP}:80 10.1.0.3:8000 sip a@x`])
})

test('what names no call is dropped', async (t) => {
  const pool = bench()
  t.equal(serverOf(pool, clientUdp({ payload: 'OPTIONS sip:bob SIP/2.0\r\nCSeq: 1 OPTIONS\r\n\r\n' })), undefined)
  t.equal(serverOf(pool, clientUdp({ payload: '' })), undefined)
  t.equal(pool.drops.counters[dropCode('no-call-id')], 2)
  const tcp = bench({}, { protocol: 'tcp' })
  t.equal(serverOf(tcp, clientTcp({ flags: TCP_SYN, payload: message('a@x') })), undefined)
  t.equal(tcp.drops.counters[dropCode('no-call-id')], 1)
})

test('without -o a datagram goes where those of its port went before, and a call to its server from another port', async (t) => {
  const pool = bench({}, { onePacket: false })
  t.same(
    [said('a@x'), said('b@x'), said('a@x', `${ALICE}:9`)].map((frame) => serverOf(pool, frame)),
    [3, 3, 3],
  )
  t.equal(
    serverOf(pool, said('b@x', `${ALICE}:10`)),
    2,
    'the call that came by a known connection has made no template',
  )
})

test('a call is forgotten after its timeout, which each of its datagrams puts off, and its place is free', async (t) => {
  const pool = bench()
  for (const seconds of [50, 50]) {
    t.equal(serverOf(pool, said('a@x')), 3)
    pass(pool, seconds)
  }
  t.equal(serverOf(pool, said('a@x')), 3)
  pass(pool, 61)
  t.same(listing(pool), [])
  t.equal(persistentConnections(pool), 0)
  t.equal(serverOf(pool, said('a@x')), 2, 'a new call')
})

test('a call to two services is described until neither has it', async (t) => {
  const base = { ...service({ protocol: 'udp', weights: [1, 1, 1] }), onePacket: true, persistence }
  const other = { ...base, port: 81, persistence: { ...persistence, timeoutS: 200 } }
  const pool = scene({ neighbours, services: [base, other] })
  for (const port of [80, 81]) pool.send(OUTSIDE, clientUdp({ to: `${VIP}:${port}`, payload: message('a@x') }))
  t.equal(listing(pool).length, 2)
  pass(pool, 61)
  t.same(listing(pool), [`udp NONE ${ALICE}:0 ${VIP}:81 10.1.0.3:8000 sip a@x`])
})

test('calls that find no room to be described are forwarded all the same', async (t) => {
  const pool = bench()
  const first = Array.from({ length: 600 }, (_, call) => serverOf(pool, said(`${call}@x`)))
  const again = Array.from({ length: 600 }, (_, call) => serverOf(pool, said(`${call}@x`)))
  t.same(again, first)
  const described = listing(pool).filter((line) => line.includes('@x'))
  t.equal(listing(pool).length, 600)
  t.equal(described.length, 511)
  pass(pool, 61)
  serverOf(pool, said('after@x'))
  t.match(listing(pool), [/sip after@x$/])
})

test("a firewall mark's service tells calls apart too", async (t) => {
  const rule: MarkRule = { mark: 9, protocol: 'udp', firstPort: 80 }
  const pool = bench({}, { protocol: 'fwm', address: '0.0.0.0', port: 0, mark: 9, onePacket: true })
  pool.engine.marks.replace([rule], [OUTSIDE, INSIDE])
  t.same(
    [said('a@x'), said('b@x'), said('a@x')].map((frame) => serverOf(pool, frame)),
    [3, 2, 3],
  )
  t.equal(listing(pool)[1], `ip NONE ${ALICE}:0 0.0.0.9:0 10.1.0.3:0 sip a@x`)
})

test('calls over IPv6 are told apart as well, by what the prefix leaves of the address', async (t) => {
  const base = service6({ protocol: 'udp', weights: [1, 1, 1] })
  const neighbours = {
    '2001:db8:2::1': MAC.server1,
    '2001:db8:2::2': MAC.server2,
    '2001:db8:2::3': '02:00:00:00:02:03',
  }
  const by64 = { ...persistence, netmask: '64' }
  const pool = scene6({ neighbours, services: [{ ...base, onePacket: true, persistence: by64 }] })
  const standby = scene6({ neighbours, services: [{ ...base, onePacket: true, persistence: by64 }] })
  const clients = ['[2001:db8:c::7]:5060', '[2001:db8:c::8]:9', '[2001:db8:d::7]:5060']
  const asked = clients.map((from) => clientUdp6({ from, payload: message('a@x') }))
  const servers = (bench: DirectorBench) => asked.map((frame) => bench.send(OUTSIDE, frame)[0]?.frame[5])
  t.same(servers(pool), [3, 3, 2])
  for (const record of told(pool)) standby.engine.replication.apply(record, 0)
  for (const bench of [pool, standby]) {
    t.same(listing(bench), [
      `udp NONE 2001:db8:c:::0 ${VIP6}:80 2001:db8:2::3:8000 sip a@x`,
      `udp NONE 2001:db8:d:::0 ${VIP6}:80 2001:db8:2::2:8000 sip a@x`,
    ])
  }
  t.same(servers(standby), [3, 3, 2])
})

test('the question what would become of a datagram is of a call that is not known', async (t) => {
  const pool = bench()
  serverOf(pool, said('a@x'))
  const question = { client: ALICE, clientPort: 5060, virtual: VIP, virtualPort: 80 }
  const { outcome, decision, server } = explain(pool.engine, { protocol: 'udp', ...question }, pool.nowMs)
  t.match(
    { outcome, decision, server },
    { outcome: 'forwarded', decision: 'scheduler', server: { address: '10.1.0.2' } },
  )
  const tcp = bench({}, { protocol: 'tcp' })
  t.match(explain(tcp.engine, { protocol: 'tcp', ...question }, tcp.nowMs), {
    outcome: 'dropped',
    reason: 'its service is for SIP calls, which are UDP (no-call-id)',
    template: undefined,
  })
})

const longest = `${'l'.repeat(200)}@${'h'.repeat(54)}`

test('the next director sends a call where it was, lists it, and forgets it when it is told to', async (t) => {
  const [active, standby] = [bench(), bench({ state: 'standby' })]
  const calls = ['a@x', longest]
  for (const call of calls) serverOf(active, said(call))
  const records = told(active)
  t.equal(records.filter((record) => record[RECORD.protocol] === RECORD_CALL).length, 1 + 8)
  for (const record of records) t.ok(standby.engine.replication.apply(record, 0))
  t.same(listing(standby), listing(active))
  standby.engine.addresses.replace([{ address: VIP, link: OUTSIDE, state: 'active' }], [OUTSIDE, INSIDE])
  t.same(
    calls.map((call) => serverOf(standby, said(call))),
    [3, 2],
  )
})

test('a newcomer is told of calls with the table', async (t) => {
  const [active, newcomer] = [bench(), bench({ state: 'standby' })]
  for (const call of ['a@x', longest]) serverOf(active, said(call))
  const bytes = new Uint8Array(16 * RECORDS_OF_PLACE_MAX * RECORD_LENGTH)
  const count = active.reader.encodeRange(0, 16, bytes, 0)
  for (let i = 0; i < count; i++) newcomer.engine.replication.apply(bytes, i * RECORD_LENGTH)
  t.same(listing(newcomer), listing(active))
})

test('a director that has not heard which call a template is of learns it from the next datagram', async (t) => {
  const [active, standby] = [bench(), bench()]
  serverOf(active, said('a@x'))
  const [template] = told(active)
  standby.engine.replication.apply(template, 0)
  t.same(listing(standby), [`udp NONE 0.0.0.0:0 ${VIP}:80 10.1.0.3:8000 sip `])
  serverOf(standby, said('a@x'))
  t.same(listing(standby), [`udp NONE ${ALICE}:0 ${VIP}:80 10.1.0.3:8000 sip a@x`])
})

test('damaged pieces of a description do no harm', async (t) => {
  const [active, standby] = [bench(), bench({ state: 'standby' })]
  serverOf(active, said(longest))
  const [template, ...pieces] = told(active)
  standby.engine.replication.apply(template, 0)
  for (const [piece] of pieces.entries()) {
    for (const [offset, value] of [
      [2, 255],
      [4, 255],
      [5, 0],
      [20, 1],
    ]) {
      const damaged = pieces[piece].slice()
      damaged[offset] = value
      standby.engine.replication.apply(damaged, 0)
    }
  }
  for (const piece of pieces) standby.engine.replication.apply(piece, 0)
  t.match(listing(standby), [/ sip /])
})
