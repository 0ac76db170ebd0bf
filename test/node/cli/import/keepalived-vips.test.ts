/** VRRP instances of a keepalived.conf: which groups of a director they become, and what is told of the rest. */
import { test } from 'tap'
import { imported, instance, OUTSIDE, told } from './keepalived-text.ts'

const together = (...names: string[]) => `vrrp_sync_group G {\n group {\n ${names.join('\n ')}\n }\n}\n`

test('groups of a sync group move together, and what an instance tracks or waits for comes along', async (t) => {
  const plain = { priority: 100, advertisementIntervalMs: 1000, version: 2 }
  t.same(imported(together('A', 'B') + instance('A', 1) + instance('B', 2)).vips, [
    { vrid: 1, ...plain, addresses: ['10.0.0.1'], syncGroup: 'G' },
    { vrid: 2, ...plain, addresses: ['10.0.0.2'], syncGroup: 'G' },
  ])
  const apart = imported(together('A', 'B') + instance('A', 1) + instance('B', 2, 'priority 90'))
  t.same(
    apart.vips.map(({ syncGroup }) => syncGroup),
    [undefined, undefined],
  )
  t.match(apart.omissions, [{ line: 1, message: /^vrrp_sync_group G: syncGroup: expected one priority/ }])
  const more =
    'version 2\n preempt_delay 30\n unicast_peer {\n 10.0.0.12\n }\n track_interface {\n eth1\n}\ntrack_interface {\n eth2 weight -20\n eth3 weight 2 reverse\n }'
  const { vips, omissions } = imported(instance('A', 1, more))
  const interfaces = [
    { name: 'eth1', weight: 0 },
    { name: 'eth2', weight: -20 },
  ]
  t.match(vips, [{ version: 2, preemptDelayMs: 30_000, unicastPeers: ['10.0.0.12'], track: { interfaces } }])
  t.match(omissions, [{ line: 16, message: /^eth3 weight 2 reverse: expected an interface/ }])
})

test('a group has the version of VRRP that keepalived would speak', async (t) => {
  const versions = (text: string) => imported(text).vips.map(({ version }) => version)
  t.same(versions(instance('A', 1)), [2], 'without a word')
  t.same(versions(`${instance('A', 1)}global_defs {\n vrrp_version 3\n}`), [undefined], 'by the default of the file')
  t.same(versions(`global_defs {\n vrrp_version 3\n}\n${instance('A', 1, 'version 2')}`), [2], 'by its own word')
  t.same(versions(instance('A', 1, 'version 3')), [undefined])
  t.same(versions(instance('A', 1, 'version 2', 'fd00::1')), [undefined], 'IPv6 is always 3')
  t.same(told(`global_defs {\n vrrp_version 2\n}\n${instance('A', 1)}`), [])
  t.match(told(`global_defs {\n vrrp_version 4\n}`), [/^2: vrrp_version 4: has no counterpart/])
})

test('version 2 counts in seconds, version 3 in centiseconds', async (t) => {
  const interval = (more: string, addresses?: string) =>
    imported(instance('A', 1, more, addresses)).vips[0].advertisementIntervalMs
  t.equal(interval('advert_int 0.2'), 1000)
  t.equal(interval('advert_int 2'), 2000)
  t.equal(interval('advert_int 2.5'), 3000)
  t.equal(interval('version 3\n advert_int 0.25'), 250)
  t.equal(interval('advert_int 0.25', 'fd00::1'), 250)
  t.match(told(instance('A', 1, 'advert_int 0.2')), [/^6: advert_int 0\.2: version 2 of VRRP has whole seconds: 1, as/])
  t.same(told(instance('A', 1, 'advert_int 2')), [])
  t.match(told(instance('A', 1, 'advert_int soon')), [/^1: vrrp_instance A: advertisementIntervalMs: .*10\.0\.0\.1/])
})

