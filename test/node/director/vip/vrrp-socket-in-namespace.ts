/** Started by vrrp-socket.test.ts inside a network namespace of its own. */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import tap, { test } from 'tap'
import { readHostNetwork } from '../../../../node/director/host/network.ts'
import { formatMac } from '../../../../protocol/packet/bytes.ts'
import { ETHERTYPE_IPV6, writeEthernet } from '../../../../protocol/packet/ethernet.ts'
import { writeIPv6 } from '../../../../protocol/packet/ipv6.ts'
import { parseIPv6 } from '../../../../protocol/packet/ipv6-address.ts'
import { multicastMac } from '../../../../protocol/packet/neighbour-discovery.ts'
import { encodeAdvertisement, PROTOCOL_VRRP } from '../../../../protocol/packet/vrrp.ts'
import { createNeighbour } from '../../../forwarder/namespace.ts'
import { capture } from '../../../interop/capture.ts'
import { untilPrograms } from '../../../until.ts'
import { startPeer } from './peer-process.ts'

const other = await createNeighbour('vip0', 'vip1')
tap.teardown(() => other.close())

const INJECT = fileURLToPath(new URL('../../../lab/inject.ts', import.meta.url))

/** An advertisement over IPv6 as a frame that inject.ts takes. */
function vrrpFrame(toMac: Uint8Array, source: string, destination: string, hopLimit: number, message: Uint8Array) {
  const frame = Buffer.alloc(2 + 14 + 40 + message.length)
  frame.writeUInt16BE(frame.length - 2)
  writeEthernet(frame, 2, toMac, Uint8Array.of(2, 0, 0, 0, 0, 9), ETHERTYPE_IPV6)
  const payloadLength = message.length
  const addresses = { source: parseIPv6(source), destination: parseIPv6(destination) }
  writeIPv6(frame, 16, { payloadLength, nextHeader: PROTOCOL_VRRP, hopLimit, ...addresses })
  frame.set(message, 56)
  return frame
}

const VIP6 = { addresses: ['2001:db8:1::100'] }
const [{ mac: ownMac }] = (await readHostNetwork(['vip0'])).interfaces

for (const [family, vip, holder, mac, filter, fields] of [
  ['IPv4', {}, '10.0.0.1', formatMac(ownMac), 'ip proto 112', ['ip.src', 'ip.ttl', 'ip.dsfield.dscp']],
  [
    'IPv6, from the virtual MAC',
    { ...VIP6, virtualMac: true },
    'fe80::1',
    '00:00:5e:00:02:33',
    'ip6 proto 112',
    ['ipv6.src', 'ipv6.hlim', 'ipv6.tclass.dscp'],
  ],
] as const) {
  test(`over ${family}, two processes elect one holder, and hand over by crash and in order`, async (t) => {
    const traffic = await capture(t, 'vip0', filter)
    const best = startPeer('vip0', { ...vip, priority: 150 })
    const second = startPeer('vip1', { ...vip, priority: 100 }, other)
    t.teardown(() => Promise.all([best.end('SIGKILL'), second.end('SIGKILL')]))
    await untilPrograms(() => best.status()?.state === 'active' && second.status()?.holder === holder)
    t.equal(second.status()?.state, 'backup')

    await best.end('SIGKILL')
    await untilPrograms(() => second.status()?.state === 'active')

    const back = startPeer('vip0', { ...vip, priority: 150 })
    t.teardown(() => back.end('SIGKILL'))
    await untilPrograms(() => back.status()?.state === 'active' && second.status()?.state === 'backup')
    await back.end('SIGTERM')
    await untilPrograms(() => second.status()?.state === 'active')
    t.same(second.status()?.refusals, {}, 'nothing that was sent was refused')
    t.match(second.status()?.socket, { sendErrors: 0, receiveErrors: 0, unsoundPackets: 0, lastError: null })

    if (!traffic) return
    const packets = await traffic.read([...fields, 'vrrp.prio', 'vrrp.checksum.status', 'eth.src'])
    t.ok(packets.length > 10)
    for (const [, limit, dscp, , checksum] of packets) t.strictSame([limit, dscp, checksum], ['255', '48', '1'])
    t.ok(
      packets.some(([source, , , priority]) => source === holder && priority === '0'),
      'the orderly stop was told',
    )
    for (const [source, , , , , from] of packets) if (source === holder) t.equal(from, mac)
    t.same(await traffic.complaints(), [], 'tshark finds nothing malformed')
  })
}

