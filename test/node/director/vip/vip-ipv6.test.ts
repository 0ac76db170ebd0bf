/** VIPs of IPv6: announced, elected and given up as those of IPv4 (vip.test.ts), and beside them. */
import { test } from 'tap'
import { icmpv6Checksum } from '../../../../protocol/packet/icmpv6.ts'
import { readIPv6Text } from '../../../../protocol/packet/ipv6-address.ts'
import { isSoundNeighbourMessage } from '../../../../protocol/packet/neighbour-discovery.ts'
import { GATEWAY6, Pool, type PoolMember, VIP6 } from './pool.ts'

test('a takeover of IPv6 is announced to all nodes in the same rounds, for VIP and gateway', async (t) => {
  const pool = new Pool()
  const member = pool.add(1, { gateway: GATEWAY6, addresses: [VIP6] })
  pool.start()
  await pool.clock.until(() => member.state === 'active', 1000)
  const start = member.service.status[0].activeSinceMonotonicMs!
  await pool.clock.advance(10_001)
  const ip = 14
  const icmp = ip + 40
  for (const [address, link] of [
    [VIP6, 'outside'],
    [GATEWAY6, 'inside'],
  ]) {
    const sent = member.transmitted.filter(({ frame }) => readIPv6Text(frame, icmp + 8) === address)
    t.same(
      sent.map(({ atMs }) => Math.round(atMs - start)),
      [0, 20, 50, 100, 200, 5000, 5020, 5050, 5100, 5200, 10_000],
    )
    for (const { frame, link: via } of sent) {
      t.equal(via, link)
      t.same(frame.subarray(0, 6), Uint8Array.of(0x33, 0x33, 0, 0, 0, 1))
      t.equal(readIPv6Text(frame, ip + 24), 'ff02::1')
      t.ok(isSoundNeighbourMessage(frame, ip, icmp, frame.length - icmp))
      t.equal(icmpv6Checksum(frame, ip, icmp, frame.length - icmp), 0)
      t.equal(frame[icmp], 136, 'an advertisement')
      t.equal(frame[icmp + 4], 0xa0, 'from a router, overriding, not asked for')
      t.same(frame.subarray(icmp + 24), Uint8Array.of(2, 1, ...frame.subarray(6, 12)), 'the MAC it is sent from')
    }
  }
  t.equal(member.transmitted.length, 22)
})

test('a group of each family under one number are two virtual routers', async (t) => {
  const groups = (priority: number, priority6: number) => [{ priority }, { priority: priority6, addresses: [VIP6] }]
  const pool = new Pool()
  const one = pool.add(1, ...groups(150, 100))
  const other = pool.add(2, ...groups(100, 150))
  pool.start()
  await pool.clock.advance(1000)
  const held = ({ service }: PoolMember) => service.status.map(({ state, holder }) => `${state} ${holder}`)
  t.same(held(one), ['active 10.0.0.1', 'backup fe80::2'])
  t.same(held(other), ['backup 10.0.0.1', 'active fe80::2'])
  other.crash()
  await pool.clock.advance(500)
  t.same(held(one), ['active 10.0.0.1', 'active fe80::1'])
  t.same(one.service.refusals, {})
  t.match(one.notes.join('\n'), /vrid 51: active: .*\n(.*\n)*vrid 51 \(IPv6\): active: fe80::2 fell silent/)
})

test('of two directors of one priority the higher link-local address holds the VIP of IPv6', async (t) => {
  const pool = new Pool()
  const lower = pool.add(9, { addresses: [VIP6] })
  const higher = pool.add(10, { addresses: [VIP6] })
  pool.start()
  await pool.clock.advance(1000)
  t.equal(`${lower.state} ${higher.state}`, 'backup active')
})

test("two faults are over when both are, and a fault of one family's sender leaves the other family's VIP where it is", async (t) => {
  const pool = new Pool()
  const member = pool.add(1, {}, { addresses: [VIP6] })
  pool.start()
  const states = () => member.service.status.map(({ state }) => state)
  await pool.clock.advance(1000)
  t.same(states(), ['active', 'active'])
  member.service.setFault('fe80::1', 'fe80::1 is no longer on outside')
  t.same(states(), ['active', 'fault'])
  member.service.setFault('inside', 'inside has no carrier')
  t.same(states(), ['fault', 'fault'])
  member.service.setFault('fe80::1', undefined)
  t.same(states(), ['fault', 'fault'])
  member.service.setFault('inside', undefined)
  await pool.clock.advance(1000)
  t.same(states(), ['active', 'active'])
})