test('what keepalived does not heed with state MASTER is left out', async (t) => {
  const text = instance('A', 1, 'nopreempt\n preempt_delay 9\n state MASTER')
  t.match(imported(text).vips, [{ preempt: undefined, preemptDelayMs: undefined }])
  t.match(told(text), [/^1: /, /^6: nopreempt: .*`state MASTER`/, /^7: preempt_delay 9: .*`state MASTER`/])
  t.match(told(instance('A', 1, 'nopreempt\n priority 255')), [/^6: nopreempt: .* priority 255/])
  t.match(imported(instance('A', 1, 'nopreempt\n preempt')).vips, [{ preempt: undefined }])
})

test('who starts as master owns the addresses, unless there is a priority', async (t) => {
  const priority = (more: string) => imported(instance('A', 1, more)).vips[0].priority
  t.equal(priority('state MASTER'), 255)
  const conditional = told(instance('A', 1, 'state MASTER\n @main priority 150'))
  t.match(conditional, [/^1: vrrp_instance A: .* it is 255, as in keepalived$/, /^7: @main priority 150: conditions/])
  t.equal(priority('state MASTER\n priority 150'), 150)
  t.equal(priority('state BACKUP'), 100)
  t.same(told(instance('A', 1, 'state BACKUP')), [])
  for (const state of ['$STATE', 'master', '']) {
    t.equal(priority(`state ${state}`), 100)
    t.match(told(instance('A', 1, `state ${state}`)), [/^6: state.*: expected MASTER or BACKUP/])
  }
  t.match(told(instance('A', 1, 'priority high')), [/^1: vrrp_instance A: priority: .*10\.0\.0\.1/])
})

test('excluded addresses of the family that is advertised are advertised, and it is told what comes of that', async (t) => {
  const text = instance('A', 1, 'virtual_ipaddress_excluded {\n 10.0.0.8\n 10.0.0.9\n }')
  t.match(imported(text).vips, [{ addresses: ['10.0.0.1', '10.0.0.8', '10.0.0.9'] }])
  t.match(told(text), [/^6: virtual_ipaddress_excluded: advertised like .*both would hold all.* `vrid`.*`syncGroup`$/])
})

test('addresses of two families are two groups that move together', async (t) => {
  const ofTwo = instance('A', 1, '', '10.0.0.1\n fd00::1')
  t.match(imported(ofTwo).vips, [
    { vrid: 1, version: 2, addresses: ['10.0.0.1'], syncGroup: 'A' },
    { vrid: 1, version: undefined, addresses: ['fd00::1'], syncGroup: 'A' },
  ])
  t.match(told(ofTwo), [/^3: virtual_ipaddress: those of another family .* a group of their own$/])
  const inGroup = imported(together('A', 'B') + instance('A', 1, '', '10.0.0.1\n fd00::1') + instance('B', 2))
  t.same(
    inGroup.vips.map(({ syncGroup }) => syncGroup),
    ['G', 'G', 'G'],
  )
  const weighed = instance('A', 1, 'track_interface {\n eth9 weight 5\n }', '10.0.0.1\n fd00::1')
  t.match(imported(weighed).vips, [{ syncGroup: undefined }, { syncGroup: undefined }])
  t.match(told(weighed), [/^1: vrrp_instance A: its addresses of the two families move apart: track: /, /^3: /])
})

test('the instance inside that a sync group keeps with one outside becomes its gateway', async (t) => {
  const pair = instance('IN', 1, 'interface eth1', '192.168.1.1/24') + instance('OUT', 1, 'interface eth0')
  const { vips, omissions } = imported(OUTSIDE + pair + together('IN', 'OUT'))
  t.same(vips, [
    {
      ...{ vrid: 1, priority: 100, version: 2, advertisementIntervalMs: 1000 },
      ...{ addresses: ['10.0.0.1'], gateway: '192.168.1.1' },
    },
  ])
  t.match(omissions, [
    {
      line: 7,
      message: /^192\.168\.1\.1\/24: on eth1, the inside: it becomes the `gateway` of 10\.0\.0\.1, with which/,
    },
    { line: 9, message: /^interface eth1: the inside: write it to `interfaces\.inside`/ },
    { line: 16, message: /^interface eth0: .* `interfaces\.outside`/ },
  ])
  t.equal(omissions.length, 3)
})

