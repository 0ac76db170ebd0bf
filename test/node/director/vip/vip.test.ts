/** Three directors, one VIP: who holds it, from when to when, and what their forwarders and neighbours are told. */
import { test } from 'tap'
import { ARP_REPLY, ARP_REQUEST, isIPv4Arp, readArp } from '../../../../protocol/packet/arp.ts'
import { formatIPv4 } from '../../../../protocol/packet/bytes.ts'
import { decodeAdvertisement, encodeAdvertisement } from '../../../../protocol/packet/vrrp.ts'
import { GATEWAY, Pool, PoolMember, placed, settled, states, threeDirectors, VIP, vipConfig, watch } from './pool.ts'

test('of three directors that start together, the one with the highest priority takes the VIP alone', async (t) => {
  const { pool, best } = threeDirectors()
  pool.start()
  t.same(Object.keys(await watch(pool, pool.members, 1000)), ['0', '1'], 'never two')
  t.equal(states(pool.members), 'active backup backup')
  t.equal(placed(pool.members), 'active standby standby')
  t.same(
    pool.members.map(({ service }) => service.status[0].holder),
    [best.address, best.address, best.address],
  )
})

test('after a crash exactly one other takes over, within four intervals', async (t) => {
  const { pool, best, second, third } = await settled()
  best.crash()
  const counts = await watch(pool, [second, third], 1000)
  t.ok(counts[0] <= 3 * 50 + 31 + 1, `${counts[0]} ms without a holder`)
  t.ok((counts[2] ?? 0) <= 2, 'two of equal priority agree as soon as they hear each other')
  t.equal(states([second, third]), 'backup active', 'the tie is broken by address')
})

test('a better director that comes back takes the VIP back, without a gap', async (t) => {
  const pool = new Pool()
  const second = pool.add(2, { priority: 100 })
  pool.start()
  await pool.clock.advance(1000)
  const best = pool.add(1, { priority: 150 })
  best.service.start()
  const counts = await watch(pool, pool.members, 1000)
  t.notOk(counts[0], 'never nobody')
  t.ok((counts[2] ?? 0) <= 1, 'two only until the loser has heard it')
  t.equal(states([second, best]), 'backup active')
  t.equal(placed([second, best]), 'lingering active')
  await pool.clock.advance(2000)
  t.equal(placed([second, best]), 'standby active')
})

test('a better director that is not in sync waits, says so, and takes the VIP when it is', async (t) => {
  const pool = new Pool()
  const second = pool.add(2, { priority: 100 })
  pool.start()
  await pool.clock.advance(1000)
  const best = pool.add(1, { priority: 150 })
  best.inSync = false
  best.service.start()
  t.same(await watch(pool, pool.members, 3000), { 1: 3000 })
  t.equal(second.state, 'active')
  t.match(best.service.status[0].waiting, /^not in sync; leaves the addresses with 10.0.0.2/)
  best.inSync = true
  await pool.clock.advance(300)
  t.equal(best.state, 'active')
  t.equal(best.service.status[0].waiting, null)
})

test('when the holder dies, a director in sync wins over a better one that is not', async (t) => {
  const { pool, best, second, third } = await settled()
  second.inSync = false
  best.crash()
  await watch(pool, [second, third], 1000)
  t.equal(states([second, third]), 'backup active')
})

for (const priorities of [
  [254, 2],
  [255, 1],
]) {
  test(`so does one of priority ${priorities[1]} over one of ${priorities[0]}, without both being active`, async (t) => {
    const pool = new Pool()
    const holder = pool.add(1, { priority: 200, preempt: false })
    const unsynced = pool.add(9, { priority: priorities[0] })
    const synced = pool.add(3, { priority: priorities[1] })
    unsynced.inSync = false
    holder.service.start()
    await pool.clock.advance(500)
    unsynced.service.start()
    synced.service.start()
    await pool.clock.advance(500)
    holder.crash()
    const counts = await watch(pool, [unsynced, synced], 1000)
    t.equal(synced.state, 'active')
    t.notOk(counts[2])
  })
}

test('a director that is not in sync takes the VIP when it is the last one left', async (t) => {
  const { pool, best, second, third } = await settled()
  second.inSync = false
  third.inSync = false
  best.crash()
  const counts = await watch(pool, [second, third], 1000)
  t.ok(counts[0] <= 4 * 50 + 31 + 1, `${counts[0]} ms without a holder`)
  t.equal(states([second, third]), 'backup active')
})

