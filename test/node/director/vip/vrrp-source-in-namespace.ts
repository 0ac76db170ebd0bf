/** Started by vrrp-socket.test.ts inside a network namespace of its own: where advertisements come from, and what the kernel refuses and forgets. */
import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { setTimeout as wait } from 'node:timers/promises'
import rawSocket, { type Socket } from 'raw-socket'
import tap, { test } from 'tap'
import { checked } from '../../../../forwarder/sys/errors.ts'
import { sendto } from '../../../../forwarder/sys/libc.ts'
import {
  AF_INET,
  AF_INET6,
  closeDescriptor,
  openSocket,
  SO_BINDTODEVICE,
  SOCK_RAW,
  SOL_SOCKET,
  setOption,
  socketAddress,
} from '../../../../forwarder/sys/socket.ts'
import { readHostNetwork } from '../../../../node/director/host/network.ts'
import { openVrrpSocket } from '../../../../node/director/vip/vrrp-socket.ts'
import { PROTOCOL_VRRP } from '../../../../protocol/packet/vrrp.ts'
import { createNeighbour, ip } from '../../../forwarder/namespace.ts'
import { until, untilPrograms } from '../../../until.ts'
import { startPeer } from './peer-process.ts'

const other = await createNeighbour('vip0', 'vip1')
tap.teardown(() => other.close())

const VIP6 = { addresses: ['2001:db8:1::100'] }

for (const [where, destination, source, newer, peers] of [
  ['over IPv6 to the group', 'ff02::12', 'fe80::1', 'fe80::1:5/64', undefined],
  [
    'over IPv6 to a named peer',
    '2001:db8:1::2',
    '2001:db8:1::1',
    '2001:db8:1::5/64',
    ['2001:db8:1::1', '2001:db8:1::2'],
  ],
  ['over IPv4 to a named peer', '10.0.0.2', '10.0.0.1', '10.0.0.5/25', ['10.0.0.1', '10.0.0.2']],
] as const) {
  test(`${where}, advertisements come from the same address when the kernel would choose another by now`, async (t) => {
    const vip = { ...(source.includes(':') && VIP6), ...(peers && { unicastPeers: [...peers] }) }
    const best = startPeer('vip0', { ...vip, priority: 150 })
    t.teardown(() => best.end('SIGKILL'))
    await untilPrograms(() => best.status()?.state === 'active')
    ip(`address add ${newer} dev vip0${source.includes(':') ? ' nodad' : ''}`)
    t.teardown(() => ip(`address del ${newer} dev vip0`))
    const route = spawnSync('ip', ['-json', 'route', 'get', destination, 'oif', 'vip0'], { encoding: 'utf8' })
    t.equal(route.status, 0, route.stderr)
    t.equal(JSON.parse(route.stdout)[0].prefsrc, newer.split('/')[0])
    const second = startPeer('vip1', { ...vip, priority: 100 }, other)
    t.teardown(() => second.end('SIGKILL'))
    await untilPrograms(() => second.status()?.holder === source)
    const status = second.status()
    t.match(status, { state: 'backup' }, JSON.stringify(status))
    t.same(status?.refusals, {}, JSON.stringify(status))
  })
}

test('more groups than the kernel lets a socket join: the error names the setting, and that is enough', async (t) => {
  const setting = '/proc/sys/net/core/optmem_max'
  if (!existsSync(setting)) {
    t.pass('not run: this kernel has one net.core.optmem_max for all namespaces', { skip: true })
    return
  }
  const before = readFileSync(setting, 'utf8')
  t.teardown(() => writeFileSync(setting, before))
  writeFileSync(setting, '20480')
  const [{ name: interfaceName, index: interfaceIndex }] = (await readHostNetwork(['vip0'])).interfaces
  const virtualAddresses = Array.from({ length: 32 * 77 }, (_, index) => ({
    address: `2001:db8:1::1:${index.toString(16)}`,
    interfaceIndex,
  }))
  const open = () => openVrrpSocket({ interfaceName, interfaceIndex, sourceAddress: 'fe80::1', virtualAddresses })
  const error = await open().catch((thrown: Error) => thrown)
  t.match(error, { code: 'FORWARDER_FAILED', message: /2465 groups .*sysctl -w net\.core\.optmem_max=\d+$/ })
  writeFileSync(setting, /\d+$/.exec((error as Error).message)![0])
  const socket = await open()
  socket.close()
})

