/** Two directors have changed one connection under one version: which of the two changes counts. */
import { test } from 'tap'
import { TEMPLATE_TCP } from '../../../forwarder/engine/templates.ts'
import { writeUint16 } from '../../../protocol/packet/bytes.ts'
import { TCP_SYN } from '../../../protocol/packet/tcp.ts'
import { RECORD, RECORD_FLAG, RECORD_FTP_DATA, RECORD_REMOVE } from '../../../protocol/wire/connection-record.ts'
import { tell, told } from '../../support/director-bench.ts'
import { clientTcp, OUTSIDE, scene, service } from '../../support/scene.ts'

test('of two changes under one version the same counts everywhere, and none counts twice', async (t) => {
  const active = scene()
  active.send(OUTSIDE, clientTcp({ flags: TCP_SYN }))
  active.send(OUTSIDE, clientTcp())
  const [first] = told(active)
  const changed = (change: (record: Uint8Array) => void) => {
    const record = first.slice()
    change(record)
    return record
  }
  const greaterState = changed((record) => {
    record[RECORD.state] = 7
  })
  const greaterServer = changed((record) => {
    record[RECORD.serverAddress + 15] = 2
  })
  const greaterPort = changed((record) => writeUint16(record, RECORD.serverPort, 8001))
  const end = changed((record) => {
    record[RECORD.kind] = RECORD_REMOVE
  })
  const outcome = (...records: Uint8Array[]) => {
    const bench = scene({ state: 'standby', weights: [1, 1] })
    for (const record of records) tell(bench, record)
    return [...bench.reader.connections()].map((each) => `${each.state} ${each.serverAddress}:${each.serverPort}`)
  }
  t.same(outcome(first, greaterState), outcome(greaterState, first))
  t.same(outcome(first, greaterState), ['CLOSE_WAIT 10.1.0.1:8000'])
  t.same(outcome(first, greaterServer), outcome(greaterServer, first))
  t.same(outcome(first, greaterServer), ['ESTABLISHED 10.1.0.2:8000'])
  t.same(outcome(first, greaterPort), outcome(greaterPort, first))
  t.same(outcome(first, greaterPort), ['ESTABLISHED 10.1.0.1:8001'])
  t.same(outcome(greaterServer, greaterPort), outcome(greaterPort, greaterServer))
  t.same(outcome(greaterServer, greaterPort), ['ESTABLISHED 10.1.0.2:8000'])
  const [template, otherTemplate] = [first, greaterPort].map((record) => {
    const ofClient = record.slice()
    ofClient[RECORD.protocol] = TEMPLATE_TCP
    writeUint16(ofClient, RECORD.clientPort, 0)
    return ofClient
  })
  t.same(outcome(template, otherTemplate), outcome(otherTemplate, template))
  t.match(outcome(template, otherTemplate), [/ 10\.1\.0\.1:8001$/])
  t.same(outcome(first, end), outcome(end, first), 'what lives counts over an end')
  t.same(outcome(first, end), ['ESTABLISHED 10.1.0.1:8000'])
  const bench = scene({ state: 'standby' })
  t.same([tell(bench, first), tell(bench, first)], [true, false])
  t.same([tell(bench, greaterPort), tell(bench, greaterPort), tell(bench, first)], [true, false, false])
})

test('a data connection of FTP has the port of the description that counts, though its server is known by another', async (t) => {
  const active = scene()
  active.send(OUTSIDE, clientTcp({ flags: TCP_SYN }))
  active.send(OUTSIDE, clientTcp())
  const [first] = told(active)
  writeUint16(first, RECORD.flags, RECORD_FTP_DATA | RECORD_FLAG.ftpData)
  writeUint16(first, RECORD.virtualPort, 20)
  const ofPort = (serverPort: number, versionLater: number) => {
    const record = first.slice()
    writeUint16(record, RECORD.serverPort, serverPort)
    record[RECORD.version + 1] += versionLater
    return record
  }
  for (const [records, port] of [
    [[ofPort(20, 0), ofPort(2020, 0)], 2020],
    [[ofPort(2020, 0), ofPort(20, 0)], 2020],
    [[ofPort(2020, 0), ofPort(20, 1)], 20],
  ] as const) {
    const bench = scene({ state: 'standby', services: [{ ...service(), port: 21 }] })
    t.ok(records.map((record) => tell(bench, record)).includes(true))
    t.same(
      [...bench.reader.connections()].map(({ serverPort }) => serverPort),
      [port],
    )
  }
})
