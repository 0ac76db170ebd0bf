/** Persistence templates among directors: what takes which one's place, how long they last, and whose connections they count. */
import { test } from 'tap'
import type { PersistenceSpec, ServiceSpec } from '../../../forwarder/service.ts'
import { type ConnectionIndex, TICK_MS } from '../../../forwarder/table/connection-layout.ts'
import { recordVersion } from '../../../forwarder/table/record-codec.ts'
import { writeInt32, writeUint16 } from '../../../protocol/packet/bytes.ts'
import { TCP_RST, TCP_SYN } from '../../../protocol/packet/tcp.ts'
import { RECORD, RECORD_FLAG, RECORD_LENGTH } from '../../../protocol/wire/connection-record.ts'
import { type DirectorBench, told } from '../../support/director-bench.ts'
import {
  clientTcp,
  INSIDE,
  MAC,
  OUTSIDE,
  type SceneOptions,
  SERVER1_ADDRESS,
  SERVER2_ADDRESS,
  scene,
  service,
  VIP,
} from '../../support/scene.ts'

const persistence: PersistenceSpec = { timeoutS: 10, netmask: '255.255.255.255' }
const client = (port: number) => ({ from: `203.0.113.7:${port}` })
const ack = (port: number) => clientTcp(client(port))

/** By round robin, the last server first. */
function persistent(...servers: readonly number[]): ServiceSpec {
  const all = service({ weights: [1, 1] })
  return { ...all, persistence, servers: all.servers.filter((_, index) => servers.includes(index + 1)) }
}

function director(options: SceneOptions = {}): DirectorBench {
  return scene({ ...options, services: [persistent(1, 2)] })
}

function established(bench: DirectorBench, port: number): void {
  bench.send(OUTSIDE, clientTcp({ ...client(port), flags: TCP_SYN }))
  bench.send(OUTSIDE, ack(port))
}

const isOfTemplate = (record: Uint8Array) => record[RECORD.protocol] >= 200
const templatesTold = (bench: DirectorBench) => told(bench).filter(isOfTemplate)
/** The last byte of the address of the template's server; undefined: there is no template. */
const templateOf = (bench: DirectorBench, address = '203.0.113.7') => {
  const template = [...bench.reader.connections()].find((each) => each.isTemplate && each.clientAddress === address)
  return template && Number(template.serverAddress.split('.')[3])
}
const take = (bench: DirectorBench) =>
  bench.engine.placeAddresses([{ address: VIP, link: OUTSIDE, state: 'active' }], [OUTSIDE, INSIDE])

function pass(bench: DirectorBench, seconds: number): void {
  for (let passed = 0; passed < seconds; passed++) {
    bench.nowMs += 1000
    bench.breathe()
  }
}

/** A director whose client has a connection to the first server, and the others' turn has come again. */
function withFirst(): DirectorBench {
  const bench = director()
  bench.send(OUTSIDE, clientTcp({ from: '203.0.113.8:1', flags: TCP_SYN }))
  established(bench, 1)
  return bench
}

function tell(bench: DirectorBench, records: readonly Uint8Array[]): void {
  for (const record of records) bench.engine.replication.apply(record, 0)
  // The way to the client may be asked for.
  bench.breathe()
}

test('a template that takes the place of another is newer, however much has happened within one tick', async (t) => {
  const bench = director()
  const peer = director({ state: 'standby' })
  for (const [index, servers] of [[1, 2], [1], [2], [1]].entries()) {
    bench.engine.services.set(persistent(...servers))
    established(bench, index + 1)
  }
  const records = templatesTold(bench)
  tell(peer, records)
  const versions = records.map((record) => recordVersion(record, 0) - recordVersion(records[0], 0))
  t.same(
    versions,
    versions.map((_, index) => index),
  )
  t.same([templateOf(bench), templateOf(peer)], [1, 1])
})

test('a template of 31 days and its connection are taken by a peer, and nothing of longer timeouts', async (t) => {
  const days = 31 * 86_400
  const spec: ServiceSpec = { ...persistent(1), persistence: { ...persistence, timeoutS: days } }
  const first = scene({ services: [spec] })
  first.set({ timeoutTcpS: days })
  established(first, 1)
  const records = told(first)
  const peer = scene({ services: [spec], state: 'standby' })
  tell(peer, records)
  const left = [1, 2].map((index) => peer.table.expires(index as ConnectionIndex) - peer.table.memory.tick)
  t.same(left, [(days * 1000) / TICK_MS, (days * 1000) / TICK_MS])
  for (const record of records) {
    writeInt32(record, RECORD.timeoutMs, days * 1000 + 1)
    t.notOk(scene({ services: [spec], state: 'standby' }).engine.replication.apply(record, 0))
  }
})

test('a template that says of itself that a template has made it is one all the same, and makes no other', async (t) => {
  const [record] = templatesTold(withFirst())
  writeUint16(record, RECORD.flags, RECORD_FLAG.controlled)
  const peer = director({ state: 'standby' })
  tell(peer, [record])
  t.equal(peer.table.memory.used, 1)
  t.equal([...peer.reader.connections()].length, 1)
})

test('a template that comes after its connections lasts as long as they do, at whichever director', async (t) => {
  for (const isLater of [true, false]) {
    const peer = director({ state: 'standby' })
    const records = told(withFirst())
    const connections = records.filter((record) => !isOfTemplate(record))
    const templates = records.filter(isOfTemplate)
    for (const part of isLater ? [connections, templates] : [templates, connections]) tell(peer, part)
    t.equal(templateOf(peer), 1)
    t.equal(templateOf(peer, '203.0.113.8'), undefined, 'nobody is told of one that nothing has proved')
    pass(peer, 300)
    t.equal(templateOf(peer), 1)
    take(peer)
    peer.resolve({ [SERVER1_ADDRESS]: MAC.server1, [SERVER2_ADDRESS]: MAC.server2 })
    const [sent] = peer.send(OUTSIDE, clientTcp({ ...client(2), flags: TCP_SYN }))
    t.equal(sent.frame[33], 1, 'the next connection goes where the first one is')
    pass(peer, 1000)
    t.equal(peer.table.memory.used, 0)
  }
})

