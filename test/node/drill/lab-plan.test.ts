/** Hosts and addresses of a lab. */
import { test } from 'tap'
import { belongsToLab, hostNamed, hostsOf, type LabPlan, planLab } from '../../../node/drill/lab-plan.ts'

const addresses = (plan: LabPlan, host: string) =>
  hostNamed(plan, host).interfaces.map(({ name, address }) => `${name} ${address}`)

test('with nat the servers are inside and leave through the gateway', (t) => {
  const plan = planLab({ name: 'a' })
  t.same(
    plan.hosts.map((host) => host.name),
    ['d1', 'd2', 'd3', 's1', 's2', 's3', 'c1'],
  )
  t.same(addresses(plan, 'd2'), ['outside 10.1.0.12', 'inside 10.2.0.250'])
  t.same(addresses(plan, 's3'), ['inside 10.2.0.13'])
  t.equal(hostNamed(plan, 's3').defaultRoute, '10.2.0.1')
  t.same(addresses(plan, 'c1'), ['outside 10.1.0.201'])
  t.end()
})

test('with tun and dr everybody is outside, and nobody needs a route', (t) => {
  for (const method of ['tun', 'dr'] as const) {
    const plan = planLab({ name: 'a', method })
    t.same(plan.bridges, ['outside'])
    t.same(addresses(plan, 'd1'), ['outside 10.1.0.11'])
    t.same(addresses(plan, 's1'), ['outside 10.1.0.21'])
    t.equal(hostNamed(plan, 's1').defaultRoute, undefined)
  }
  t.end()
})

test('no two hosts of the largest lab share an address, and the first director has the highest priority', (t) => {
  for (const method of ['nat', 'dr'] as const) {
    const plan = planLab({ name: 'a', method, directors: 8, servers: 64, clients: 32 })
    const all = plan.hosts.flatMap((host) => host.interfaces.map(({ address }) => address))
    t.equal(new Set(all).size, all.length)
    t.notOk(all.includes('10.1.0.100'))
    t.notOk(all.includes('10.2.0.1'))
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
