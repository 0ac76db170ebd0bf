/** What a group can be told besides who its peers are: version, named peers, tracking, sync groups, a script; and its events. */
import { test } from 'tap'
import { followVips } from '../../../../node/director/vip/vip-events.ts'
import { formatMac } from '../../../../protocol/packet/bytes.ts'
import { GATEWAY, GATEWAY6, Pool, type PoolMember, states, VIP, VIP6, watch } from './pool.ts'

test('a peer of another version is not obeyed; that is counted, and told once', async (t) => {
  const pool = new Pool()
  const old = pool.add(1, { version: 2, priority: 150, advertisementIntervalMs: 1000 })
  const member = pool.add(2)
  pool.start()
  await pool.clock.advance(10_000)
  t.equal(states([old, member]), 'active active')
  t.ok(member.service.refusals.version! >= 5)
  t.ok(old.service.refusals.version! >= 100)
  for (const [notes, told] of [
    [member.notes, 'vrid 51: 10.0.0.1 speaks version 2 of VRRP, here 3: it is not believed'],
    [old.notes, 'vrid 51: 10.0.0.2 speaks version 3 of VRRP, here 2: it is not believed'],
  ] as const) {
    t.same(
      notes.filter((note) => note.includes('version')),
      [told],
    )
  }
})

test('in version 2 a peer with another interval is not obeyed, as its RFC says, and told of once', async (t) => {
  const pool = new Pool()
  const slow = pool.add(1, { version: 2, priority: 150, advertisementIntervalMs: 2000 })
  const member = pool.add(2, { version: 2, advertisementIntervalMs: 1000 })
  pool.start()
  await pool.clock.advance(20_000)
  t.equal(states([slow, member]), 'active active')
  t.ok(member.service.refusals.interval! >= 3)
  t.equal(member.notes.filter((note) => note.includes('10.0.0.1 advertises interval 2000 ms, here 1000 ms')).length, 1)
})

test('directors of version 2 hand over by crash and in order', async (t) => {
  const pool = new Pool()
  const best = pool.add(1, { version: 2, priority: 150, advertisementIntervalMs: 1000 })
  const second = pool.add(2, { version: 2, advertisementIntervalMs: 1000 })
  pool.start()
  await pool.clock.advance(10_000)
  t.equal(states(pool.members), 'active backup')
  void best.service.stop()
  await pool.clock.advance(1000)
  t.equal(states(pool.members), 'init active', 'after the skew')
  const back = pool.add(1, { version: 2, priority: 150, advertisementIntervalMs: 1000 })
  back.service.start()
  await pool.clock.advance(10_000)
  t.equal(states([back, second]), 'active backup')
  back.crash()
  await pool.clock.advance(4000)
  t.equal(second.state, 'active')
})

for (const [family, virtual, network] of [
  ['IPv4', VIP, '10.0.0.'],
  ['IPv6', VIP6, 'fe80::'],
] as const) {
  test(`directors that name each other over ${family} need no group, and hear nobody else`, async (t) => {
    const pool = new Pool()
    // One list for all: each finds itself in it.
    const unicastPeers = [1, 2, 3].map((last) => `${network}${last}`)
    const addresses = [virtual]
    for (const last of [1, 2, 3]) pool.add(last, { addresses, unicastPeers, priority: 160 - last })
    const stranger = pool.add(4, { addresses, unicastPeers, priority: 200 })
    const multicasting = pool.add(5, { addresses, priority: 200 })
    pool.start()
    await pool.clock.advance(1000)
    t.equal(states(pool.members), 'active backup backup active active', 'neither of the strangers counts')
    const [best, second] = pool.members
    t.same(Object.keys(best.service.refusals).sort(), ['destination', 'source'])
    t.ok(best.service.refusals.destination! > 10, 'what goes to the group')
    t.ok(best.service.refusals.source! > 10, 'what comes from none of the peers')
    t.same(
      [stranger.service.refusals, multicasting.service.refusals],
      [{ destination: best.service.refusals.destination }, {}],
    )
    best.crash()
    await pool.clock.advance(300)
    t.equal(second.state, 'active')
  })
}

