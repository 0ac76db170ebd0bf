/** Configured weights seen through health and load. */
import { test } from 'tap'
import type { HealthState } from '../../../../node/director/health/rise-fall.ts'
import { afterAnswer, NOTHING_SAID } from '../../../../node/director/load/agent-answer.ts'
import { effectiveService } from '../../../../node/director/pool/effective-services.ts'
import type { PoolServer } from '../../../../node/director/pool/pool-entry.ts'

/** Servers 10.0.0.1, 10.0.0.2, ... with the given weights, health and load factors -> effective weights. */
function weights(
  configured: number[],
  factors: number[] = [],
  health: HealthState[] = [],
  scheduler = 'wlc',
): number[] {
  const servers = configured.map(
    (weight, index): PoolServer => ({ address: `10.0.0.${index + 1}`, port: 80, method: 'nat', weight }),
  )
  const indexOf = (text: string) => Number(text.split(':')[0].split('.')[3]) - 1
  const service = { protocol: 'tcp' as const, address: '10.0.0.100', port: 80, scheduler, servers }
  const spec = effectiveService(service, {
    health: (key) => health[indexOf(key)] ?? 'up',
    loadFactor: (address) => factors[indexOf(address)] ?? 1,
    isLocal: () => false,
  })
  return spec.servers.map(({ weight }) => weight)
}

const cases: [string, number[], number[]][] = [
  ['without load the weights are the configured ones', weights([1, 2, 0]), [1, 2, 0]],
  ['one factor scales the whole service', weights([1, 2, 1], [1, 1, 0.5]), [20, 40, 10]],
  ['factors are rounded', weights([1, 1], [0.666, 0.334]), [13, 7]],
  ['a loaded server keeps at least 1', weights([1, 1], [0.001, 1]), [1, 20]],
  ['weight 0 stays 0 whatever the load', weights([0, 1], [0.5, 1]), [0, 20]],
  ['a server that is down has its configured weight', weights([1, 2], [], ['down', 'up']), [1, 2]],
  ['so it does under load', weights([1, 2], [0.5, 0.5], ['down', 'up']), [1, 20]],
  ['a server of which nothing is known is used', weights([3], [], ['unknown']), [3]],
  ['the largest weight stays what it is', weights([2 ** 31 - 1]), [2 ** 31 - 1]],
  [
    'products stay within what a weight may be, in proportion',
    weights([2 ** 31 - 1, 2 ** 30], [1, 0.5]),
    [2 ** 31 - 1, 2 ** 29],
  ],
  ['a service without servers has none', weights([]), []],
  ['slots of a table are not moved by load', weights([1, 2], [0.5, 1], [], 'sh'), [1, 2]],
  ['ranks are not changed by load', weights([3, 2], [0.3, 1], [], 'fo'), [3, 2]],
  [
    'numbers of connections are lowered by load, not multiplied',
    weights([100, 10, 1], [0.5, 1, 0.1], [], 'ovf'),
    [50, 10, 1],
  ],
]

for (const [name, actual, expected] of cases) {
  test(name, (t) => {
    t.same(actual, expected)
    t.end()
  })
}

test('a server that is this director itself is served locally, by whatever method was configured', (t) => {
  const servers = [
    { address: '127.0.0.1', port: 80, method: 'nat' as const, weight: 1 },
    { address: '10.0.0.2', port: 80, method: 'dr' as const, weight: 1 },
  ]
  const spec = effectiveService(
    { protocol: 'tcp', address: '10.0.0.100', port: 80, scheduler: 'rr', servers },
    { health: () => 'up', loadFactor: () => 1, isLocal: (address) => address === '127.0.0.1' },
  )
  t.same(
    spec.servers.map(({ method }) => method),
    ['local', 'dr'],
  )
  t.end()
})

const dead = (key: string) => (server: string) => (server === key ? 'down' : 'up')

test('a server that is down is told apart from one of weight 0', (t) => {
  const servers = [1, 2].map((host) => ({ address: `10.0.0.${host}`, port: 80, method: 'nat' as const, weight: 0 }))
  const spec = effectiveService(
    { protocol: 'tcp', address: '10.0.0.100', port: 80, scheduler: 'rr', servers },
    { health: dead('10.0.0.1:80'), loadFactor: () => 1, isLocal: () => false },
  )
  t.same(
    spec.servers.map(({ down }) => down),
    [true, undefined],
  )
  t.end()
})

test('a server that is dead by TCP is down for UDP and a firewall mark too, at the same port alone', (t) => {
  const conditions = { health: dead('10.0.0.1:53'), loadFactor: () => 1, isLocal: () => false }
  const servers = [53, 5353].map((port) => ({ address: '10.0.0.1', port, method: 'nat' as const, weight: 1 }))
  for (const kind of [{ protocol: 'udp', port: 53 } as const, { protocol: 'fwm', port: 0, mark: 7 } as const]) {
    const spec = effectiveService({ ...kind, address: '10.0.0.100', scheduler: 'rr', servers }, conditions)
    t.same(
      spec.servers.map(({ down }) => down),
      [true, undefined],
    )
  }
  t.end()
})

