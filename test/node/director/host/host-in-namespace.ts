/** Started by network.test.ts inside a network namespace of its own. */
import { type ChildProcess, spawnSync } from 'node:child_process'
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { existsSync, writeFileSync } from 'node:fs'
import tap, { type Test, test } from 'tap'
import { interfaceFacts } from '../../../../forwarder/sys/interface.ts'
import { systemClock } from '../../../../node/director/clock.ts'
import { lookForInterference, refuseInterference } from '../../../../node/director/host/interference.ts'
import { InterferenceWatch } from '../../../../node/director/host/interference-watch.ts'
import { runIp } from '../../../../node/director/host/ip-command.ts'
import { watchLinks } from '../../../../node/director/host/link-watch.ts'
import { readHostNetwork } from '../../../../node/director/host/network.ts'
import { createNamespace, createVethPair, ip, waitUntilUp } from '../../../forwarder/namespace.ts'
import { capture } from '../../../interop/capture.ts'
import { BASH } from '../../../support/bash.ts'
import { until } from '../../../until.ts'

const PLAN = { interfaces: ['host0'], addresses: ['10.0.0.100'] }

const client = await createNamespace()
tap.teardown(() => client.close())
createVethPair('host0', 'client0')
ip(`link set client0 netns ${client.pid}
  link set lo up
  address add 10.0.0.2/24 dev host0`)
ip('address add 10.0.0.9/24 dev client0\nlink set client0 up', client)
waitUntilUp('host0')
// Sends to the VIP as if the director had answered ARP for it: with the host's MAC.
const { interfaces } = await readHostNetwork(['host0'])
const mac = Array.from(interfaces[0].mac, (byte) => byte.toString(16).padStart(2, '0')).join(':')
ip(`neighbor replace 10.0.0.100 lladdr ${mac} dev client0`, client)

// Long before it matters that the host is silent: for some seconds it tells of the groups that its new addresses are in (MLD). The client
// has but one address of IPv6, so that whatever the host answers finds its way.
ip(`address add 2001:db8:1::2/64 dev host0 nodad
  address add fe80::2/64 dev host0 nodad`)
ip('address add 2001:db8:1::9/64 dev client0 nodad\nlink set client0 addrgenmode none', client)
const VIPS6 = ['2001:db8:1::100', '2001:db8:77::100']
ip('route add 2001:db8:77::/64 dev client0', client)
for (const vip of VIPS6) ip(`neighbor replace ${vip} lladdr ${mac} dev client0`, client)

function set(setting: 'ip_forward' | 'conf/host0/forwarding', value: '0' | '1'): void {
  writeFileSync(`/proc/sys/net/ipv4/${setting}`, value)
}

test('routes are read as the kernel has them', async (t) => {
  ip(`route add default via 10.0.0.1 mtu 1400
    route add 10.7.0.0/16 nexthop via 10.0.0.3 nexthop via 10.0.0.4
    route add blackhole 10.8.0.0/16`)
  const { interfaces: facts, routes } = await readHostNetwork(['host0'])
  t.match(facts, [{ name: 'host0', mtu: 1500, addresses: [{ address: '10.0.0.2', prefixLength: 24 }] }])
  const host0 = { link: 'host0', source: '10.0.0.2' }
  t.same(
    routes.filter(({ source }) => source === host0.source).sort((a, b) => a.prefixLength - b.prefixLength),
    [
      { destination: '0.0.0.0', prefixLength: 0, gateway: '10.0.0.1', ...host0, mtu: 1400 },
      { destination: '10.7.0.0', prefixLength: 16, gateway: '10.0.0.3', ...host0 },
      { destination: '10.0.0.0', prefixLength: 24, ...host0 },
    ],
  )
  ip('route del default')
})

/** Whether the host sends anything while a client sends a UDP packet and a SYN to the VIP. */
async function checkAnswers(t: Test, expected: 'silence' | 'answers'): Promise<void> {
  const traffic = await capture(t, 'host0', `ether src ${mac} and not ip6`)
  if (!traffic) return
  const [command, ...rest] = [...client.enter, ...BASH]
  for (const script of [
    'echo x > /dev/udp/10.0.0.100/53',
    'timeout 0.3 bash --norc -c "echo x > /dev/tcp/10.0.0.100/80"',
  ]) {
    spawnSync(command, [...rest, script])
  }
  // What has not been received by now, on a busy host, is answered later.
  if (expected === 'answers') await traffic.first()
  const packets = await traffic.read(['ip.src', 'ip.dst', 'ip.proto'])
  if (expected === 'silence') t.same(packets, [])
  else t.not(packets.length, 0, 'it interferes for real')
}

test('a host that is accepted sends nothing for the VIP', async (t) => {
  await refuseInterference(PLAN)
  await checkAnswers(t, 'silence')
})