test('an inside address that no group is sure to move with is told, with what to write', async (t) => {
  const inside = instance('IN', 1, 'interface eth1', '192.168.1.1')
  const outside = instance('OUT', 1, 'interface eth0')
  const lone = imported(OUTSIDE + inside + outside)
  t.match(lone.vips, [{ addresses: ['10.0.0.1'], gateway: undefined }])
  t.match(lone.omissions, [
    { line: 7, message: /on eth1, .* here eth0\. If .* write it as `gateway` to the group/ },
    {},
    {},
  ])
  const two = imported(
    OUTSIDE + inside + outside + instance('OUT2', 2, 'interface eth0') + together('IN', 'OUT', 'OUT2'),
  )
  t.match(two.vips, [
    { gateway: undefined, syncGroup: 'G' },
    { gateway: undefined, syncGroup: 'G' },
  ])
  t.match(two.omissions, [{ line: 7, message: /write it as `gateway`/ }, {}, {}, {}, { message: /^IN: is not here/ }])
  const unknown = imported(inside + instance('OUT', 2, 'interface eth0'))
  t.match(unknown.vips, [{ addresses: ['192.168.1.1'] }, { addresses: ['10.0.0.2'] }])
  t.match(unknown.omissions, [
    { line: 6, message: /^interface eth1: .* cannot be seen from the virtual servers: take out .*`gateway`/ },
    { line: 13, message: /^interface eth0: .* cannot be seen/ },
  ])
})

test('an address behind dev that is on the inside becomes the gateway of its own group', async (t) => {
  const excluded = 'interface eth0\n virtual_ipaddress_excluded {\n 192.168.1.1/24 dev eth1\n }'
  const apart = imported(OUTSIDE + instance('A', 1, excluded))
  t.match(apart.vips, [{ addresses: ['10.0.0.1'], gateway: '192.168.1.1' }])
  t.equal(apart.vips[0].addresses.length, 1)
  t.match(apart.omissions, [
    { line: 9 },
    { line: 11, message: /becomes the `gateway` of 10\.0\.0\.1, with which it moves$/ },
  ])
  t.equal(apart.omissions.length, 2)
  const advertised = imported(OUTSIDE + instance('A', 1, 'interface eth0', '10.0.0.1\n 192.168.1.1 dev eth1'))
  t.match(advertised.vips, [{ addresses: ['10.0.0.1'], gateway: '192.168.1.1' }])
  t.equal(advertised.vips[0].addresses.length, 1)
  t.match(advertised.omissions, [{ line: 8, message: /is not advertised any more\. keepalived compares/ }, {}])
  const onVirtualMac = instance('A', 1, 'interface eth0\n use_vmac vrrp.1', '10.0.0.1\n 10.0.0.2 dev vrrp.1')
  t.match(imported(OUTSIDE + onVirtualMac).vips, [{ addresses: ['10.0.0.1', '10.0.0.2'], gateway: undefined }])
  const elsewhere = imported(OUTSIDE + instance('A', 1, 'interface eth2', '10.0.0.1 dev eth0'))
  t.match(elsewhere.vips, [{ addresses: ['10.0.0.1'], gateway: undefined }])
  t.match(elsewhere.omissions, [
    { line: 7, message: /only the address is taken/ },
    { line: 9, message: /^interface eth2: write eth0, .* would not hear it on eth2/ },
  ])
})