test('the forwarder gets what it knows: no fields of later versions, and a scheduler that exists', (t) => {
  const spec = effectiveService(
    {
      protocol: 'udp',
      address: '10.0.0.100',
      port: 53,
      scheduler: 'later',
      persistence: { timeoutS: 60, netmask: '255.255.255.255', colour: 'green' },
      colour: 'red',
      servers: [
        {
          address: '10.0.0.1',
          port: 53,
          method: 'tun',
          weight: 4,
          tunnel: { type: 'ipip', port: 0, checksum: 'none', colour: 'white' },
          colour: 'blue',
        },
      ],
    },
    { health: () => 'up', loadFactor: () => 1, isLocal: () => false },
  )
  t.strictSame(spec, {
    protocol: 'udp',
    address: '10.0.0.100',
    port: 53,
    scheduler: 'wlc',
    persistence: { timeoutS: 60, netmask: '255.255.255.255' },
    servers: [
      {
        address: '10.0.0.1',
        port: 53,
        method: 'tun',
        weight: 4,
        tunnel: { type: 'ipip', port: 0, checksum: 'none' },
      },
    ],
  })
  t.end()
})

test('everything that is configured of a service reaches the forwarder, and an own address is served locally', (t) => {
  const service = {
    protocol: 'fwm' as const,
    address: '::',
    port: 0,
    mark: 7,
    scheduler: 'wrr',
    schedulerFlags: ['flag-1' as const],
    persistence: { timeoutS: 60, netmask: '64' },
    persistenceEngine: 'sip',
    onePacket: true,
    mss: 'clamp' as const,
  }
  const tunnel = { type: 'gue' as const, port: 6080, checksum: 'plain' as const }
  const far = { address: '2001:db8::1', port: 0, method: 'tun' as const, weight: 0, lastWeight: 2, tunnel }
  const own = { address: '::1', port: 80, method: 'nat' as const, weight: 1, upperThreshold: 9, lowerThreshold: 3 }
  const conditions = { health: () => 'up' as const, loadFactor: () => 1, isLocal: (text: string) => text === '::1' }
  const { persistenceEngine, ...same } = service
  t.strictSame(effectiveService({ ...service, servers: [far, own] }, conditions), {
    ...same,
    persistence: { timeoutS: 60, netmask: '64', engine: 'sip' },
    servers: [far, { ...own, method: 'local' }],
  })
  t.end()
})

test('a service without a scheduler is told of as that, with the weights that its servers have', (t) => {
  const servers = [{ address: '10.0.0.1', port: 80, method: 'nat' as const, weight: 5 }]
  const service = { protocol: 'tcp' as const, address: '10.0.0.100', port: 80, scheduler: 'none', servers }
  const spec = effectiveService(service, { health: () => 'up', loadFactor: () => 1, isLocal: () => false })
  t.match(spec, { scheduler: 'none', servers: [{ weight: 5 }] })
  t.end()
})

/** Server 10.0.0.1 of weight 10, whose agent has said this, and 10.0.0.2 of weight 10, without one -> what counts of both. */
function said(lines: string[], server: Partial<PoolServer> = {}, scheduler = 'wlc', factor = 1) {
  const servers = ['10.0.0.1', '10.0.0.2'].map(
    (address): PoolServer => ({ address, port: 80, method: 'nat', weight: 10, ...(address === '10.0.0.1' && server) }),
  )
  const service = { protocol: 'tcp' as const, address: '10.0.0.100', port: 80, scheduler, servers }
  const state = lines.reduce(afterAnswer, NOTHING_SAID)
  const conditions = {
    health: () => 'up' as const,
    loadFactor: (address: string) => (address === '10.0.0.1' ? factor : 1),
    agent: (address: string) => (address === '10.0.0.1' ? state : NOTHING_SAID),
    isLocal: () => false,
  }
  const [first, second] = effectiveService(service, conditions).servers
  const { weight, lastWeight, down, upperThreshold, lowerThreshold } = first
  return { weight, other: second.weight, lastWeight, down, upperThreshold, lowerThreshold }
}

const agents: [what: string, actual: ReturnType<typeof said>, expected: Partial<ReturnType<typeof said>>][] = [
  ['nothing leaves a server as it is', said([]), { weight: 10, other: 10 }],
  ['100 % does too', said(['100% up ready']), { weight: 10, other: 10 }],
  ['a part of the weight, as load does', said(['25%']), { weight: 50, other: 200 }],
  ['more than the weight', said(['250%']), { weight: 500, other: 200 }],
  ['it counts beside a load that is reported', said(['50%'], {}, 'wlc', 0.5), { weight: 50, other: 200 }],
  ['slots are not moved by a part of the weight', said(['25%'], {}, 'mh'), { weight: 10, other: 10 }],
  ['0 % takes all new clients away', said(['0%']), { weight: 0, other: 10, lastWeight: 10 }],
  ['from slots, too', said(['0%'], {}, 'mh'), { weight: 0, other: 10, lastWeight: 10 }],
  ['drain does so whatever the weight', said(['50% drain']), { weight: 0, other: 10, lastWeight: 10 }],
  [
    'a server without weight had another before',
    said(['drain'], { weight: 0, lastWeight: 3 }),
    { weight: 0, other: 10, lastWeight: 3 },
  ],
  ['maint is down', said(['maint']), { weight: 10, other: 10, down: true }],
  ['down is down', said(['50% drain down']), { weight: 10, other: 10, down: true }],
  [
    'a number of connections',
    said(['maxconn:7'], { upperThreshold: 100, lowerThreshold: 50 }),
    { weight: 10, other: 10, upperThreshold: 7, lowerThreshold: 7 },
  ],
  [
    'none by the agent',
    said(['maxconn:7', 'maxconn:0'], { upperThreshold: 9 }),
    { weight: 10, other: 10, upperThreshold: 9 },
  ],
]
for (const [what, actual, expected] of agents) {
  test(`an agent: ${what}`, async (t) => {
    const nothing = { lastWeight: undefined, down: undefined, upperThreshold: undefined, lowerThreshold: undefined }
    t.strictSame(actual, { ...nothing, ...expected })
  })
}