test('whoever is heard first when a partition heals, the one that stays announces again', async (t) => {
  const { pool, best, second, third } = await settled()
  for (let offset = 0; offset < 50; offset += 5) {
    pool.partition([best], [second, third], true)
    await pool.clock.advance(1500 + offset)
    const healedAt = pool.clock.now()
    pool.partition([best], [second, third], false)
    await pool.clock.advance(1100)
    t.equal(states(pool.members), 'active backup backup')
    const announced = best.transmitted.filter(({ atMs }) => atMs >= healedAt)
    t.ok(announced.length >= 10, `healed ${offset} ms later: ${announced.length} frames`)
  }
})

test('two sides of a partition both serve; when it heals, the better stays and announces again', async (t) => {
  const { pool, best, second, third } = await settled()
  pool.partition([best], [second, third], true)
  await pool.clock.advance(10_000)
  t.equal(states(pool.members), 'active backup active')
  const before = best.transmitted.length
  pool.partition([best], [second, third], false)
  const counts = await watch(pool, pool.members, 1000)
  t.ok(counts[2] <= 51, `${counts[2]} ms with two: until the next advertisement is heard`)
  t.equal(states(pool.members), 'active backup backup')
  t.ok(best.transmitted.length > before, 'the neighbours are told again')
})

test('a rival that does not hear us does not make us flood the network', async (t) => {
  const { pool, best, second, third } = await settled()
  pool.network.reach(best.address, third.address, false)
  pool.network.reach(second.address, third.address, false)
  await pool.clock.advance(10_000)
  t.equal(states(pool.members), 'active backup active')
  const before = best.transmitted.length
  await pool.clock.advance(10_000)
  const announcements = (best.transmitted.length - before) / 2
  t.ok(announcements >= 10 && announcements <= 55, `${announcements} announcements in 10 s`)
})

for (const first of ['timers', 'socket'] as const) {
  for (const standstillMs of [281, 5000]) {
    const how = `${standstillMs} ms, ${first} first`
    test(`an active director that stood still yields until it knows what its successor told meanwhile (${how})`, async (t) => {
      const { pool, best, second, third } = await settled()
      best.freeze()
      await pool.clock.advance(standstillMs)
      t.equal(states([second, third]), 'backup active')
      best.thaw(first)
      await pool.clock.advance(60)
      t.equal(states(pool.members), 'backup backup active')
      t.equal(best.placedState, 'lingering')
      await pool.clock.advance(3000)
      t.equal(states(pool.members), 'backup backup active', 'until it is in sync')
      best.inSync = true
      await pool.clock.advance(300)
      t.equal(states(pool.members), 'active backup backup')
    })
  }

  test(`a backup that stood still does not take the VIP from the living (${first} first)`, async (t) => {
    const { pool, best, second, third } = await settled()
    second.freeze()
    await pool.clock.advance(5000)
    second.thaw(first)
    t.same(await watch(pool, [best, third], 500), { 1: 500 })
    t.equal(states(pool.members), 'active backup backup')
  })
}

test('a backup whose whole machine stood still, socket and all, listens before it takes over', async (t) => {
  const { pool, best, second } = await settled()
  pool.network.reach(best.address, second.address, false)
  second.freeze()
  await pool.clock.advance(5000)
  pool.network.reach(best.address, second.address, true)
  second.thaw('timers')
  await pool.clock.advance(500)
  t.equal(states(pool.members), 'active backup backup')
  t.match(second.notes.join('\n'), /timer came \d+ ms late; listening before taking over/)
})

test('what waits in the socket is read before a timer decides', async (t) => {
  const { pool, best, second } = await settled()
  await pool.clock.until(() => second.service.status[0].holder === best.address, 100)
  second.freeze()
  // Longer than the active down interval of 180 ms, by less than what counts as a stall.
  await pool.clock.advance(200)
  second.thaw('timers')
  t.equal(second.state, 'backup')
  t.notMatch(second.notes.join('\n'), /late|active/)
})

test('a peer is answered with the checksum that it uses itself', async (t) => {
  const pool = new Pool()
  const member = pool.add(1)
  const checksums: string[] = []
  const strict = pool.network.join('10.0.0.2')
  strict.onDatagram((datagram) => {
    const decoded = decodeAdvertisement(datagram, '10.0.0.2')
    if (decoded.ok) checksums.push(decoded.checksum)
  })
  pool.start()
  await pool.clock.until(() => member.state === 'active', 1000)
  const advertisement = { version: 3 as const, vrid: 51, priority: 50, intervalMs: 50, addresses: [VIP] }
  strict.send(encodeAdvertisement(advertisement, '10.0.0.2', '224.0.0.18', 'message'), '224.0.0.18')
  await pool.clock.advance(1)
  t.same(checksums, ['pseudo-header', 'message'])
})