test('nor does one that forwards between other interfaces only', async (t) => {
  set('ip_forward', '1')
  set('conf/host0/forwarding', '0')
  t.teardown(() => set('ip_forward', '0'))
  await refuseInterference(PLAN)
  await checkAnswers(t, 'silence')
})

test('a host that forwards would send on or answer, and is refused', async (t) => {
  set('ip_forward', '1')
  t.teardown(() => set('ip_forward', '0'))
  await t.rejects(refuseInterference(PLAN), {
    code: 'HOST_INTERFERES',
    message: /net\.ipv4\.conf\.host0\.forwarding = 1.*sysctl -w net\.ipv4\.conf\.host0\.forwarding=0/,
  })
  await checkAnswers(t, 'answers')
})

test('a host that has the VIP itself would answer, and is refused', async (t) => {
  ip('address add 10.0.0.100/32 dev lo')
  t.teardown(() => ip('address del 10.0.0.100/32 dev lo'))
  await t.rejects(refuseInterference(PLAN), {
    code: 'HOST_INTERFERES',
    message: /10\.0\.0\.100\/32 on lo: .*ip address del 10\.0\.0\.100\/32 dev lo/,
  })
  await checkAnswers(t, 'answers')
})

test('so is one with a local route that covers it, and the command named mends it', async (t) => {
  ip('route add local 10.0.0.96/28 dev lo table local')
  const error = await refuseInterference(PLAN).catch((thrown: Error) => thrown)
  t.match(error, { code: 'HOST_INTERFERES' })
  const command = /run "ip (.*)"/.exec((error as Error).message)![1]
  ip(command)
  await refuseInterference(PLAN)
})

test('so is one whose interface is a port of a bridge', async (t) => {
  ip('link add name bridge0 type bridge\nlink set host0 master bridge0')
  t.teardown(() => ip('link del bridge0'))
  await t.rejects(refuseInterference(PLAN), {
    code: 'HOST_INTERFERES',
    message: /host0 is a port of the bridge bridge0/,
  })
})

// The same with IPv6.
const PLAN6 = { interfaces: ['host0'], addresses: ['2001:db8:1::100'] }
function set6(setting: 'all/forwarding' | 'host0/forwarding' | 'host0/force_forwarding', value: '0' | '1'): void {
  writeFileSync(`/proc/sys/net/ipv6/conf/${setting}`, value)
}

/** What waits for a neighbour that does not exist is given up now: its sender would be told of that seconds later, in another test's middle. */
function forgetNeighbours(): void {
  ip('-6 neighbor flush dev host0')
}

/** As checkAnswers(). Neighbour discovery apart, and MLD, which alone has hop-by-hop options: the host asks and tells for its own purposes. */
async function checkAnswers6(t: Test, vip: string, expected: 'silence' | 'answers'): Promise<void> {
  const traffic = await capture(
    t,
    'host0',
    `ether src ${mac} and ip6 and ip6[6] != 0 and (not icmp6 or ip6[40] < 128 or ip6[40] == 137)`,
  )
  if (!traffic) return
  const [command, ...rest] = [...client.enter, ...BASH]
  for (const script of [`echo x > /dev/udp/${vip}/53`, `timeout 0.3 bash --norc -c "echo x > /dev/tcp/${vip}/80"`]) {
    spawnSync(command, [...rest, script])
  }
  // What has not been received by now, on a busy host, is answered later.
  if (expected === 'answers') await traffic.first()
  const packets = await traffic.read(['ipv6.src', 'ipv6.dst', 'icmpv6.type'])
  if (expected === 'silence') t.same(packets, [])
  else t.not(packets.length, 0, 'it interferes for real')
}

test('routes of IPv6 are read as the kernel has them', async (t) => {
  ip(`-6 route add default via fe80::1 dev host0
    -6 route add 2001:db8:7::/48 nexthop via 2001:db8:1::3 nexthop via 2001:db8:1::4
    -6 route add blackhole 2001:db8:8::/48`)
  t.teardown(() => ip('-6 route del default\n-6 route del 2001:db8:7::/48\n-6 route del blackhole 2001:db8:8::/48'))
  const { interfaces: facts, routes } = await readHostNetwork(['host0'])
  t.match(facts, [
    { addresses: [{ address: '10.0.0.2' }, { address: '2001:db8:1::2', prefixLength: 64 }, { address: 'fe80::2' }] },
  ])
  const host0 = { link: 'host0', source: '2001:db8:1::2' }
  t.same(
    routes.filter(({ destination }) => destination.includes(':')).sort((a, b) => a.prefixLength - b.prefixLength),
    [
      { destination: '::', prefixLength: 0, gateway: 'fe80::1', ...host0 },
      { destination: '2001:db8:7::', prefixLength: 48, gateway: '2001:db8:1::3', ...host0 },
      { destination: '2001:db8:1::', prefixLength: 64, ...host0 },
    ],
  )
})

