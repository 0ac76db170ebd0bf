/** Hosts and addresses of a lab. */
import { isIP } from 'node:net'
import { test } from 'tap'
import {
  addressOf,
  belongsToLab,
  FAMILIES,
  GATEWAY_ADDRESSES,
  hostNamed,
  hostsOf,
  type LabPlan,
  planLab,
  VIRTUAL_ADDRESSES,
} from '../../../node/drill/lab-plan.ts'
import { canonicalAddress } from '../../../protocol/packet/ipv6-address.ts'

const addresses = (plan: LabPlan, host: string) =>
  hostNamed(plan, host).interfaces.map(({ name, address, ipv6Address }) => `${name} ${address} ${ipv6Address}`)

test('with nat the servers are inside and leave through the gateways', (t) => {
  const plan = planLab({ name: 'a' })
  t.same(
    plan.hosts.map((host) => host.name),
    ['d1', 'd2', 'd3', 's1', 's2', 's3', 'c1'],
  )
  t.same(addresses(plan, 'd2'), ['outside 10.1.0.12 fd00:1::12', 'inside 10.2.0.250 fd00:2::250'])
  t.same(addresses(plan, 's3'), ['inside 10.2.0.13 fd00:2::13'])
  t.same(
    plan.hosts.filter(({ behindGateway }) => behindGateway).map((host) => host.name),
    ['s1', 's2', 's3'],
  )
  t.same(addresses(plan, 'c1'), ['outside 10.1.0.201 fd00:1::201'])
  t.end()
})

test('with tun and dr everybody is outside, and nobody needs a route', (t) => {
  for (const method of ['tun', 'dr'] as const) {
    const plan = planLab({ name: 'a', method })
    t.same(plan.bridges, ['outside'])
    t.same(addresses(plan, 'd1'), ['outside 10.1.0.11 fd00:1::11'])
    t.same(addresses(plan, 's1'), ['outside 10.1.0.21 fd00:1::21'])
    t.notOk(plan.hosts.some(({ behindGateway }) => behindGateway))
  }
  t.end()
})

test('no two hosts of the largest lab share an address, and the first director has the highest priority', (t) => {
  for (const method of ['nat', 'dr'] as const) {
    const plan = planLab({ name: 'a', method, directors: 8, servers: 64, clients: 32 })
    for (const family of FAMILIES) {
      const ofHosts = plan.hosts.flatMap((host) => host.interfaces.map((port) => addressOf(port, family)))
      const all = [...ofHosts, VIRTUAL_ADDRESSES[family], GATEWAY_ADDRESSES[family]]
      t.equal(new Set(all).size, all.length)
      t.ok(
        all.every((address) => canonicalAddress(address) === address && isIP(address) === (family === 'ipv4' ? 4 : 6)),
      )
    }
    const priorities = hostsOf(plan, 'director').map((host) => host.priority)
    t.same(
      priorities,
      [...new Set(priorities)].sort((a, b) => b - a),
    )
    t.ok(priorities.every((priority) => priority >= 1 && priority <= 254))
  }
  t.end()
})

test('what cannot be a lab is refused with what was expected', (t) => {
  for (const [options, message] of [
    [{ name: 'A b' }, /lab name "A b": expected/],
    [{ name: '../x' }, /lab name/],
    [{ name: 'a', directors: 0 }, /directors 0: expected a number from 1 to 8/],
    [{ name: 'a', servers: 1.5 }, /servers 1.5/],
    [{ name: 'a', clients: 33 }, /clients 33/],
    [{ name: 'a', method: 'local' as never }, /method local: expected nat, tun or dr/],
  ] as const) {
    t.throws(() => planLab(options), { code: 'INPUT_INVALID', message })
  }
  t.throws(() => hostNamed(planLab({ name: 'a' }), 's9'), { code: 'INPUT_INVALID', message: /no host s9; it has d1/ })
  t.end()
})

test("a lab's namespaces are told from those of a lab whose name begins alike", (t) => {
  t.ok(belongsToLab('ld-a-s1', 'a'))
  t.ok(belongsToLab('ld-a-switch', 'a'))
  t.ok(belongsToLab('ld-a-b-s1', 'a-b'))
  t.notOk(belongsToLab('ld-a-b-s1', 'a'))
  t.notOk(belongsToLab('ld-a-s1-switch', 'a'))
  t.notOk(belongsToLab('other', 'a'))
  t.end()
})
