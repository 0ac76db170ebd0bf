/** Persistence templates among directors: what takes which one's place, how long they last, and whose connections they count. */
import { test } from 'tap'
import type { PersistenceSpec, ServiceSpec } from '../../../forwarder/service.ts'
import { recordVersion } from '../../../forwarder/table/record-codec.ts'
import { TCP_SYN } from '../../../protocol/packet/tcp.ts'
import { RECORD } from '../../../protocol/wire/connection-record.ts'
import { type DirectorBench, told } from '../../support/director-bench.ts'
import { clientTcp, OUTSIDE, type SceneOptions, scene, service } from '../../support/scene.ts'

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
const templateOf = (bench: DirectorBench) => {
  const template = [...bench.reader.connections()].find(({ isTemplate }) => isTemplate)
  return template && Number(template.serverAddress.split('.')[3])
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