test('a takeover is announced five times in both forms, and five times again, for VIP and gateway', async (t) => {
  const pool = new Pool()
  const member = pool.add(1, { gateway: GATEWAY, addresses: [VIP, '10.0.0.101'] })
  pool.start()
  await pool.clock.until(() => member.state === 'active', 1000)
  const start = member.service.status[0].activeSinceMonotonicMs!
  await pool.clock.advance(15_000)
  t.same(
    member.placed.map(({ address, link, state }) => `${address} ${link} ${state}`),
    [`${VIP} outside active`, '10.0.0.101 outside active', `${GATEWAY} inside active`],
  )
  const expected = [0, 20, 50, 100, 200, 5000, 5020, 5050, 5100, 5200, 10_000, 15_000]
  for (const [address, link] of [
    [VIP, 'outside'],
    ['10.0.0.101', 'outside'],
    [GATEWAY, 'inside'],
  ]) {
    for (const operation of [ARP_REQUEST, ARP_REPLY]) {
      const times = member.transmitted
        .filter(({ link: via, frame }) => {
          const arp = readArp(frame, 14)
          return via === link && formatIPv4(arp.senderAddress) === address && arp.operation === operation
        })
        .map(({ atMs }) => Math.round(atMs - start))
      t.same(times, expected, `${address}, operation ${operation}`)
    }
  }
  for (const { frame } of member.transmitted) {
    const arp = readArp(frame, 14)
    t.ok(isIPv4Arp(frame, 14, frame.length - 14))
    t.same(frame.subarray(0, 6), new Uint8Array(6).fill(0xff))
    t.equal(arp.targetAddress, arp.senderAddress)
    t.same(arp.senderMac, frame.subarray(6, 12))
  }
})

test('a director that loses the VIP stops announcing it', async (t) => {
  const pool = new Pool()
  const second = pool.add(2, { priority: 100 })
  pool.start()
  await pool.clock.until(() => second.state === 'active', 1000)
  const best = pool.add(1, { priority: 150 })
  best.service.start()
  await pool.clock.until(() => second.state === 'backup', 1000)
  const count = second.transmitted.length
  await pool.clock.advance(10_000)
  t.equal(second.transmitted.length, count)
})

test('a director that stood still right after it took the VIP does not go on announcing it', async (t) => {
  const pool = new Pool()
  const [best, second] = [pool.add(1, { priority: 150 }), pool.add(2, { priority: 100 })]
  pool.start()
  await pool.clock.until(() => best.state === 'active', 1000)
  const { length: announced } = best.transmitted
  best.freeze()
  await pool.clock.advance(1000)
  t.equal(second.state, 'active')
  best.thaw('timers')
  await pool.clock.advance(300)
  t.equal(states(pool.members), 'backup active')
  t.equal(best.transmitted.length, announced, 'the second announcement was due first of all')
})

test('a fault hands the VIP over at once; its end takes part again', async (t) => {
  const { pool, best, second, third } = await settled()
  best.service.setFault('forwarder', 'the forwarder died')
  t.equal(best.state, 'fault')
  t.equal(best.service.status[0].waiting, 'the forwarder died')
  const counts = await watch(pool, [second, third], 300)
  t.ok(counts[0] <= 32, `${counts[0]} ms without a holder`)
  best.service.setFault('forwarder', undefined)
  await pool.clock.advance(1000)
  t.equal(best.state, 'active')
})

test('an active director whose host lets no advertisement out leaves the VIP to whom it hears, until one gets out', async (t) => {
  const { pool, best } = await settled()
  best.refused.add('224.0.0.18')
  const counts = await watch(pool, pool.members, 1000)
  await pool.clock.advance(4000)
  t.equal(states(pool.members), 'fault backup active')
  t.equal(placed(pool.members), 'standby standby active')
  t.match(best.service.status[0].waiting, /^10\.0\.0\.3 is active too, .* do not get out$/)
  t.ok(counts[2] <= 3 * 50 + 1, `${counts[2]} ms with two`)
  best.refused.clear()
  t.notOk((await watch(pool, pool.members, 1500))[0], 'the late resignation takes nothing from the successor')
  t.equal(states(pool.members), 'active backup backup')
})