test('a host that is accepted sends nothing for the VIP of IPv6, even if it calls itself a router', async (t) => {
  set6('host0/forwarding', '1')
  t.teardown(() => set6('host0/forwarding', '0'))
  await refuseInterference(PLAN6)
  await checkAnswers6(t, VIPS6[0], 'silence')
})

test('a host that forwards IPv6 would send on or answer, whatever the interface says, and is refused', async (t) => {
  set6('all/forwarding', '1')
  set6('host0/forwarding', '0')
  t.teardown(() => {
    set6('all/forwarding', '0')
    forgetNeighbours()
  })
  await t.rejects(refuseInterference(PLAN6), {
    code: 'HOST_INTERFERES',
    message: /net\.ipv6\.conf\.all\.forwarding = 1.*sysctl -w net\.ipv6\.conf\.all\.forwarding=0/,
  })
  await checkAnswers6(t, VIPS6[0], 'answers')
})

test('so is one that is forced to forward', async (t) => {
  if (!existsSync('/proc/sys/net/ipv6/conf/host0/force_forwarding')) {
    t.pass('not run: this kernel has no force_forwarding', { skip: true })
    return
  }
  set6('host0/force_forwarding', '1')
  t.teardown(() => {
    set6('host0/force_forwarding', '0')
    forgetNeighbours()
  })
  await t.rejects(refuseInterference(PLAN6), { message: /net\.ipv6\.conf\.host0\.force_forwarding = 1/ })
  await checkAnswers6(t, VIPS6[0], 'answers')
})

test('one without a route to the VIP of IPv6 would answer, and the command named mends it', async (t) => {
  const plan = { ...PLAN6, addresses: [VIPS6[1]] }
  await checkAnswers6(t, VIPS6[1], 'answers')
  const error = await refuseInterference(plan).catch((thrown: Error) => thrown)
  t.match(error, { code: 'HOST_INTERFERES', message: /no route to 2001:db8:77::100/ })
  ip(/run "ip (.*)"/.exec((error as Error).message)![1])
  await refuseInterference(plan)
  await checkAnswers6(t, VIPS6[1], 'silence')
})

test('a host that has the VIP of IPv6 itself would answer, and the command named mends it', async (t) => {
  ip('address add 2001:db8:1::100/128 dev lo nodad')
  await checkAnswers6(t, VIPS6[0], 'answers')
  const error = await refuseInterference(PLAN6).catch((thrown: Error) => thrown)
  t.match(error, { code: 'HOST_INTERFERES', message: /2001:db8:1::100\/128 on lo/ })
  ip(/run "ip (.*)"/.exec((error as Error).message)![1])
  await refuseInterference(PLAN6)
})

test('a carrier that is lost and found again is told, and so is an interface that is switched off', async (t) => {
  const told: (string | undefined)[] = []
  const watch = watchLinks([{ name: 'host0' }], {
    onFault: (_, fault) => told.push(fault),
    onReplaced: () => t.fail('it is the same'),
    warn: (message) => t.fail(message),
    onActivity: () => {},
  })
  t.teardown(() => watch.close())
  const steps: [change: () => void, fault: string | undefined][] = [
    [() => ip('link set client0 down', client), 'host0 has no carrier'],
    [() => ip('link set client0 up', client), undefined],
    [() => ip('link set host0 down'), 'host0 is down'],
    [() => ip('link set host0 up'), undefined],
  ]
  for (const [index, [change, fault]] of steps.entries()) {
    change()
    await until(() => told.length > index && told[told.length - 1] === fault)
  }
  t.ok(told.every((fault) => fault === undefined || fault.startsWith('host0 ')))
})

test('what is wrong from the beginning is known after the first look, which goes before what others start for it', async (t) => {
  ip('link set client0 down', client)
  t.teardown(() => ip('link set client0 up', client))
  const started: ChildProcess[] = []
  const note = (message: unknown) => void started.push((message as { process: ChildProcess }).process)
  subscribe('child_process', note)
  t.teardown(() => unsubscribe('child_process', note))
  const told: (string | undefined)[] = []
  const watch = watchLinks([{ name: 'host0' }], {
    onFault: (_, fault) => told.push(fault),
    onReplaced: () => t.fail('it is the same'),
    warn: (message) => t.fail(message),
    onActivity: () => void runIp(['rule', 'show']),
  })
  t.teardown(() => watch.close())
  await watch.known
  t.same(told, ['host0 has no carrier'])
  const [, ...looks] = started.map(({ spawnargs }) => spawnargs.slice(2).join(' '))
  t.same(looks.slice(0, 2), ['address show', 'rule show'])
})