for (const [family, addresses, gateway, vmac, group] of [
  ['IPv4', [VIP], GATEWAY, '00:00:5e:00:01:33', '224.0.0.18'],
  ['IPv6', [VIP6], GATEWAY6, '00:00:5e:00:02:33', 'ff02::12'],
] as const) {
  test(`with a virtual MAC of ${family}, advertisements and announcements come from it, whoever holds the addresses`, async (t) => {
    const pool = new Pool()
    const vip = { addresses: [...addresses], gateway, virtualMac: true }
    const [best, second] = [pool.add(1, { ...vip, priority: 150 }), pool.add(2, vip)]
    pool.start()
    await pool.clock.advance(1000)
    best.crash()
    await pool.clock.advance(1000)
    t.equal(second.state, 'active')
    for (const { placed, transmitted, advertised, service } of [best, second]) {
      t.same(
        placed.map(({ link, mac = new Uint8Array() }) => [link, formatMac(mac)]),
        [
          ['outside', vmac],
          ['inside', vmac],
        ],
      )
      t.same(new Set(transmitted.map(({ frame }) => formatMac(frame, 6))), new Set([vmac]))
      t.same(new Set(transmitted.map(({ link }) => link)), new Set(['outside', 'inside']))
      t.same(
        new Set(advertised.map(({ to, from }) => `${to} ${from && formatMac(from)}`)),
        new Set([`${group} ${vmac}`]),
      )
      t.equal(service.status[0].virtualMac, vmac)
    }
  })
}

test('to named peers advertisements come from the interface’s own MAC, announcements from the virtual one', async (t) => {
  const pool = new Pool()
  const member = pool.add(1, { virtualMac: true, unicastPeers: ['10.0.0.2'] })
  pool.start()
  await pool.clock.advance(1000)
  t.same(new Set(member.advertised.map(({ to, from }) => `${to} ${from}`)), new Set(['10.0.0.2 undefined']))
  t.same(new Set(member.transmitted.map(({ frame }) => formatMac(frame, 6))), new Set(['00:00:5e:00:01:33']))
})

test('a tracked interface that fails takes its weight away, and the other director takes over', async (t) => {
  const pool = new Pool()
  const best = pool.add(1, { priority: 150, track: { interfaces: [{ name: 'eth2', weight: -100 }], scripts: [] } })
  const second = pool.add(2)
  pool.start()
  await pool.clock.advance(1000)
  t.equal(states(pool.members), 'active backup')
  best.service.setLink('eth2', 'eth2 has no carrier')
  const counts = await watch(pool, pool.members, 1000)
  t.notOk(counts[0], 'never nobody')
  t.equal(states(pool.members), 'backup active')
  const { priority, effectivePriority, tracked } = best.service.status[0]
  t.same([priority, effectivePriority], [150, 50])
  t.same(tracked, [{ name: 'eth2', weight: -100, state: 'down', reason: 'eth2 has no carrier' }])
  best.service.setLink('eth3', 'eth3 is gone')
  best.service.setLink('eth2', undefined)
  await pool.clock.advance(1000)
  t.equal(states(pool.members), 'active backup', 'what is not tracked is nothing')
  t.equal(second.service.status[0].effectivePriority, 100)
})

test('a tracked script of weight 0 keeps a director out until it has succeeded, and whenever it fails', async (t) => {
  const pool = new Pool()
  const script = { command: ['/usr/bin/check'], weight: 0, intervalMs: 100, timeoutMs: 50, rise: 2, fall: 3 }
  const best = pool.add(1, { priority: 150, track: { interfaces: [], scripts: [script] } })
  pool.add(2)
  pool.start()
  t.match(best.service.status[0].waiting, '/usr/bin/check has not told yet whether all is well')
  await pool.clock.advance(1000)
  t.equal(states(pool.members), 'active backup')
  best.failures.set('/usr/bin/check', 'exit status 1')
  await pool.clock.advance(190)
  t.equal(best.state, 'active', 'not yet three times')
  await pool.clock.advance(160)
  t.equal(states(pool.members), 'fault active')
  t.equal(best.service.status[0].waiting, '/usr/bin/check: exit status 1')
  best.failures.delete('/usr/bin/check')
  await pool.clock.advance(1000)
  t.equal(states(pool.members), 'active backup')
  void best.service.stop()
  await pool.clock.advance(2000)
  best.failures.set('/usr/bin/check', 'exit status 1')
  await pool.clock.advance(1000)
  t.equal(best.state, 'init', 'after the stop it is run no more')
})

/** Two directors with two groups each, of both families, that move together. */
function syncedPairs(): { pool: Pool; best: PoolMember; second: PoolMember } {
  const pool = new Pool()
  const groups = [{ syncGroup: 'both' }, { syncGroup: 'both', addresses: [VIP6] }]
  const [best, second] = [150, 100].map((priority, index) =>
    pool.add(index + 1, ...groups.map((group) => ({ ...group, priority }))),
  )
  return { pool, best, second }
}
const groupStates = ({ service }: PoolMember) => service.status.map(({ state }) => state).join(' ')

test('groups of a sync group become active and yield together', async (t) => {
  const { pool, best, second } = syncedPairs()
  second.service.start()
  await pool.clock.advance(1000)
  t.equal(groupStates(second), 'active active')
  best.service.start()
  await pool.clock.advance(1000)
  t.same([groupStates(best), groupStates(second)], ['active active', 'backup backup'])
  best.crash()
  await pool.clock.advance(300)
  t.equal(groupStates(second), 'active active')
})

