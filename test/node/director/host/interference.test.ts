/** Which settings of a host make it refused, and what the operator is told. */
import { test } from 'tap'
import { findInterference, type HostFacts } from '../../../../node/director/host/interference.ts'
import type { IpLink, IpRoute } from '../../../../node/director/host/ip-command.ts'

const PLAN = { interfaces: ['eth0', 'eth1.7'], addresses: ['10.0.0.100', '172.16.0.1'] }

function link(ifname: string, local: string, changes: Partial<IpLink> = {}): IpLink {
  const addr_info = [{ family: 'inet', local, prefixlen: 24, scope: 'global' }]
  return { ifindex: 1, ifname, flags: ['UP'], mtu: 1500, link_type: 'ether', addr_info, ...changes }
}

const OWN_ROUTE: IpRoute = { type: 'local', dst: '10.0.0.2', dev: 'eth0', table: 'local', flags: [] }
const CLEAN: HostFacts = {
  links: [link('eth0', '10.0.0.2'), link('eth1.7', '172.16.0.2'), link('docker0', '172.17.0.1')],
  localRoutes: [OWN_ROUTE, { type: 'local', dst: '127.0.0.0/8', dev: 'lo', table: 'local', flags: [] }],
  routes6: [],
  settings: new Map([
    ['net/ipv4/conf/eth0/forwarding', '0'],
    ['net/ipv4/conf/eth1.7/forwarding', '0'],
    ['net/ipv4/conf/all/proxy_arp', '0'],
    ['net/ipv4/conf/eth0/proxy_arp', '0'],
  ]),
}

const withRoute = (route: Partial<IpRoute>): HostFacts => ({
  ...CLEAN,
  localRoutes: [...CLEAN.localRoutes, { ...OWN_ROUTE, ...route }],
})
const withSetting = (path: string, value: string): HostFacts => ({
  ...CLEAN,
  settings: new Map([...CLEAN.settings, [path, value]]),
})
const withPort = (kind: string): HostFacts => ({
  ...CLEAN,
  links: [link('eth0', '10.0.0.2', { master: 'm0', linkinfo: { info_slave_kind: kind } })],
})

test('a host that stays out is accepted, and so is forwarding between its other interfaces', async (t) => {
  t.same(findInterference(PLAN, CLEAN), [])
  t.same(findInterference(PLAN, withSetting('net/ipv4/conf/docker0/forwarding', '1')), [])
  t.same(findInterference(PLAN, withPort('vrf')), [])
})

const cases: readonly [sentence: string, facts: HostFacts, setting: string, remedy: string][] = [
  [
    'a VIP on a kernel interface, even on lo',
    { ...CLEAN, links: [...CLEAN.links, link('lo', '10.0.0.100')] },
    '10.0.0.100/24 on lo',
    'ip address del 10.0.0.100/24 dev lo',
  ],
  [
    'a gateway address on a kernel interface',
    { ...CLEAN, links: [...CLEAN.links, link('eth2', '172.16.0.1')] },
    '172.16.0.1/24 on eth2',
    'ip address del 172.16.0.1/24 dev eth2',
  ],
  [
    'a local route for a VIP',
    withRoute({ dst: '10.0.0.100', dev: 'lo' }),
    'route local 10.0.0.100 dev lo table local',
    'ip route del local 10.0.0.100 dev lo table local',
  ],
  [
    'a local route that covers a VIP, in another table',
    withRoute({ dst: '10.0.0.96/29', dev: 'lo', table: '100' }),
    'route local 10.0.0.96/29 dev lo table 100',
    'ip route del local 10.0.0.96/29 dev lo table 100',
  ],
  [
    'forwarding on a used interface',
    withSetting('net/ipv4/conf/eth0/forwarding', '1'),
    'net.ipv4.conf.eth0.forwarding = 1',
    'sysctl -w net.ipv4.conf.eth0.forwarding=0',
  ],
  [
    'forwarding on an interface with a dot in its name',
    withSetting('net/ipv4/conf/eth1.7/forwarding', '1'),
    'net/ipv4/conf/eth1.7/forwarding = 1',
    'sysctl -w net/ipv4/conf/eth1.7/forwarding=0',
  ],
  [
    'proxy ARP on all interfaces',
    withSetting('net/ipv4/conf/all/proxy_arp', '1'),
    'net.ipv4.conf.all.proxy_arp = 1',
    'sysctl -w net.ipv4.conf.all.proxy_arp=0',
  ],
  [
    'private VLAN proxy ARP on a used interface',
    withSetting('net/ipv4/conf/eth0/proxy_arp_pvlan', '1'),
    'net.ipv4.conf.eth0.proxy_arp_pvlan = 1',
    'sysctl -w net.ipv4.conf.eth0.proxy_arp_pvlan=0',
  ],
  [
    'a used interface that is a port of a bridge',
    withPort('bridge'),
    'eth0 is a port of the bridge m0',
    'ip link set eth0 nomaster',
  ],
]
for (const [sentence, facts, setting, remedy] of cases) {
  test(`refused: ${sentence}`, async (t) => {
    t.match(findInterference(PLAN, facts), [{ setting, remedy, effect: /\w/ }])
  })
}