for (const [family, sourceAddress, group] of [
  ['IPv4', '10.0.0.1', Uint8Array.of(224, 0, 0, 18)],
  ['IPv6', 'fe80::1', Buffer.from(`ff02${'0'.repeat(26)}12`, 'hex')],
] as const) {
  test(`over ${family}, a socket that has joined its group again hears, whether the kernel had forgotten that or not`, async (t) => {
    const [{ name: interfaceName, index: interfaceIndex }] = (await readHostNetwork(['vip0'])).interfaces
    const socket = await openVrrpSocket({ interfaceName, interfaceIndex, sourceAddress })
    t.teardown(() => socket.close())
    let heard = 0
    socket.onDatagram(() => heard++)
    const speaker = openSocket(family === 'IPv4' ? AF_INET : AF_INET6, SOCK_RAW, PROTOCOL_VRRP, 'speaker')
    t.teardown(() => closeDescriptor(speaker))
    setOption(speaker, SOL_SOCKET, SO_BINDTODEVICE, Buffer.from('vip0\0'), 'speaker')
    const to = socketAddress(group, 0)
    // What a host sends to a group comes to itself, too, if it is in the group.
    const send = () => {
      heard = 0
      checked(sendto(speaker, new Uint8Array(8), 8, 0, to, to.length), 'speaker')
    }
    const hears = () => {
      socket.drain()
      return heard > 0
    }
    send()
    await until(hears)
    socket.joinAgain()
    send()
    await until(hears)
    if (family === 'IPv4') return

    // Too little for IPv6, whose addresses on the interface and groups go with that.
    ip('link set vip0 mtu 1279')
    t.throws(() => socket.joinAgain(), { code: 'INTERFACE_MISSING' })
    ip('link set vip0 mtu 1500\naddress add fe80::1/64 dev vip0 nodad')
    send()
    await wait(50)
    t.notOk(hears(), 'deaf, though all is well to look at')
    socket.joinAgain()
    send()
    await until(hears)
  })
}

test('a socket that the kernel reports as broken fails once, and no other is opened in its place', async (t) => {
  const rawSockets = () => readFileSync('/proc/net/raw', 'utf8').match(/:0070 /g)?.length ?? 0
  const opened: Socket[] = []
  const { createSocket } = rawSocket
  t.capture(rawSocket, 'createSocket', (options: Parameters<typeof createSocket>[0]) => {
    opened.push(createSocket(options))
    return opened[0]
  })
  const [{ name: interfaceName, index: interfaceIndex }] = (await readHostNetwork(['vip0'])).interfaces
  const socket = await openVrrpSocket({ interfaceName, interfaceIndex, sourceAddress: '10.0.0.1' })
  t.teardown(() => socket.close())
  const failures: Error[] = []
  socket.onFailure((error) => failures.push(error))
  t.equal(rawSockets(), 1)
  // As the native half does it: the event has no error.
  opened[0].wrap.emit('error')
  socket.drain()
  t.equal(rawSockets(), 0)
  t.match(failures, [{ code: 'FORWARDER_FAILED' }])
  socket.onFailure((error) => failures.push(error))
  t.equal(failures.length, 2, 'told to whoever asks later')
  t.ok(socket.send(new Uint8Array(8), '224.0.0.18'), 'it can still resign')
})

test('what cannot be sent is counted, and told once in ten minutes', async (t) => {
  const told: string[] = []
  let nowMs = 0
  const [{ name: interfaceName, index: interfaceIndex }] = (await readHostNetwork(['vip0'])).interfaces
  const socket = await openVrrpSocket({
    interfaceName,
    interfaceIndex,
    sourceAddress: '10.0.0.1',
    warn: (message) => told.push(message),
    clock: { now: () => nowMs },
  })
  t.teardown(() => socket.close())
  const errors = { address: '10.0.0.1', sendErrors: 0, receiveErrors: 0, unsoundPackets: 0, lastError: null }
  t.same(socket.status, errors)
  ip('link set vip0 down')
  t.teardown(() => ip('link set vip0 up'))
  for (const atMs of [0, 599_999, 600_000]) {
    nowMs = atMs
    t.notOk(socket.send(new Uint8Array(8), '224.0.0.18'))
  }
  t.match(socket.status, { sendErrors: 3, lastError: /^vip0: cannot send: / })
  t.equal(told.length, 2)
  t.match(told[0], /^VRRP from 10\.0\.0\.1 does not get out.*: vip0: cannot send: /)
})
