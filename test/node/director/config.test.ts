/** A director's configuration file: what of addresses it takes, and how it says which line is wrong. */
import { test } from 'tap'
import { peerIdOfPublicKey } from '../../../node/director/cluster/identity.ts'
import { demandOthers, parseDirectorConfig, usesIPv6 } from '../../../node/director/config.ts'
import { peerInputSchema } from '../../../node/director/control/api.ts'
import { joinTokenText } from '../../../protocol/wire/join-token.ts'
import { createTestPoolKey } from '../../support/join-tokens.ts'

const HEAD = `name: d1
interfaces: { outside: eth0 }
cluster:
  listen: 10.1.0.11:7946
`
const idOf = (letter: string) => peerIdOfPublicKey(Buffer.alloc(32, letter))
const parse = (text: string) => parseDirectorConfig(text, 'director.yaml')

test('virtual addresses of both families are taken, each group of one, in their canonical form', async (t) => {
  const { vips } = parse(`${HEAD}vips:
  - { vrid: 51, addresses: [10.1.0.100], gateway: 10.2.0.1 }
  - { vrid: 51, priority: 150, addresses: [2001:DB8:1:0::100, 'fe80::100'], gateway: '2001:db8:2::1' }
`)
  t.same(
    vips.map(({ addresses, gateway }) => [addresses, gateway]),
    [
      [['10.1.0.100'], '10.2.0.1'],
      [['2001:db8:1::100', 'fe80::100'], '2001:db8:2::1'],
    ],
  )
})

test('the advertisement interval is what the version of VRRP can count, unless given', async (t) => {
  const { vips } = parse(`${HEAD}vips:
  - { vrid: 51, addresses: [10.1.0.100] }
  - { vrid: 52, version: 2, addresses: [10.1.0.101] }
  - { vrid: 53, version: 2, advertisementIntervalMs: 2000, addresses: [10.1.0.102] }
`)
  t.same(
    vips.map(({ version, advertisementIntervalMs }) => [version, advertisementIntervalMs]),
    [
      [3, 50],
      [2, 1000],
      [2, 2000],
    ],
  )
})

test('authentication is required where a key file is named, unless it is told not to be yet', async (t) => {
  const { vips } = parse(`${HEAD}vips:
  - { vrid: 51, addresses: [10.1.0.100], authentication: { keyFile: /key } }
  - { vrid: 52, addresses: [10.1.0.101], authentication: { keyFile: /key, required: false } }
  - { vrid: 53, addresses: [10.1.0.102] }
`)
  t.same(
    vips.map(({ authentication }) => authentication),
    [{ keyFile: '/key', required: true }, { keyFile: '/key', required: false }, undefined],
  )
})

test('clients see the MAC of the holder’s interface, unless a group is told to have the virtual one', async (t) => {
  const { vips } = parse(`${HEAD}vips:
  - { vrid: 51, addresses: [10.1.0.100] }
  - { vrid: 52, virtualMac: true, addresses: [10.1.0.101], unicastPeers: [10.1.0.12] }
`)
  t.same(
    vips.map(({ virtualMac }) => virtualMac),
    [false, true],
  )
})

test('endpoints of IPv6 are taken in brackets', async (t) => {
  const config = parse(`name: d1
interfaces: { outside: eth0 }
cluster:
  listen: '[2001:db8::0011]:7946'
  peers: [{ name: d2, id: ${idOf('K')}, address: '[2001:db8::12]:7946' }]
agents: { listen: '[::]:7947', keyFile: /key }
`)
  t.equal(config.cluster.listen, '[2001:db8::11]:7946')
  t.equal(config.cluster.peers[0].address, '[2001:db8::12]:7946')
  t.equal(config.agents?.listen, '[::]:7947')
})