test('a director whose host lets nothing out keeps the VIP while nobody else has it', async (t) => {
  const pool = new Pool()
  const only = pool.add(1)
  only.refused.add('224.0.0.18')
  pool.start()
  await pool.clock.advance(10_000)
  t.equal(only.state, 'active')
})

test('as long as one of its named peers can be reached, a director is not silent', async (t) => {
  const pool = new Pool()
  const unicastPeers = ['10.0.0.1', '10.0.0.2', '10.0.0.3']
  const [best, second, third] = [150, 100, 90].map((priority, index) => pool.add(index + 1, { priority, unicastPeers }))
  pool.start()
  await pool.clock.advance(1000)
  best.refused.add(second.address)
  await pool.clock.advance(2000)
  t.equal(states([best, second, third]), 'active active backup')
})

test('the interval goes down to 10 ms and up to 40 s', async (t) => {
  for (const advertisementIntervalMs of [10, 40_000]) {
    const pool = new Pool()
    const best = pool.add(1, { priority: 150, advertisementIntervalMs })
    const second = pool.add(2, { advertisementIntervalMs })
    pool.start()
    await pool.clock.advance(5 * advertisementIntervalMs)
    t.equal(states(pool.members), 'active backup')
    best.crash()
    await pool.clock.advance(3 * advertisementIntervalMs)
    t.equal(second.state, 'backup')
    await pool.clock.advance(advertisementIntervalMs)
    t.equal(second.state, 'active')
  }
})

test('groups on one network do not mix, and strange advertisements are counted', async (t) => {
  const pool = new Pool()
  const member = pool.add(1, { vrid: 51 })
  const stranger = pool.add(2, { vrid: 52, priority: 200 })
  pool.start()
  await pool.clock.advance(1000)
  t.equal(states([member, stranger]), 'active active')
  t.ok(member.service.refusals['unknown-vrid']! > 10)
  pool.network.join('10.0.0.7').send(Uint8Array.of(0x31, 51, 255, 1, 0, 5, 0, 0, 10, 0, 0, 100), '224.0.0.18')
  pool.network.join('10.0.0.8').send(new Uint8Array(3), '224.0.0.18')
  await pool.clock.advance(10)
  t.equal(member.service.refusals.checksum, 1)
  t.equal(member.service.refusals.length, 1)
  t.equal(member.state, 'active')
})

test('a change of state or holder is told to whoever asked', async (t) => {
  const { pool, best, second } = threeDirectors()
  const seen: string[] = []
  second.service.onChange(([status]) => seen.push(`${status.state} ${status.holder}`))
  pool.start()
  await pool.clock.advance(1000)
  best.crash()
  await pool.clock.advance(1000)
  t.same(seen, ['backup null', 'backup 10.0.0.1', 'active 10.0.0.2', 'backup 10.0.0.3'])
})

test('a peer that is set up differently is obeyed, and noted once', async (t) => {
  const pool = new Pool()
  pool.add(1, { priority: 150, addresses: [VIP, '10.0.0.101'], advertisementIntervalMs: 60 })
  const second = pool.add(2)
  pool.start()
  await pool.clock.advance(2000)
  t.equal(states(pool.members), 'active backup')
  const mismatches = second.notes.filter((note) => note.includes('advertises other'))
  t.equal(mismatches.length, 1)
  t.match(
    mismatches[0],
    /10\.0\.0\.1 advertises other interval 60 ms, here 50 ms; addresses 10\.0\.0\.100 10\.0\.0\.101/,
  )
})

test('several groups are one list for the forwarder, and each is elected by itself', async (t) => {
  const pool = new Pool()
  const both = [vipConfig(), vipConfig({ vrid: 52, addresses: ['10.0.0.200'] })]
  const one = new PoolMember(pool, '10.0.0.1', both)
  const other = pool.add(2, { vrid: 52, priority: 200, addresses: ['10.0.0.200'] })
  one.service.start()
  other.service.start()
  await pool.clock.advance(1000)
  t.same(one.placed, [
    { address: VIP, link: 'outside', state: 'active' },
    { address: '10.0.0.200', link: 'outside', state: 'standby' },
  ])
  t.same(other.placed, [{ address: '10.0.0.200', link: 'outside', state: 'active' }])
})