test('processes with the key of a file elect one holder, and who has none counts for nothing', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'vrrp-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const keyFile = join(folder, 'directors.key')
  writeFileSync(keyFile, `${'0f'.repeat(32)}\n`, { mode: 0o600 })
  const signed = { ...VIP6, authentication: { keyFile, required: true } }
  const stranger = startPeer('vip0', { ...VIP6, priority: 200 })
  t.teardown(() => stranger.end('SIGKILL'))
  await untilPrograms(() => stranger.status()?.state === 'active')
  const second = startPeer('vip1', { ...signed, priority: 100 }, other)
  t.teardown(() => second.end('SIGKILL'))
  await untilPrograms(() => second.status()?.state === 'active')
  t.ok(second.status()!.refusals.unsigned >= 1, 'the stranger was heard')
  await stranger.end('SIGKILL')
  const best = startPeer('vip0', { ...signed, priority: 150 })
  t.teardown(() => best.end('SIGKILL'))
  await untilPrograms(() => best.status()?.state === 'active' && second.status()?.state === 'backup')
  t.same(Object.keys(second.status()!.refusals), ['unsigned'])
})

test('over IPv6, what was routed or is not to the group is refused in the kernel, and counted by its reason', async (t) => {
  const peer = startPeer('vip0', VIP6)
  t.teardown(() => peer.end('SIGKILL'))
  await untilPrograms(() => peer.status()?.state === 'active')
  const claim = { version: 3 as const, vrid: 51, priority: 255, intervalMs: 500, addresses: VIP6.addresses }
  const message = encodeAdvertisement(claim, 'fe80::2', 'ff02::12', 'pseudo-header')
  const groupMac = multicastMac(parseIPv6('ff02::12'))
  const frames = [
    ...Array(3).fill(vrrpFrame(groupMac, 'fe80::2', 'ff02::12', 254, message)),
    ...Array(2).fill(vrrpFrame(ownMac, 'fe80::2', 'fe80::1', 255, message)),
    vrrpFrame(groupMac, '2001:db8:1::2', 'ff02::12', 255, message),
  ]
  const [command, ...rest] = [...other.enter, process.execPath, INJECT, 'vip1']
  t.equal(spawnSync(command, rest, { input: Buffer.concat(frames), encoding: 'utf8' }).stderr, '')
  const rival = startPeer('vip1', { ...VIP6, priority: 200 }, other)
  t.teardown(() => rival.end('SIGKILL'))
  await untilPrograms(() => peer.status()?.state === 'backup')
  t.equal(peer.status()?.holder, 'fe80::2')
  t.same(peer.status()?.refusals, { 'hop-limit': 3, destination: 2, source: 1 })
})

test('the neighbours’ questions for a VIP of IPv6 reach the interface: its group is joined, backup or not', async (t) => {
  const peers = [startPeer('vip0', { ...VIP6, priority: 150 }), startPeer('vip1', { ...VIP6, priority: 100 }, other)]
  t.teardown(() => Promise.all(peers.map((peer) => peer.end('SIGKILL'))))
  await untilPrograms(() => peers[0].status()?.state === 'active' && peers[1].status()?.state === 'backup')
  for (const enter of [[], other.enter]) {
    const [command, ...rest] = [...enter, 'ip', '-6', 'maddress', 'show']
    t.match(spawnSync(command, rest, { encoding: 'utf8' }).stdout, /ff02::1:ff00:100\b/)
  }
})

test('a director at 10 ms keeps its rhythm', async (t) => {
  const traffic = await capture(t, 'vip0', 'ip proto 112')
  if (!traffic) return
  const only = startPeer('vip0', { advertisementIntervalMs: 10 })
  t.teardown(() => only.end('SIGKILL'))
  await untilPrograms(() => only.status()?.state === 'active')
  const first = only.status()!.activeSinceMonotonicMs!
  await untilPrograms(() => process.hrtime()[0] * 1000 + process.hrtime()[1] / 1e6 > first + 1000)
  await only.end('SIGKILL')
  const times = (await traffic.read(['frame.time_epoch'])).map(([seconds]) => Number(seconds) * 1000)
  // The sum is what drift would show in. A stall longer than an interval may leave some out, but never adds one.
  const mean = (times[times.length - 1] - times[0]) / (times.length - 1)
  t.ok(times.length > 20, `${times.length} advertisements`)
  t.ok(mean > 9.5, `${mean} ms between two`)
})

test('an interface that is missing, and a missing privilege, are named', async (t) => {
  const open = (prefix: string[], name: string) => {
    const program = `
      import { openVrrpSocket } from '${new URL('../../../../node/director/vip/vrrp-socket.ts', import.meta.url)}'
      const options = { interfaceName: '${name}', interfaceIndex: 99, sourceAddress: '10.0.0.1' }
      await openVrrpSocket(options).catch(({ code, message }) => console.log(code, message))
      process.exit()`
    const [command, ...rest] = [...prefix, process.execPath, '--input-type=module', '-e', program]
    return spawnSync(command, rest, { encoding: 'utf8' }).stdout
  }
  t.match(open([], 'nix0'), /^INTERFACE_MISSING nix0: /)
  t.match(open(['setpriv', '--bounding-set', '-net_raw'], 'vip0'), /^PRIVILEGE_MISSING .*CAP_NET_RAW/)
})