test('a sync group tells what it has to do without', async (t) => {
  const text = together('A', 'B', 'NONE') + instance('A', 1) + instance('B', 2)
  t.match(imported(text).vips, [{ syncGroup: 'G' }, { syncGroup: 'G' }])
  t.match(told(text), [/^5: NONE: is not here, and the others/])
  const twice =
    together('A', 'B') + together('B', 'C').replace('G', 'H') + [1, 2, 3].map((n) => instance('?ABC'[n], n)).join('')
  t.same(
    imported(twice).vips.map(({ syncGroup }) => syncGroup),
    ['G', 'G', undefined],
  )
  t.match(told(twice), [/^7: vrrp_sync_group H: .*another group/, /^9: B: is in another/])
  const nameless = `${together('A', 'B').replace(' G', '')}${instance('A', 1)}${instance('B', 2)}`
  t.match(told(nameless), [/^1: vrrp_sync_group: expected a name/])
  const noted = `vrrp_sync_group G {\n group {\n A\n B\n }\n notify /bin/x\n track_interface {\n eth0\n }\n}\n`
  t.match(told(noted + instance('A', 1) + instance('B', 2)), [
    /^6: notify .*`onStatus`/,
    /^7: track_interface: .*`track`/,
  ])
})

test('the address of a virtual server that no group would hold is told', async (t) => {
  const virtual = (address: string) => `virtual_server ${address} 80 {\n protocol TCP\n}\n`
  const text = instance('A', 1) + virtual('10.0.0.1') + virtual('10.0.0.9')
  t.match(told(text), [/^11: virtual_server 10\.0\.0\.9 80: no vrrp_instance here has 10\.0\.0\.9/])
  t.equal(told(text).length, 1)
  t.same(told(virtual('10.0.0.9')), [], 'without any group they are in another file')
})

test('instances that keepalived moves apart do not move together because of a name', async (t) => {
  const names = (text: string) => imported(text).vips.map(({ syncGroup }) => syncGroup)
  const four = [1, 2, 3, 4].map((vrid) => instance('ABCD'[vrid - 1], vrid)).join('')
  const twice = together('A', 'B') + together('C', 'D') + four
  t.same(names(twice), ['G', 'G', undefined, undefined])
  t.same(told(twice), ['7: vrrp_sync_group G: there is a vrrp_sync_group of this name already'])
  const dual = instance('G', 3, 'virtual_ipaddress_excluded {\n fd00::1\n }')
  t.same(names(together('A', 'B') + instance('A', 1) + instance('B', 2) + dual), ['G', 'G', 'G-2', 'G-2'])
})

test('where keepalived would not hear a director, it is told', async (t) => {
  t.match(told('global_defs {\n vrrp_mcast_group4 224.0.0.99\n}'), [/^2: .* both would hold the addresses$/])
  t.same(told('global_defs {\n vrrp_mcast_group4 224.0.0.18\n vrrp_mcast_group6 ff02::12\n}'), [])
  t.match(told(instance('A', 1, 'mcast_dst_ip 224.0.0.99')), [/^6: .* both would hold the addresses$/])
  t.match(told(instance('A', 1, 'unicast_src_ip 10.0.0.9')), [/^6: .* its peers are to name that$/])
  const peers = instance('A', 1, 'unicast_peer {\n 10.0.0.12 min_ttl 255\n }\n unicast_peer {\n 10.0.0.13\n }')
  t.match(imported(peers).vips, [{ unicastPeers: ['10.0.0.12', '10.0.0.13'] }])
  t.match(told(peers), [/^7: 10\.0\.0\.12 min_ttl 255: only the address is taken: any hop limit is$/])
  t.match(imported(instance('A', 1, 'unicast_peer {\n }')).vips, [{ unicastPeers: undefined }])
})

test('the virtual MAC comes along, and another MAC in its place does not', async (t) => {
  for (const more of ['use_vmac', 'use_vmac vrrp.1', 'use_vmac vrrp.1\n unicast_peer {\n 10.0.0.12\n }']) {
    const { vips, omissions } = imported(instance('A', 1, more))
    t.equal(vips[0].virtualMac, true, more)
    t.equal(omissions.length, 0)
  }
  const other = imported(instance('A', 1, 'use_vmac vrrp.1 02:00:00:00:00:01\n vmac_xmit_base'))
  t.equal(other.vips[0].virtualMac, undefined)
  t.match(other.omissions, [
    { line: 6, message: /^use_vmac vrrp\.1 02:.*: the virtual MAC is the one of RFC 9568/ },
    { line: 7, message: /^vmac_xmit_base: advertisements come from the virtual MAC/ },
  ])
})
