/** The kernel's addresses and routes in the forwarder's form: as text that ip(8) printed, and for real. */
import { test } from 'tap'
import type { IpRoute, RunIp } from '../../../../node/director/host/ip-command.ts'
import {
  linkLocalAddress,
  mtusOf,
  primaryIPv4Address,
  readHostNetwork,
  readSettledHostNetwork,
} from '../../../../node/director/host/network.ts'
import { runInNamespace } from '../../../forwarder/namespace.ts'

const LINKS = [
  ether('eth0', 2, [
    { family: 'inet6', local: 'fe80::1', prefixlen: 64, scope: 'link' },
    { family: 'inet', local: '10.0.0.2', prefixlen: 24, scope: 'global' },
    { family: 'inet', local: '10.9.0.2', prefixlen: 16, scope: 'global' },
  ]),
  ether('eth1', 3, [{ family: 'inet', local: '172.16.0.2', prefixlen: 24, scope: 'global' }]),
  ether('eth2', 4, [{ family: 'inet6', local: 'fe80::4', prefixlen: 64, scope: 'link' }]),
  {
    ...ether('eth3', 5, [{ family: 'inet', local: '10.3.0.2', prefixlen: 24, scope: 'global' }]),
    flags: ['BROADCAST'],
  },
  ether('eth4', 6, [
    { family: 'inet6', local: '2001:db8:9::77', prefixlen: 64, scope: 'global', temporary: true },
    { family: 'inet6', local: '2001:db8:8::2', prefixlen: 64, scope: 'global', deprecated: true },
    { family: 'inet6', local: '2001:db8:1::2', prefixlen: 64, scope: 'global' },
    { family: 'inet6', local: '2001:db8:1::3', prefixlen: 64, scope: 'global', tentative: true, dadfailed: true },
    { family: 'inet6', local: 'fe80::6', prefixlen: 64, scope: 'link' },
  ]),
  ether('eth5', 7, [
    { family: 'inet6', local: '2001:db8:2::2', prefixlen: 64, scope: 'global' },
    { family: 'inet6', local: 'fe80::7', prefixlen: 64, scope: 'link', tentative: true },
  ]),
  { ifindex: 1, ifname: 'lo', flags: ['UP', 'LOWER_UP'], mtu: 65536, link_type: 'loopback', addr_info: [] },
]

function ether(ifname: string, ifindex: number, addr_info: object[]) {
  const address = `02:00:00:00:00:0${ifindex}`
  return { ifname, ifindex, address, addr_info, flags: ['UP', 'LOWER_UP'], mtu: 1500, link_type: 'ether' }
}

function kernel(routes: Partial<IpRoute>[], family: '-4' | '-6' = '-4', links: object[] = LINKS): RunIp {
  const main = routes.map((route) => ({ flags: [], ...route }))
  return async (options) => (!options.includes('route') ? links : options.includes(family) ? main : [])
}

test('the facts of the used interfaces are read, in the order asked for', async (t) => {
  const network = await readHostNetwork(['eth1', 'eth0', 'eth1'], kernel([]))
  t.same(mtusOf(network), { eth1: 1500, eth0: 1500 })
  t.same(network.interfaces, [
    {
      name: 'eth1',
      index: 3,
      mac: Uint8Array.of(2, 0, 0, 0, 0, 3),
      mtu: 1500,
      addresses: [{ address: '172.16.0.2', prefixLength: 24 }],
      isTentative: false,
    },
    {
      name: 'eth0',
      index: 2,
      mac: Uint8Array.of(2, 0, 0, 0, 0, 2),
      mtu: 1500,
      addresses: [
        { address: '10.0.0.2', prefixLength: 24 },
        { address: '10.9.0.2', prefixLength: 16 },
        { address: 'fe80::1', prefixLength: 64 },
      ],
      isTentative: false,
    },
  ])
})

test('of IPv6 addresses those come first that the kernel would rather send from, and none that it cannot', async (t) => {
  const { interfaces } = await readHostNetwork(['eth4', 'eth5'], kernel([]))
  const [eth4, eth5] = interfaces
  t.same(
    eth4.addresses.map(({ address }) => address),
    ['2001:db8:1::2', '2001:db8:9::77', '2001:db8:8::2', 'fe80::6'],
  )
  t.equal(linkLocalAddress(eth4), 'fe80::6')
  t.equal(primaryIPv4Address(eth4), undefined)
  t.notOk(eth4.isTentative, 'an address that is somebody else’s is not waited for')
  t.equal(linkLocalAddress(eth5), undefined)
  t.ok(eth5.isTentative)
})

test('addresses of which the kernel is making sure are waited for', async (t) => {
  const settled = LINKS.map((link) => ({
    ...link,
    addr_info: link.addr_info.map((one) => ({ ...one, tentative: false })),
  }))
  let asked = 0
  const { interfaces } = await readSettledHostNetwork(['eth5'], (options) =>
    kernel([], '-6', options.includes('route') || asked++ < 2 ? LINKS : settled)(options),
  )
  t.equal(linkLocalAddress(interfaces[0]), 'fe80::7')
  t.equal(asked, 3)
})