test('a local route for everything covers every address', async (t) => {
  t.equal(findInterference(PLAN, withRoute({ dst: 'default', dev: 'lo', table: '100' })).length, 2)
})

const PLAN6 = { ...PLAN, addresses: ['2001:db8:1::100', 'fe80::100'] }
const CONNECTED: IpRoute[] = ['2001:db8:1::/64', 'fe80::/64'].map((dst) => ({
  dst,
  dev: 'eth0',
  metric: 256,
  flags: [],
}))
const CLEAN6: HostFacts = {
  ...CLEAN,
  routes6: CONNECTED,
  settings: new Map([
    ...CLEAN.settings,
    ['net/ipv6/conf/all/forwarding', '0'],
    ['net/ipv6/conf/eth0/force_forwarding', '0'],
  ]),
}
const withSetting6 = (path: string): HostFacts => ({ ...CLEAN6, settings: new Map([...CLEAN6.settings, [path, '1']]) })

test('a host that stays out of IPv6 is accepted, and so is one that calls itself a router', async (t) => {
  t.same(findInterference(PLAN6, CLEAN6), [])
  t.same(findInterference(PLAN6, withSetting6('net/ipv6/conf/eth0/forwarding')), [])
})

test('what the host does with IPv6 is no matter where no address is of IPv6', async (t) => {
  t.same(findInterference(PLAN, withSetting6('net/ipv6/conf/all/forwarding')), [])
})

const noRoute = (...routes: IpRoute[]) => ({ ...CLEAN6, routes6: [CONNECTED[1], ...routes] })
const cases6: typeof cases = [
  [
    'a VIP of IPv6 on a kernel interface',
    { ...CLEAN6, links: [...CLEAN.links, link('lo', '2001:db8:1:0::100')] },
    '2001:db8:1::100/24 on lo',
    'ip address del 2001:db8:1::100/24 dev lo',
  ],
  [
    'a local route of IPv6 that covers a VIP',
    { ...CLEAN6, localRoutes: [{ ...OWN_ROUTE, dst: '2001:db8:1::/64', dev: 'lo' }] },
    'route local 2001:db8:1::/64 dev lo table local',
    'ip -6 route del local 2001:db8:1::/64 dev lo table local',
  ],
  [
    'forwarding of IPv6, which is one setting for all interfaces',
    withSetting6('net/ipv6/conf/all/forwarding'),
    'net.ipv6.conf.all.forwarding = 1',
    'sysctl -w net.ipv6.conf.all.forwarding=0',
  ],
  [
    'forwarding of IPv6 that is forced on a used interface',
    withSetting6('net/ipv6/conf/eth1.7/force_forwarding'),
    'net/ipv6/conf/eth1.7/force_forwarding = 1',
    'sysctl -w net/ipv6/conf/eth1.7/force_forwarding=0',
  ],
  [
    'a VIP to which there is no route',
    noRoute(),
    'no route to 2001:db8:1::100',
    'ip -6 route add blackhole 2001:db8:1::100',
  ],
  [
    'a VIP whose best route answers with an error',
    noRoute(
      { dst: '2001:db8:1::/64', dev: 'eth0', metric: 1024, flags: [] },
      { type: 'unreachable', dst: '2001:db8:1::/64', dev: 'lo', metric: 256, flags: [] },
      { dst: 'default', dev: 'eth0', flags: [] },
    ),
    'no route to 2001:db8:1::100',
    'ip -6 route add blackhole 2001:db8:1::100',
  ],
]
for (const [sentence, facts, setting, remedy] of cases6) {
  test(`refused: ${sentence}`, async (t) => {
    const found = findInterference(PLAN6, facts)
    t.match(found, [{ setting, remedy, effect: /\w/ }])
    t.equal(found.length, 1)
  })
}

test('a blackhole route, or a default one, is route enough', async (t) => {
  t.same(findInterference(PLAN6, noRoute({ type: 'blackhole', dst: '2001:db8:1::100', flags: [] })), [])
  t.same(findInterference(PLAN6, noRoute({ dst: 'default', dev: 'eth0', gateway: 'fe80::1', flags: [] })), [])
})

test('what is no route only because an interface is down is none', async (t) => {
  const down = link('eth1.7', '172.16.0.2', { flags: [] })
  t.same(findInterference(PLAN6, { ...noRoute(), links: [link('eth0', '10.0.0.2'), down] }), [])
})