test('an address that is watched is told when it goes, and when it is there and usable again', async (t) => {
  const told: string[] = []
  const address = 'fe80::2'
  const watch = watchLinks([{ name: 'host0' }, { name: 'host0', address }, { name: 'host0', address: '10.0.0.2' }], {
    onFault: (watched, fault) => told.push(`${watched.address}: ${fault}`),
    onReplaced: () => t.fail('it is the same'),
    warn: (message) => t.fail(message),
    onActivity: () => {},
  })
  t.teardown(() => watch.close())
  // Above it was switched off, and with that IPv6 addresses go.
  await until(() => told.at(-1) === `${address}: ${address} is no longer on host0`)
  ip(`address add ${address}/64 dev host0`)
  await until(() => told.at(-1) === `${address}: undefined`)
  t.ok(
    told.includes(`${address}: the kernel is making sure that nobody else on host0 has ${address}`),
    'not yet while it is tentative',
  )
  t.equal(told.length, 3, 'nothing of the others')
})

test('an interface that was made anew under its name, has another MAC, or was away is told to be another', async (t) => {
  createVethPair('host1', 'client1')
  t.teardown(() => ip('link del host1'))
  for (const [replace, reason] of [
    [
      () => {
        ip('link del host1')
        createVethPair('host1', 'client1')
      },
      /^host1 is another interface by now, number \d+ in place of \d+: the director must be started again$/,
    ],
    [
      () => ip('link set host1 address 02:00:00:00:00:77'),
      /^host1 has another MAC by now, 02:00:00:00:00:77 in place of [0-9a-f:]{17}: the director must be started again$/,
    ],
    [
      async (told: readonly (string | undefined)[]) => {
        const before = interfaceFacts('host1')
        ip(`link set host1 netns ${client.pid}`)
        await until(() => told.at(-1) === 'host1 is gone')
        ip(`link set host1 netns ${process.pid}`, client)
        t.same(interfaceFacts('host1'), before)
      },
      /^host1 was gone, and the kernel has forgotten who uses it: the director must be started again$/,
    ],
  ] as const) {
    const { index, mac } = interfaceFacts('host1')
    const told: (string | undefined)[] = []
    const replaced: string[] = []
    let looked = 0
    const watch = watchLinks([{ name: 'host1', identity: { index, mac } }], {
      onFault: (_, fault) => told.push(fault),
      onReplaced: (_, fault) => replaced.push(fault),
      onActivity: () => looked++,
      warn: (message) => t.fail(message),
    })
    t.teardown(() => watch.close())
    await until(() => looked > 0)
    await replace(told)
    await until(() => replaced.length > 0)
    t.match(replaced, [reason])
    t.equal(told.at(-1), replaced[0])
    t.equal(replaced.length, 1)
    watch.close()
  }
})

test('what begins to interfere while the director runs is told of, and what ends', async (t) => {
  const told: string[] = []
  const interference = new InterferenceWatch({
    look: () => lookForInterference(PLAN),
    onAppeared: (appeared) => told.push(appeared.replace(/:.*/, '')),
    onGone: () => told.push('gone'),
    warn: (message) => t.fail(message),
    clock: { ...systemClock, schedule: (delayMs, task) => systemClock.schedule(delayMs / 100, task) },
  })
  t.teardown(() => interference.stop())
  let activity = 0
  const watch = watchLinks([], {
    onFault: () => {},
    onReplaced: () => {},
    warn: (message) => t.fail(message),
    onActivity: () => {
      activity++
      interference.mayHaveChanged()
    },
  })
  t.teardown(() => watch.close())
  // The first at its start, the second when it listens for certain.
  await until(() => activity >= 2)
  const steps: [change: () => void, told: string][] = [
    [() => set('conf/host0/forwarding', '1'), 'net.ipv4.conf.host0.forwarding = 1'],
    [() => set('conf/host0/forwarding', '0'), 'gone'],
    [() => ip('address add 10.0.0.100/32 dev lo'), '10.0.0.100/32 on lo'],
    [() => ip('address del 10.0.0.100/32 dev lo'), 'gone'],
    [() => ip('route add local 10.0.0.96/28 dev lo table 77'), 'route local 10.0.0.96/28 dev lo table 77'],
    [() => ip('route del local 10.0.0.96/28 dev lo table 77'), 'gone'],
  ]
  for (const [index, [change, expected]] of steps.entries()) {
    change()
    await until(() => told.length > index)
    t.equal(told[index], expected)
  }
  const before = activity
  ip('rule add pref 2160 from 127.0.0.1 table 2160')
  await until(() => activity > before)
})