test('a token is taken beside the key that has signed it, and what is no key or no token is refused by its line', async (t) => {
  const key = createTestPoolKey()
  const claim = { peer: idOf('K'), name: 'd1', address: '10.1.0.11:7946', issuedMs: 1, expiresMs: 2 }
  const token = joinTokenText(key.sign(claim))
  const keys = `  poolKeys: [${key.text}]\n`
  t.match(parse(`${HEAD}${keys}  token: ${token}\n`).cluster, { poolKeys: [key.text], token })
  const invalid = (message: RegExp) => ({ code: 'CONFIG_INVALID', message })
  t.throws(
    () => parse(`${HEAD}  token: ${token}\n`),
    invalid(/^director.yaml:5: cluster.token: expected poolKeys beside it/),
  )
  t.throws(
    () => parse(`${HEAD}${keys}  token: ldt-1\n`),
    invalid(/^director.yaml:6: cluster.token: expected a token as/),
  )
  t.throws(
    () => parse(`${HEAD}  poolKeys: [abc]\n`),
    invalid(/^director.yaml:5: cluster.poolKeys.0: expected a key as/),
  )
})

test('a peer is another director, and none is named twice', async (t) => {
  const peer = (name: string, letter: string) => `    - { name: ${name}, id: ${idOf(letter)}, address: 10.1.0.1:1 }\n`
  const peers = (...all: string[]) => `${HEAD}  peers:\n${all.join('')}`
  const invalid = (message: RegExp) => ({ code: 'CONFIG_INVALID', message })
  t.throws(
    () => parse(peers(peer('d2', 'A'), peer('d3', 'B'), peer('d2', 'C'))),
    invalid(/^director.yaml:8: cluster.peers.2.name: expected another name: two peers have d2$/),
  )
  t.throws(
    () => parse(peers(peer('d2', 'A'), peer('d3', 'A'))),
    invalid(/^director.yaml:7: cluster.peers.1.id: expected another id: two peers have 12D3KooW/),
  )
  t.throws(
    () => parse(peers(peer('d1', 'A'))),
    invalid(/^director.yaml:6: cluster.peers.0.name: expected another name: d1 is this director itself/),
  )
  const config = parse(peers(peer('d2', 'A'), peer('d3', 'B')))
  t.throws(() => demandOthers(config, idOf('B')), invalid(/^cluster.peers: the id of d3 is this director's own/))
  demandOthers(config, idOf('C'))
})

test('a peer id that is not whole, or no director’s, is refused by its line', async (t) => {
  for (const id of [idOf('A').slice(0, -1), idOf('A').slice(1), 'K'.repeat(50)])
    t.throws(() => parse(`${HEAD}  peers:\n    - { name: d2, id: ${id}, address: 10.1.0.1:1 }\n`), {
      code: 'CONFIG_INVALID',
      message: /^director.yaml:6: cluster.peers.0.id: expected a peer id as `director identity` prints it, whole$/,
    })
  t.throws(() => peerInputSchema.parse({ id: idOf('A').slice(0, -1), revoked: true }))
  t.same(peerInputSchema.parse({ id: idOf('A'), revoked: true }), { id: idOf('A'), revoked: true })
})

test('whether the host’s IPv6 addresses are needed follows from groups and endpoints', async (t) => {
  t.notOk(usesIPv6(parse(HEAD)))
  t.ok(usesIPv6(parse(`${HEAD}vips: [{ vrid: 51, addresses: ['2001:db8:1::100'] }]`)))
  t.ok(usesIPv6(parse(HEAD.replace('10.1.0.11:7946', "'[2001:db8::11]:7946'"))))
  t.ok(usesIPv6(parse(`${HEAD}agents: { listen: '[::]:7947', keyFile: /key }`)))
  const controlTls = "{ listen: '[::1]:7948', keyFile: /k, certificateFile: /c, clientCaFile: /a }"
  t.ok(usesIPv6(parse(`${HEAD}controlTls: ${controlTls}`)))
})

const many = Array.from({ length: 78 }, (_, index) => `'2001:db8:1::${index + 1}'`).join(', ')
const refusals: readonly [sentence: string, text: string, line: number, message: RegExp][] = [
  [
    'control over TLS that nobody may use',
    'controlTls: { listen: 10.1.0.11:7948, keyFile: /k, certificateFile: /c, clientCaFile: /a, allow: [] }\n',
    5,
    /controlTls\.allow: /,
  ],
  [
    'control over TLS without a CA for clients',
    'controlTls: { listen: 10.1.0.11:7948, keyFile: /k, certificateFile: /c }\n',
    5,
    /controlTls\.clientCaFile: /,
  ],
  [
    'version 2 of VRRP for IPv6',
    `vips:\n  - vrid: 51\n    version: 2\n    addresses: ['2001:db8:1::100']\n`,
    7,
    /vips\.0\.version: expected 3: version 2 of VRRP is of IPv4 alone/,
  ],
  [
    'version 2 of VRRP with an interval that it cannot count',
    `vips:\n  - vrid: 51\n    version: 2\n    advertisementIntervalMs: 1500\n    addresses: [10.1.0.100]\n`,
    8,
    /vips\.0\.advertisementIntervalMs: expected a multiple of 1000/,
  ],
  [
    'a peer of IPv6 for a group of IPv4',
    `vips:\n  - vrid: 51\n    addresses: [10.1.0.100]\n    unicastPeers: [10.1.0.12, 'fe80::12']\n`,
    8,
    /vips\.0\.unicastPeers\.1: expected an IPv4 address/,
  ],
  [
    'peers of two kinds for groups of IPv6, which share a socket',
    `vips:\n  - { vrid: 51, addresses: ['fe80::100'] }\n  - { vrid: 52, addresses: ['fe80::101'], unicastPeers: ['fe80::12'] }\n`,
    7,
    /vips\.1\.unicastPeers: expected all IPv6 groups to have the same kind of peers/,
  ],
  [
    'a sync group of one',
    `vips:\n  - vrid: 51\n    addresses: [10.1.0.100]\n    syncGroup: both\n`,
    8,
    /vips\.0\.syncGroup: expected another group with the same syncGroup/,
  ],
  [
    'priorities that pull a sync group apart',
    `vips:\n  - { vrid: 51, syncGroup: a, priority: 101, addresses: [10.1.0.100] }\n  - { vrid: 52, syncGroup: a, addresses: [10.1.0.101] }\n`,
    6,
    /vips\.0\.syncGroup: expected one priority, preempt and preemptDelayMs/,
  ],
  [
    'a weight in a sync group',
    `vips:\n  - vrid: 51\n    addresses: [10.1.0.100]\n    syncGroup: a\n    track: { interfaces: [{ name: eth2, weight: -1 }] }\n`,
    9,
    /vips\.0\.track: expected weight 0 throughout: groups of a sync group/,
  ],
  [
    'a weight for the owner of the addresses',
    `vips:\n  - vrid: 51\n    priority: 255\n    addresses: [10.1.0.100]\n    track: { interfaces: [{ name: eth2, weight: -1 }] }\n`,
    9,
    /vips\.0\.track: expected weight 0 throughout/,
  ],
  [
    'an owner of the addresses that would leave them with others',
    `vips:\n  - vrid: 51\n    priority: 255\n    addresses: [10.1.0.100]\n    preempt: false\n`,
    9,
    /vips\.0\.preempt: expected true: priority 255 owns the addresses/,
  ],
  [
    'one that would do so for a while',
    `vips:\n  - vrid: 51\n    priority: 255\n    addresses: [10.1.0.100]\n    preemptDelayMs: 1000\n`,
    9,
    /vips\.0\.preemptDelayMs: expected 0: priority 255 owns the addresses/,
  ],
  [
    'a tracked script that would be looked for',
    `vips:\n  - vrid: 51\n    addresses: [10.1.0.100]\n    track:\n      scripts:\n        - command: [check]\n`,
    10,
    /vips\.0\.track\.scripts\.0\.command: expected the absolute path/,
  ],
  [
    'a version of VRRP that nobody speaks',
    `vips:\n  - { vrid: 51, version: 4, addresses: [10.1.0.100] }\n`,
    6,
    /vips\.0\.version: /,
  ],
  [
    'an address of IPv6 in a group of IPv4',
    `vips:\n  - vrid: 51\n    addresses:\n      - 10.1.0.100\n      - '2001:db8:1::100'\n`,
    9,
    /vips\.0\.addresses\.1: expected an IPv4 address, .* one family \(RFC 9568\)/,
  ],
  [
    'a gateway of the other family',
    `vips:\n  - vrid: 51\n    addresses: ['2001:db8:1::100']\n    gateway: 10.2.0.1\n`,
    8,
    /vips\.0\.gateway: expected an IPv6 address, .* one family/,
  ],
  [
    'two groups of one family under one number',
    `vips:\n  - { vrid: 51, addresses: ['2001:db8:1::100'] }\n  - { vrid: 51, addresses: ['2001:db8:1::101'] }\n`,
    7,
    /vips\.1\.vrid: expected another vrid: two groups of one address family have 51/,
  ],
  [
    'an address twice in one group, however it is written',
    `vips:\n  - vrid: 51\n    addresses:\n      - '2001:db8:1::100'\n      - '2001:DB8:1:0::100'\n`,
    9,
    /vips\.0\.addresses\.1: expected another address: 2001:db8:1::100 is vips\.0\.addresses\.0 already/,
  ],
  [
    'an address in two groups',
    `vips:\n  - { vrid: 51, addresses: [10.1.0.100] }\n  - { vrid: 52, addresses: [10.1.0.101, 10.1.0.100] }\n`,
    7,
    /vips\.1\.addresses\.1: expected another address: 10\.1\.0\.100 is vips\.0\.addresses\.0 already/,
  ],
  [
    'an address that is a gateway too',
    `vips:\n  - { vrid: 51, addresses: [10.1.0.100] }\n  - { vrid: 52, addresses: [10.1.0.101], gateway: 10.1.0.100 }\n`,
    7,
    /vips\.1\.gateway: expected another address: 10\.1\.0\.100 is vips\.0\.addresses\.0 already/,
  ],
  [
    'more addresses of IPv6 than one advertisement holds',
    `vips:\n  - { vrid: 51, addresses: [${many}] }\n`,
    6,
    /vips\.0\.addresses: expected at most 77/,
  ],
  [
    'more addresses of IPv6 than one signed advertisement holds',
    `vips:\n  - { vrid: 51, authentication: { keyFile: /key }, addresses: [${many.split(', ', 74).join(', ')}] }\n`,
    6,
    /vips\.0\.addresses: expected at most 73 IPv6 addresses in a group with authentication/,
  ],
  ...['0.0.0.0', '224.0.0.18', '255.255.255.255', '::', 'ff02::12'].map((address): (typeof refusals)[number] => [
    `an address that no host can have: ${address}`,
    `vips:\n  - { vrid: 51, addresses: ['${address}'] }\n`,
    6,
    /vips\.0\.addresses\.0: expected an address that a host can have: /,
  ]),
  [
    'a group as gateway',
    `vips:\n  - { vrid: 51, addresses: [10.1.0.100], gateway: 224.0.0.1 }\n`,
    6,
    /vips\.0\.gateway: expected an address that a host can have: /,
  ],
  [
    'a group as peer',
    `vips:\n  - { vrid: 51, addresses: [10.1.0.100], unicastPeers: [224.0.0.18] }\n`,
    6,
    /vips\.0\.unicastPeers\.0: expected an address that a host can have: /,
  ],
  ['no address', `vips:\n  - { vrid: 51, addresses: [] }\n`, 6, /vips\.0\.addresses: /],
  [
    'an address with a zone',
    `vips:\n  - { vrid: 51, addresses: ['fe80::1%eth0'] }\n`,
    6,
    /vips\.0\.addresses\.0: .*zone/,
  ],
  [
    'what is no address at all',
    `vips:\n  - { vrid: 51, addresses: ['1:2:3:4:5:6:7:8:9::1'] }\n`,
    6,
    /expected an IPv4 or/,
  ],
  [
    'an endpoint of IPv6 without brackets',
    `agents: { listen: '2001:db8::1:7947', keyFile: /key }\n`,
    5,
    /'\[2001:db8::1\]/,
  ],
  [
    'an endpoint without a port',
    `agents: { listen: '[2001:db8::1]', keyFile: /key }\n`,
    5,
    /agents\.listen: expected ADDR/,
  ],
  ['port 0', `agents: { listen: '10.0.0.1:0', keyFile: /key }\n`, 5, /agents\.listen: expected ADDRESS:PORT/],
]
for (const [sentence, text, line, message] of refusals) {
  test(`refused, with file, line and field: ${sentence}`, async (t) => {
    try {
      parse(HEAD + text)
      t.fail('it was taken')
    } catch (error) {
      t.match(error, { code: 'CONFIG_INVALID', message })
      t.ok((error as Error).message.startsWith(`director.yaml:${line}: `), (error as Error).message)
    }
  })
}