const eth0 = { link: 'eth0', source: '10.0.0.2' }
const cases: readonly [sentence: string, kernel: Partial<IpRoute>[], forwarder: object[]][] = [
  [
    'a connected network has no gateway',
    [{ dst: '10.0.0.0/24', dev: 'eth0', prefsrc: '10.0.0.2' }],
    [{ destination: '10.0.0.0', prefixLength: 24, ...eth0 }],
  ],
  [
    'the default route covers everything',
    [{ dst: 'default', gateway: '10.0.0.1', dev: 'eth0' }],
    [{ destination: '0.0.0.0', prefixLength: 0, gateway: '10.0.0.1', ...eth0 }],
  ],
  [
    'an address alone is a host route',
    [{ dst: '192.0.2.7', gateway: '10.0.0.1', dev: 'eth0' }],
    [{ destination: '192.0.2.7', prefixLength: 32, gateway: '10.0.0.1', ...eth0 }],
  ],
  [
    "without a preferred source, it is the address in the gateway's network",
    [{ dst: '192.0.2.0/24', gateway: '10.9.7.7', dev: 'eth0' }],
    [{ destination: '192.0.2.0', prefixLength: 24, gateway: '10.9.7.7', link: 'eth0', source: '10.9.0.2' }],
  ],
  [
    'what an operator says that a route carries is known, be it one of several next hops',
    [
      { dst: 'default', gateway: '10.0.0.1', dev: 'eth0', metrics: [{ mtu: 1400 }] },
      { dst: '10.7.0.0/16', metrics: [{ mtu: 1300 }], nexthops: [{ gateway: '10.0.0.4', dev: 'eth0', flags: [] }] },
    ],
    [
      { destination: '0.0.0.0', prefixLength: 0, gateway: '10.0.0.1', ...eth0, mtu: 1400 },
      { destination: '10.7.0.0', prefixLength: 16, gateway: '10.0.0.4', ...eth0, mtu: 1300 },
    ],
  ],
  [
    'of two routes to one network the lower metric wins, in either order',
    [
      { dst: 'default', gateway: '10.0.0.1', dev: 'eth0', metric: 100 },
      { dst: 'default', gateway: '172.16.0.1', dev: 'eth1', metric: 50 },
      { dst: 'default', gateway: '10.0.0.9', dev: 'eth0', metric: 200 },
    ],
    [{ destination: '0.0.0.0', prefixLength: 0, gateway: '172.16.0.1', link: 'eth1', source: '172.16.0.2' }],
  ],
  [
    'of several next hops the first that lives and is on a used interface stays',
    [
      {
        dst: '10.7.0.0/16',
        nexthops: [
          { gateway: '10.5.0.1', dev: 'eth9', flags: [] },
          { gateway: '10.0.0.3', dev: 'eth0', flags: ['dead', 'linkdown'] },
          { gateway: '10.0.0.4', dev: 'eth0', flags: [] },
        ],
      },
    ],
    [{ destination: '10.7.0.0', prefixLength: 16, gateway: '10.0.0.4', ...eth0 }],
  ],
  [
    'routes that go nowhere, or over other interfaces, are none of ours',
    [
      { type: 'blackhole', dst: '10.8.0.0/16' },
      { type: 'unreachable', dst: '10.8.0.0/16', dev: 'eth0' },
      { dst: '192.168.0.0/16', gateway: '10.5.0.1', dev: 'eth9' },
    ],
    [],
  ],
]
for (const [sentence, kernelRoutes, expected] of cases) {
  test(sentence, async (t) => {
    t.same((await readHostNetwork(['eth0', 'eth1'], kernel(kernelRoutes))).routes, expected)
  })
}

const cases6: typeof cases = [
  [
    'a connected network of IPv6 is reached from the address in it',
    [{ dst: '2001:db8:8::/64', dev: 'eth4' }],
    [{ destination: '2001:db8:8::', prefixLength: 64, link: 'eth4', source: '2001:db8:8::2' }],
  ],
  [
    'the default route of IPv6 has a link-local gateway, but no link-local source',
    [{ dst: 'default', gateway: 'fe80::99', dev: 'eth4', metric: 1024 }],
    [{ destination: '::', prefixLength: 0, gateway: 'fe80::99', link: 'eth4', source: '2001:db8:1::2' }],
  ],
  [
    "the source is the address in the gateway's network, or the one that the route prefers",
    [
      { dst: '2001:db8:a::/48', gateway: '2001:db8:9::1', dev: 'eth4' },
      { dst: '2001:db8:b::7', gateway: '2001:db8:9::1', dev: 'eth4', prefsrc: '2001:db8:1::2' },
    ],
    [
      {
        destination: '2001:db8:a::',
        prefixLength: 48,
        gateway: '2001:db8:9::1',
        link: 'eth4',
        source: '2001:db8:9::77',
      },
      {
        destination: '2001:db8:b::7',
        prefixLength: 128,
        gateway: '2001:db8:9::1',
        link: 'eth4',
        source: '2001:db8:1::2',
      },
    ],
  ],
  [
    'link-local networks, and those of an interface without an address of the family, are left out',
    [
      { dst: 'fe80::/64', dev: 'eth4' },
      { dst: '2001:db8:c::/64', dev: 'eth1' },
    ],
    [],
  ],
]
for (const [sentence, kernelRoutes, expected] of cases6) {
  test(sentence, async (t) => {
    t.same((await readHostNetwork(['eth4', 'eth1'], kernel(kernelRoutes, '-6'))).routes, expected)
  })
}

const missing: readonly [sentence: string, name: string, message: RegExp][] = [
  ['an interface that does not exist', 'eth7', /^eth7: no such network interface; this host has eth0, eth1/],
  ['one that is not Ethernet', 'lo', /^lo: is not an Ethernet interface/],
  ['one without an address', 'eth2', /^eth2: has no address of its own but link-local ones: ip address add/],
  ['one that is down', 'eth3', /^eth3: is down: ip link set eth3 up/],
]
for (const [sentence, name, message] of missing) {
  test(`${sentence} is refused by name`, async (t) => {
    await t.rejects(readHostNetwork(['eth0', name], kernel([])), { code: 'INTERFACE_MISSING', message })
  })
}

test('the host network for real', async (t) => {
  runInNamespace(t, new URL('./host-in-namespace.ts', import.meta.url))
})
