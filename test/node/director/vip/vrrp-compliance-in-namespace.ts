/** Started by vrrp-socket.test.ts inside a network namespace of its own: the compliance suite, over a pair of interfaces. */
import { closeSync, openSync } from 'node:fs'
import koffi from 'koffi'
import tap from 'tap'
import { interfaceFacts } from '../../../../forwarder/sys/interface.ts'
import { openVrrpSocket } from '../../../../node/director/vip/vrrp-socket.ts'
import { vrrpTransportCompliance } from '../../../compliance/vrrp-transport.ts'
import { createNeighbour } from '../../../forwarder/namespace.ts'
import { until } from '../../../until.ts'

const other = await createNeighbour('vip0', 'vip1')
const here = openSync('/proc/self/ns/net', 'r')
const there = openSync(`/proc/${other.pid}/ns/net`, 'r')
tap.teardown(() => {
  closeSync(here)
  closeSync(there)
  other.close()
})
/** setns(2) of this thread; what it opens stays where it was opened. */
const setns: (descriptor: number, type: number) => number = koffi.load(null).func('setns', 'int', ['int', 'int'])

/** @param namespace where `name` is */
async function openAt(namespace: number, name: string, sourceAddress: string, isUnicast: boolean) {
  if (setns(namespace, 0) !== 0) throw new Error(`cannot enter the namespace of ${name}`)
  try {
    const { index: interfaceIndex } = interfaceFacts(name)
    return await openVrrpSocket({ interfaceName: name, interfaceIndex, sourceAddress, isUnicast })
  } finally {
    setns(here, 0)
  }
}

for (const [family, network] of [
  ['IPv4', '10.0.0.'],
  ['IPv6', 'fe80::'],
]) {
  vrrpTransportCompliance(`by raw socket, ${family}`, async (isUnicast) => ({
    first: await openAt(here, 'vip0', `${network}1`, isUnicast),
    second: await openAt(there, 'vip1', `${network}2`, isUnicast),
    until,
    withoutTurn: async (send) => send(),
  }))
}