test('what a director makes for want of a template it tells nobody until it leads by it, and a peer’s word counts over it', async (t) => {
  const first = withFirst()
  const records = told(first)
  const connections = records.filter((record) => !isOfTemplate(record))
  const place = () => {
    const peer = director({ state: 'standby' })
    tell(peer, connections)
    t.equal(templateOf(peer), 1)
    return peer
  }
  const target = new Uint8Array(16 * RECORD_LENGTH)
  const one = place()
  t.equal(one.reader.encodeRange(0, 16, target, 0), 1, 'the connection')
  take(one)
  established(one, 2)
  t.equal(templatesTold(one).length, 1, 'that it is, once it is assured')
  const other = place()
  first.engine.services.set(persistent(2))
  established(first, 2)
  tell(other, templatesTold(first))
  t.equal(templateOf(other), 2)
  pass(other, 300)
  t.equal(templateOf(other), 2, 'the client’s connections count for it, wherever they are')
  pass(other, 1000)
  t.equal(other.table.memory.used, 0)
})

const losses: [sentence: string, without: (spec: ServiceSpec) => ServiceSpec][] = [
  ['removed', (spec) => ({ ...spec, servers: spec.servers.slice(1) })],
  [
    'down',
    (spec) => ({ ...spec, servers: spec.servers.map((each, i) => (i ? each : { ...each, weight: 0, down: true })) }),
  ],
]
for (const [sentence, without] of losses) {
  test(`a template in the place of one whose server is ${sentence} lasts as long as its own connections, and no longer`, async (t) => {
    const bench = withFirst()
    bench.engine.services.set(without(persistent(1, 2)))
    established(bench, 2)
    t.equal(templateOf(bench), 2)
    for (let minute = 0; minute < 20; minute++) {
      pass(bench, 60)
      bench.send(OUTSIDE, ack(2))
    }
    t.same([templateOf(bench), bench.table.memory.used], [2, 2], 'the connection to the first server has ended')
    pass(bench, 1000)
    t.equal(bench.table.memory.used, 0)
  })
}

test('a template whose service is not persistent any more ends in its time, whatever it counts', async (t) => {
  const bench = withFirst()
  bench.engine.services.set(service({ weights: [1, 1] }))
  pass(bench, 11)
  t.equal(templateOf(bench), undefined)
})

test('nor is one kept that is none any more by the service’s mask: what ends is not counted there', async (t) => {
  const bench = withFirst()
  bench.engine.services.set({ ...persistent(1, 2), persistence: { ...persistence, netmask: '255.255.255.0' } })
  pass(bench, 11)
  t.equal(templateOf(bench), undefined)
})

for (const [sentence, meanwhile] of [
  ['not persistent', undefined],
  ['persistent by networks', { ...persistence, netmask: '255.255.255.0' }],
] as const) {
  test(`a service that was ${sentence} for a while keeps no template for a connection that has ended meanwhile`, async (t) => {
    const spec: ServiceSpec = { ...persistent(1, 2), persistence: { ...persistence, timeoutS: 1000 } }
    const bench = scene({ services: [spec] })
    established(bench, 1)
    bench.engine.services.set({ ...spec, persistence: meanwhile })
    bench.send(OUTSIDE, clientTcp({ ...client(1), flags: TCP_RST }))
    pass(bench, 20)
    t.equal(bench.table.memory.used, 1)
    bench.engine.services.set(spec)
    pass(bench, 1000)
    t.equal(bench.table.memory.used, 0)
  })
}

test('the end of a connection from before an edit of its service’s persistence is not subtracted from what is counted since', async (t) => {
  const bench = withFirst()
  bench.engine.services.set(service({ weights: [1, 1] }))
  bench.engine.services.set(persistent(1, 2))
  established(bench, 2)
  bench.send(OUTSIDE, clientTcp({ ...client(1), flags: TCP_RST }))
  pass(bench, 100)
  t.equal(templateOf(bench), 1)
  bench.send(OUTSIDE, clientTcp({ ...client(2), flags: TCP_RST }))
  pass(bench, 100)
  t.equal(templateOf(bench), undefined, 'what was counted since is')
})

test('a service that is given another timeout, or nothing new, keeps its templates for the same connections', async (t) => {
  const bench = withFirst()
  bench.engine.services.set({ ...persistent(1, 2), persistence: { ...persistence, timeoutS: 20 } })
  pass(bench, 100)
  t.equal(templateOf(bench), 1)
})

test('a template that is kept for its connections is told of every half an hour, by the director that has the address', async (t) => {
  const bench = director()
  const peer = director({ state: 'standby' })
  established(bench, 1)
  t.equal(templatesTold(bench).length, 1)
  const minutes = [0]
  for (let minute = 1; minute <= 120; minute++) {
    for (const each of [bench, peer]) pass(each, 60)
    bench.send(OUTSIDE, ack(1))
    const records = told(bench)
    if (records.some(isOfTemplate)) minutes.push(minute)
    tell(peer, records)
  }
  t.equal(minutes.length, 4)
  t.ok(
    minutes.every((minute, index) => index === 0 || Math.abs(minute - minutes[index - 1] - 32) <= 2),
    `${minutes}`,
  )
  t.same(templatesTold(peer), [])
})