test('a group whose holder is heard keeps the others of its sync group back, and they say so', async (t) => {
  const { pool, best, second } = syncedPairs()
  pool.start()
  await pool.clock.advance(1000)
  pool.network.reach('fe80::1', 'fe80::2', false)
  await pool.clock.advance(2000)
  t.same([groupStates(best), groupStates(second)], ['active active', 'backup backup'])
  t.match(second.service.status[1].waiting, /until the other groups of its sync group can have theirs/)
  best.crash()
  await pool.clock.advance(300)
  t.equal(groupStates(second), 'active active')
})

test('a group that yields takes the others of its sync group along, though their rival does not hear them', async (t) => {
  const { pool, best, second } = syncedPairs()
  pool.partition([best], [second], true)
  pool.start()
  await pool.clock.advance(1000)
  t.same([groupStates(best), groupStates(second)], ['active active', 'active active'])
  for (const [from, to] of [
    [best.address, second.address],
    [second.address, best.address],
  ]) {
    pool.network.reach(from, to, true)
  }
  await pool.clock.advance(100)
  t.same([groupStates(best), groupStates(second)], ['active active', 'backup backup'])
  t.match(second.notes.join('\n'), /vrid 51 \(IPv6\): backup: vrid 51 of sync group both yields/)
  await pool.clock.advance(2000)
  t.equal(groupStates(second), 'backup backup', 'as long as one of the two is heard')
})

test('the fault of one group is the fault of its sync group, with the reason, until it is gone', async (t) => {
  const { pool, best, second } = syncedPairs()
  pool.start()
  await pool.clock.advance(1000)
  best.service.setFault('fe80::1', 'fe80::1 is no longer on eth0')
  t.equal(groupStates(best), 'fault fault')
  t.equal(best.service.status[0].waiting, 'vrid 51 (IPv6) of sync group both: fe80::1 is no longer on eth0')
  await pool.clock.advance(300)
  t.equal(groupStates(second), 'active active')
  best.service.setFault('fe80::1', undefined)
  await pool.clock.advance(1000)
  t.same([groupStates(best), groupStates(second)], ['active active', 'backup backup'])
})

test('a fault that all groups of a sync group have begins and ends once for each', async (t) => {
  const pool = new Pool()
  const common = { syncGroup: 'both', onStatus: ['/usr/bin/notify'] }
  const member = pool.add(1, common, { ...common, vrid: 52, addresses: ['10.0.0.101'] })
  pool.start()
  await pool.clock.advance(1000)
  const { length: told } = member.scripts
  member.service.setFault('director', 'the forwarder died')
  member.service.setFault('director', undefined)
  await pool.clock.advance(100)
  for (const name of ['vrid-51', 'vrid-52']) {
    const states = member.scripts.slice(told).filter((words) => words.includes(name))
    t.same(
      states.map((words) => words.split(' ')[3]),
      ['FAULT', 'BACKUP'],
    )
  }
})

test('a script is told of each state, in keepalived’s words', async (t) => {
  const pool = new Pool()
  const onStatus = ['/usr/bin/notify', '--verbose']
  const member = pool.add(1, { priority: 150, onStatus }, { addresses: [VIP6], vrid: 52 })
  pool.start()
  await pool.clock.advance(1000)
  member.service.setFault('director', 'the forwarder died')
  member.service.setFault('director', undefined)
  await pool.clock.advance(1000)
  void member.service.stop()
  await pool.clock.advance(1000)
  t.same(
    member.scripts,
    ['BACKUP', 'MASTER', 'FAULT', 'BACKUP', 'MASTER', 'STOP'].map(
      (state) => `/usr/bin/notify --verbose INSTANCE vrid-51 ${state} 150`,
    ),
  )
})

test('an event tells of each group at first, and then of the one that has changed', async (t) => {
  const pool = new Pool()
  const member = pool.add(1, {}, { vrid: 52, addresses: [VIP6] })
  const events: string[] = []
  const unfollow = followVips(
    member.service,
    () => 1,
    ({ event, vip }) => events.push(`${event} ${vip.vrid} ${vip.state}`),
  )
  pool.start()
  await pool.clock.advance(1000)
  member.service.setFault('fe80::1', 'fe80::1 is no longer on eth0')
  unfollow()
  member.service.setFault('fe80::1', undefined)
  t.same(events, [
    'vip_status 51 init',
    'vip_status 52 init',
    'vip_status 51 backup',
    'vip_status 52 backup',
    'vip_status 51 active',
    'vip_status 52 active',
    'vip_status 52 fault',
  ])
})
