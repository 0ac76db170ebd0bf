/** Started by keepalived.test.ts inside a network namespace of its own. */
import tap, { test } from 'tap'
import { readHostNetwork } from '../../node/director/host/network.ts'
import type { VipConfig } from '../../node/director/vip/vip-config.ts'
import { openVrrpSocket } from '../../node/director/vip/vrrp-socket.ts'
import { encodeAdvertisement, VRRP_GROUP_IPV4, type VrrpChecksum } from '../../protocol/packet/vrrp.ts'
import { createNeighbour } from '../forwarder/namespace.ts'
import { startPeer } from '../node/director/vip/peer-process.ts'
import { until } from '../until.ts'
import { capture } from './capture.ts'
import { missingKeepalived, startKeepalived, type VrrpInstance } from './keepalived-process.ts'

const other = await createNeighbour('ours', 'theirs')
tap.teardown(() => other.close())

const VIPS = ['10.0.0.100']
const VIPS_IPV6 = ['fe80::100', '2001:db8:1::100']
const VRID = 51
const V3 = { version: 3, seconds: 0.05 } as const
const V2 = { version: 2, seconds: 1 } as const
const UNICAST = ['10.0.0.2', '10.0.0.1'] as const

interface Dialect {
  readonly dialect: string
  /** What both are told besides the priority, each in its own way. */
  readonly ours: Partial<VipConfig> & Pick<VipConfig, 'addresses'>
  readonly theirs: Pick<VrrpInstance, 'version' | 'seconds' | 'unicast' | 'line'>
  /** Their address, as the director sees it. */
  readonly holder: string
  readonly filter: string
  /** The checksum is not that which tshark computes. */
  readonly isStrange?: true
  /** The first keepalived that speaks it; each one unless given. */
  readonly since?: readonly number[]
}

const DIALECTS: readonly Dialect[] = [
  {
    dialect: 'IPv4',
    ours: { addresses: VIPS },
    theirs: V3,
    holder: '10.0.0.2',
    filter: 'ip proto 112',
  },
  {
    dialect: 'IPv4 with checksums over the message alone',
    ours: { addresses: VIPS },
    theirs: { ...V3, line: 'v3_checksum_as_v2' },
    holder: '10.0.0.2',
    filter: 'ip proto 112',
    isStrange: true,
    since: [2, 2, 8],
  },
  {
    dialect: 'IPv6',
    // The RFC wants a link-local address first, and keepalived looks for it.
    ours: { addresses: VIPS_IPV6 },
    theirs: V3,
    holder: 'fe80::2',
    filter: 'ip6 proto 112',
  },
  {
    dialect: 'IPv4 in version 2',
    // keepalived neither knows nor cares which MAC it hears.
    ours: { addresses: VIPS, version: 2, advertisementIntervalMs: 1000, virtualMac: true },
    theirs: V2,
    holder: '10.0.0.2',
    filter: 'ip proto 112',
  },
  {
    dialect: 'IPv4 to named peers',
    ours: { addresses: VIPS, unicastPeers: ['10.0.0.2'] },
    theirs: { ...V3, unicast: UNICAST },
    holder: '10.0.0.2',
    filter: 'ip proto 112 and not multicast',
  },
  {
    dialect: 'IPv4 to named peers with the checksums of keepalived 1.3.6',
    ours: { addresses: VIPS, unicastPeers: ['10.0.0.2'] },
    theirs: { ...V3, unicast: UNICAST, line: 'old_unicast_checksum' },
    holder: '10.0.0.2',
    filter: 'ip proto 112 and not multicast',
    isStrange: true,
  },
  {
    dialect: 'IPv4 to named peers in version 2',
    ours: { addresses: VIPS, unicastPeers: ['10.0.0.2'], version: 2, advertisementIntervalMs: 1000 },
    theirs: { ...V2, unicast: UNICAST },
    holder: '10.0.0.2',
    filter: 'ip proto 112 and not multicast',
  },
  {
    dialect: 'IPv6 to named peers',
    ours: { addresses: VIPS_IPV6, unicastPeers: ['2001:db8:1::2'] },
    theirs: { ...V3, unicast: ['2001:db8:1::2', '2001:db8:1::1'] },
    holder: '2001:db8:1::2',
    filter: 'ip6 proto 112 and not multicast',
  },
]

function instanceOf({ ours: { addresses }, theirs }: Pick<Dialect, 'ours' | 'theirs'>, priority: number): VrrpInstance {
  return { name: 'pool', vrid: VRID, priority, addresses, ...theirs }
}

for (const dialect of DIALECTS) {
  const { dialect: name, ours, holder, filter, isStrange, since } = dialect
  const skip = missingKeepalived(since) ?? false
  test(`keepalived yields to a director of higher priority over ${name}, and takes over when that resigns`, {
    skip,
  }, async (t) => {
    const traffic = await capture(t, 'ours', filter)
    const keepalived = startKeepalived(t, other, [instanceOf(dialect, 100)])
    await until(() => keepalived.is('MASTER'))
    const director = startPeer('ours', { ...ours, priority: 150 })
    t.teardown(() => director.end('SIGKILL'))
    await until(() => keepalived.is('BACKUP') && director.status()?.state === 'active')
    await director.end('SIGTERM')
    await until(() => keepalived.is('MASTER'))
    t.same(keepalived.complaints(), [], 'keepalived finds nothing wrong')
    if (!traffic) return
    const complaints = await traffic.complaints()
    if (isStrange) t.equal(complaints.length, (await traffic.read(['frame.number'])).length, 'tshark does with each')
    else t.same(complaints, [])
  })

  test(`a director yields to a keepalived of higher priority over ${name}, and takes over when that stops`, {
    skip,
  }, async (t) => {
    const director = startPeer('ours', { ...ours, priority: 100 })
    t.teardown(() => director.end('SIGKILL'))
    await until(() => director.status()?.state === 'active')
    const keepalived = startKeepalived(t, other, [instanceOf(dialect, 150)])
    await until(() => director.status()?.state === 'backup' && director.status()?.holder === holder)
    await keepalived.end('SIGTERM')
    await until(() => director.status()?.state === 'active')
    t.same(director.status()?.refusals, {}, 'the director finds nothing wrong')
  })
}

test('keepalived believes no checksum over the message alone unless it is told to: directors do not begin with one', async (t) => {
  const sourceAddress = '10.0.0.1'
  const [{ index: interfaceIndex }] = (await readHostNetwork(['ours'])).interfaces
  const socket = await openVrrpSocket({ interfaceName: 'ours', interfaceIndex, sourceAddress })
  t.teardown(() => socket.close())
  const keepalived = startKeepalived(t, other, [instanceOf({ ours: { addresses: VIPS }, theirs: V3 }, 100)])
  await until(() => keepalived.is('MASTER'))
  const advertisement = { version: 3, vrid: VRID, priority: 150, intervalMs: 50, addresses: VIPS } as const
  const say = (checksum: VrrpChecksum) =>
    socket.send(encodeAdvertisement(advertisement, sourceAddress, VRRP_GROUP_IPV4, checksum), VRRP_GROUP_IPV4)
  say('message')
  await until(() => keepalived.complaints().length > 0)
  t.match(keepalived.complaints(), [/Invalid VRRPv3 checksum/])
  t.ok(keepalived.is('MASTER'))
  say('pseudo-header')
  await until(() => keepalived.log.some((line) => line.includes('higher priority 150')))
})
