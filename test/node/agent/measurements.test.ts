/** What the agent reads from proc, as the kernel writes it. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'tap'
import {
  cpuShare,
  Meter,
  parseCpuTimes,
  parseEstablishedConnections,
  parseLoadAverage,
  parseMemoryShare,
} from '../../../node/agent/measurements.ts'

const stat = (busy: number, idle: number) =>
  `cpu  ${busy} 0 0 ${idle} 0 0 0 0 0 0\ncpu0 1 2 3 4 5 6 7 8 9 10\nintr 5 0 0\nctxt 9\n`
const meminfo =
  'MemTotal:       24684092 kB\nMemFree:         1000000 kB\nMemAvailable:    6171023 kB\nBuffers:           10820 kB\n'
const snmp = `Ip: Forwarding DefaultTTL
Ip: 1 64
Tcp: RtoAlgorithm RtoMin RtoMax MaxConn ActiveOpens PassiveOpens AttemptFails EstabResets CurrEstab InSegs
Tcp: 1 200 120000 -1 105 2 0 0 50000 10074
Udp: InDatagrams NoPorts
Udp: 3 0
`

test('waiting for a disk is idle, serving interrupts and time stolen by a hypervisor is busy', async (t) => {
  t.same(parseCpuTimes('cpu  10 20 30 400 500 60 70 80 3 4\n'), { busy: 270, total: 1170 })
})

test('the busy share is that between two readings', async (t) => {
  t.equal(cpuShare({ busy: 100, total: 1000 }, { busy: 150, total: 1200 }), 0.25)
})

test('two readings within one tick of the kernel give a share of 0', async (t) => {
  t.equal(cpuShare({ busy: 100, total: 1000 }, { busy: 100, total: 1000 }), 0)
})

test('memory counts by what is available, not by what is free', async (t) => {
  t.equal(parseMemoryShare(meminfo), 0.75)
})

test('the load average is that of one minute', async (t) => {
  t.equal(parseLoadAverage('3.41 0.41 0.23 2/101 7153\n'), 3.41)
})

test('established connections are read by their name, not by their place', async (t) => {
  t.equal(parseEstablishedConnections(snmp), 50_000)
  t.equal(parseEstablishedConnections('Tcp: CurrEstab New\nTcp: 7 8\n'), 7)
})

test('a meter reads the same open files again and sees what has changed', async (t) => {
  const root = t.testdir({ stat: stat(100, 900), meminfo, loadavg: '3.00 0 0 1/1 1\n' })
  mkdirSync(join(root, 'net'))
  writeFileSync(join(root, 'net/snmp'), snmp)
  const meter = new Meter(4, root)
  t.teardown(() => meter.close())
  writeFileSync(join(root, 'stat'), stat(400, 1000))
  t.same(meter.measure(), { cpu: 0.75, memory: 0.75, loadPerCore: 0.75, establishedConnections: 50_000 })
  writeFileSync(join(root, 'stat'), stat(400, 1100))
  t.equal(meter.measure().cpu, 0)
})

test('this machine can be measured', async (t) => {
  const meter = new Meter(1)
  t.teardown(() => meter.close())
  const { cpu, memory, loadPerCore, establishedConnections } = meter.measure()
  t.ok(cpu >= 0 && cpu <= 1)
  t.ok(memory > 0 && memory < 1)
  t.ok(loadPerCore >= 0)
  t.ok(Number.isInteger(establishedConnections))
})
