/** A director that was active beside another, of which VRRP told nobody: the others hear of it over the cluster. */
import { test } from 'tap'
import { MemoryNetwork } from '../../../../node/director/cluster/memory-transport.ts'
import { decodeReigns, EndedReigns, encodeReigns, type Reign } from '../../../../node/director/vip/ended-reigns.ts'
import { VirtualClock } from '../../../../node/director/virtual-clock.ts'
import { pack } from '../../../../protocol/message-pack.ts'
import { Pool, type PoolMember, states, VIP6, type vipConfig } from './pool.ts'

/** Two directors that reach each other by the cluster; advertisements get through only in the ways that are open. */
async function duel(vips: Parameters<typeof vipConfig>[0][] = [{}]) {
  const ways = { toBest: true, toOther: true }
  const pool = new Pool((from) => ((from.endsWith('1') ? ways.toOther : ways.toBest) ? [0] : []))
  const best = pool.add(1, ...vips.map((vip) => ({ ...vip, priority: 150 })))
  const other = pool.add(2, ...vips.map((vip) => ({ ...vip, priority: 100 })))
  for (const member of [best, other]) await member.cluster.start()
  pool.start()
  await pool.clock.advance(3000)
  return { pool, best, other, ways }
}

const announcements = ({ transmitted }: PoolMember, sinceMs: number) =>
  transmitted.filter(({ atMs }) => atMs >= sinceMs).length

test('the one that stays active announces again when the other yields, though VRRP told it nothing', async (t) => {
  const { pool, best, other, ways } = await duel()
  ways.toOther = false
  ways.toBest = false
  await pool.clock.advance(1000)
  t.equal(states([best, other]), 'active active')
  const healedMs = pool.clock.now()
  ways.toOther = true
  await pool.clock.advance(200)
  t.equal(states([best, other]), 'active backup')
  t.ok(announcements(best, healedMs) > 0)
  t.match(best.notes.at(-1), 'vrid 51: 10.0.0.2 was active until now: announces the addresses again')
  best.notes.length = 0
  await pool.clock.advance(10_000)
  t.same(best.notes, [], 'once')
})

test('only the virtual router that it was is announced again', async (t) => {
  const { pool, best, other, ways } = await duel([
    {},
    { vrid: 51, addresses: [VIP6] },
    { vrid: 52, addresses: ['10.0.0.101'] },
  ])
  ways.toBest = false
  ways.toOther = false
  await pool.clock.advance(1000)
  // The two of the other groups are never heard to end.
  best.service.setFault('10.0.0.1', 'its socket is gone', '10.0.0.1')
  const healedMs = pool.clock.now()
  best.notes.length = 0
  ways.toOther = true
  await pool.clock.advance(200)
  t.equal(other.service.status.map(({ state }) => state).join(' '), 'active backup active')
  t.same(
    best.notes.filter((note) => note.includes('announces')),
    ['vrid 51 (IPv6): 10.0.0.2 was active until now: announces the addresses again'],
  )
  t.ok(announcements(best, healedMs) > 0)
})

test('of two others that are active the one is told that the director yields to', async (t) => {
  const ways = { isOpen: true }
  // The second and the third never hear each other.
  const pool = new Pool((from, to) => ((from.endsWith('1') || to.endsWith('1') ? ways.isOpen : from === to) ? [0] : []))
  const [yielding, other, third] = [1, 2, 3].map((last) => pool.add(last, { priority: 100 + 10 * last }))
  for (const member of pool.members) await member.cluster.start()
  ways.isOpen = false
  pool.start()
  await pool.clock.advance(3000)
  t.equal(states(pool.members), 'active active active')
  for (const { notes } of pool.members) notes.length = 0
  pool.network.reach('10.0.0.3', '10.0.0.1', true)
  ways.isOpen = true
  pool.network.reach('10.0.0.2', '10.0.0.1', false)
  pool.network.reach('10.0.0.1', '10.0.0.3', false)
  await pool.clock.advance(500)
  t.equal(states([yielding, other, third]), 'backup active active')
  t.same(third.notes, ['vrid 51: 10.0.0.1 was active until now: announces the addresses again'])
  t.same(
    other.notes.filter((note) => note.includes('until now')),
    [],
  )
})

test('who could not be told is told when it is reached', async (t) => {
  const clock = new VirtualClock()
  const network = new MemoryNetwork({ clock, random: () => 0.5 })
  const [d1, d2] = [network.join('d1', ['d2']), network.join('d2', ['d1'])]
  const heard: [reason: string, reign?: Reign][] = []
  const reign = { vrid: 51, family: 4 } as const
  const reigns = new EndedReigns({ transport: d1, ended: () => [reign], onOther: () => {} })
  new EndedReigns({ transport: d2, ended: () => [], onOther: (...what) => heard.push(what) })
  await d1.start()
  reigns.tell(reign)
  await clock.advance(1000)
  t.same(heard, [])
  await d2.start()
  await clock.advance(1000)
  t.same(heard, [['d1 is reached'], ['d1 was active until now', reign]])
})

test('a peer that is lost is no reason to announce: it may have been cut off, and announce as well', async (t) => {
  const { pool, best, ways } = await duel()
  ways.toOther = false
  ways.toBest = false
  await pool.clock.advance(1000)
  best.notes.length = 0
  pool.cluster.isolate('10.0.0.2')
  await pool.clock.advance(2000)
  t.same(pool.cluster.member('10.0.0.1')?.connectedPeers(), [])
  t.same(best.notes, [])
})

test('the message', async (t) => {
  const reigns = [
    { vrid: 51, family: 4, holder: '10.0.0.1' },
    { vrid: 255, family: 6 },
  ] as const
  t.same(decodeReigns(encodeReigns(reigns)), reigns)
  t.same(
    decodeReigns(pack({ version: 1, ended: reigns.map((reign) => ({ ...reign, why: 'yields' })), term: 7 })),
    reigns,
  )
})

const good = { version: 1, ended: [{ vrid: 51, family: 4 }] }
for (const [what, value] of [
  ['another version', { ...good, version: 2 }],
  ['no list', { version: 1 }],
  ['a virtual router that cannot be', { ...good, ended: [{ vrid: 0, family: 4 }] }],
  ['a family that cannot be', { ...good, ended: [{ vrid: 51, family: 5 }] }],
  ['more than there are', { ...good, ended: Array(511).fill(good.ended[0]) }],
] as const) {
  test(`${what} is not read`, async (t) => t.equal(decodeReigns(pack(value)), undefined))
}

test('neither is what is no MessagePack', async (t) => {
  for (const bytes of [new Uint8Array(), Uint8Array.of(0xc1), encodeReigns([]).subarray(0, -1)])
    t.equal(decodeReigns(bytes), undefined)
})
