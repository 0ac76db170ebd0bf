/** What the host is told so that it serves as a real server, as commands of ip(8) and settings; nothing is really changed. */
import { test } from 'tap'
import { isLoopback, LocalServers, rulesFor } from '../../../../node/director/host/local-servers.ts'

const service = (protocol: 'tcp' | 'udp' | 'fwm', port: number, ...servers: [address: string, port: number][]) => ({
  protocol,
  port,
  servers: servers.map(([address, port]) => ({ address, port })),
})

interface Host {
  local: LocalServers
  commands: string[]
  settings: string[]
  warnings: string[]
  addresses: Set<string>
}

function host(options: { rules?: number[]; fails?: boolean; failures?: Map<string, string> } = {}): Host {
  const commands: string[] = []
  const settings: string[] = []
  const warnings: string[] = []
  const addresses = new Set(['10.0.0.11'])
  const local = new LocalServers({
    forwarder: {
      async openHostDevice() {
        if (options.fails) throw new Error('no device')
        commands.push('open')
      },
    },
    mtu: 1400,
    warn: (error, message) => warnings.push(`${(error as Error).message}: ${message}`),
    run: async (words) => {
      if (words.includes('show')) return (options.rules ?? []).map((priority) => ({ priority }))
      const command = words.join(' ')
      commands.push(command)
      const failure = options.failures?.get(command)
      options.failures?.delete(command)
      if (failure) throw new Error(`Command failed: ip -json ${command}\nRTNETLINK answers: ${failure}\n`)
      return []
    },
    writeSetting: async (path, value) => {
      settings.push(`${path}=${value}`)
    },
    readAddresses: () => new Set(addresses),
  })
  return { local, commands, settings, warnings, addresses }
}

test('loopback and the host’s own addresses are local, all others are not', async (t) => {
  const { local, addresses } = host()
  t.same(
    ['127.0.0.1', '127.9.9.9', '10.0.0.11', '10.0.0.12'].map((address) => local.isLocal(address)),
    [true, true, true, false],
  )
  t.notOk(local.refresh())
  addresses.add('10.0.0.12')
  t.ok(local.refresh())
  t.ok(local.isLocal('10.0.0.12'))
  t.notOk(isLoopback('10.127.0.1'))
})

test('each local server has one rule, by protocol and port unless it is of loopback; port 0 is every port', async (t) => {
  const services = [
    service('tcp', 80, ['127.0.0.1', 8080], ['10.0.0.12', 80]),
    service('tcp', 81, ['127.0.0.1', 8080], ['10.0.0.11', 0]),
    service('tcp', 0, ['10.0.0.11', 0]),
    service('tcp', 0, ['127.0.0.2', 0]),
    service('fwm', 0, ['127.0.0.3', 0]),
    service('tcp', 80, ['2001:db8::11', 80], ['2001:db8::12', 80]),
  ]
  t.same(
    rulesFor(services, (address) => address.startsWith('127.') || address.endsWith('11')),
    [
      '-4 from 10.0.0.11 ipproto tcp',
      '-4 from 10.0.0.11 ipproto tcp sport 81',
      '-4 from 127.0.0.1',
      '-4 from 127.0.0.2',
      '-4 from 127.0.0.3',
      '-6 from 2001:db8::11 ipproto tcp sport 80',
    ],
  )
})

test('without a local server the host is left alone', async (t) => {
  const { local, commands, settings } = host()
  await local.setServices([service('tcp', 80, ['10.0.0.12', 80])])
  t.same([commands, settings], [[], []])
})

test('the device carries what the interfaces carry, before it is made and after; a host that refuses is reported', async (t) => {
  const device = (mtu: number) => `link set dev director-host mtu ${mtu}`
  const { local, commands, warnings } = host({ failures: new Map([[device(1320), 'Invalid argument']]) })
  await local.setMtu(1350)
  t.same(commands, [], 'there is no device yet')
  await local.setServices([service('tcp', 80, ['127.0.0.1', 80])])
  t.ok(commands.splice(0).includes(device(1350)))
  await local.setMtu(1350)
  await local.setMtu(1300)
  t.same(commands.splice(0), [device(1300)])
  await local.setMtu(1320)
  t.match(warnings, [/local servers may send more than the interfaces carry$/])
  t.same(commands.splice(0), [device(1320)])
  await local.setMtu(1500)
  await local.setMtu(1200)
  t.same(commands, [device(1400), device(1280)], 'what the forwarder has room for, and IPv6')
})

test('the device is made for the first local server, rules follow by difference, and none is left at the end', async (t) => {
  const { local, commands, settings } = host()
  await local.setServices([service('tcp', 80, ['127.0.0.1', 80])])
  t.same(commands.splice(0), [
    'open',
    'link set dev director-host mtu 1400',
    '-4 route replace default dev director-host table 2160',
    '-4 rule add pref 2160 from 127.0.0.1 table 2160',
  ])
  t.same(settings, [
    'ipv6/conf/director-host/addr_gen_mode=1',
    'ipv6/conf/director-host/disable_ipv6=1',
    'ipv4/conf/director-host/route_localnet=1',
    'ipv4/conf/director-host/rp_filter=2',
  ])
  await local.setServices([service('tcp', 80, ['127.0.0.1', 80]), service('udp', 53, ['10.0.0.11', 53])])
  t.same(commands.splice(0), ['-4 rule add pref 2160 from 10.0.0.11 ipproto udp sport 53 table 2160'])
  await local.close()
  t.same(commands, [
    '-4 rule del pref 2160 from 127.0.0.1 table 2160',
    '-4 rule del pref 2160 from 10.0.0.11 ipproto udp sport 53 table 2160',
  ])
  await local.setServices([service('tcp', 80, ['127.0.0.1', 80])])
  t.equal(commands.length, 2, 'what is told after it sets none')
})

test('rules that a director without power left behind are taken away, others are not', async (t) => {
  const { local, commands } = host({ rules: [0, 2160, 2160, 32766] })
  await local.setServices([])
  const each = (family: string) => [`${family} rule del pref 2160`, `${family} rule del pref 2160`]
  t.same(commands, [...each('-4'), ...each('-6')])
})

test('a host that cannot make the device is told of, and the director goes on', async (t) => {
  const { local, warnings } = host({ fails: true })
  await local.setServices([service('tcp', 80, ['127.0.0.1', 80])])
  t.match(warnings, [/^no device: .*local servers/])
})

test('a rule that could not be changed keeps no other from it, and is changed with the next change', async (t) => {
  const [first, second] = ['from 127.0.0.1 table 2160', 'from 127.0.0.2 table 2160']
  const failures = new Map([[`-4 rule add pref 2160 ${first}`, 'Cannot allocate memory']])
  const { local, commands, warnings } = host({ failures })
  const both = [service('tcp', 80, ['127.0.0.1', 80], ['127.0.0.2', 80])]
  await local.setServices(both)
  t.same(commands.splice(0).slice(-2), [`-4 rule add pref 2160 ${first}`, `-4 rule add pref 2160 ${second}`])
  await local.setServices(both)
  t.same(commands.splice(0), [`-4 rule add pref 2160 ${first}`])
  failures.set(`-4 rule del pref 2160 ${second}`, 'Operation not permitted')
  await local.setServices([])
  t.same(commands.splice(0).sort(), [`-4 rule del pref 2160 ${first}`, `-4 rule del pref 2160 ${second}`])
  await local.close()
  t.same(commands, [`-4 rule del pref 2160 ${second}`])
  t.match(warnings, [
    /Cannot allocate memory\n: a local server gets no packets: ip -4 rule add from 127\.0\.0\.1 has failed$/,
    /Operation not permitted\n: a routing rule is left over: ip -4 rule del from 127\.0\.0\.2 has failed$/,
  ])
})

test('rules that somebody else has removed are set again, and their route; nothing is touched while none is missing', async (t) => {
  const rules = [0, 32766]
  const { local, commands, warnings } = host({ rules })
  await local.restore()
  t.same([commands, warnings], [[], []])
  await local.setServices([service('tcp', 80, ['127.0.0.1', 80], ['127.0.0.2', 80])])
  const [, , ...routeAndRules] = commands.splice(0)
  rules.push(2160)
  await local.restore()
  t.same(commands.splice(0), routeAndRules)
  t.match(warnings, [/^1 of 2 rules of preference 2160 are gone: somebody has removed routing rules of local servers/])
  rules.push(2160)
  await local.restore()
  await local.close()
  await local.restore()
  t.same([commands.length, warnings.length], [2, 1], 'only the rules that the end removes')
})

test('a rule that is there, or is gone, by somebody else’s doing is as it should be', async (t) => {
  const rule = 'pref 2160 from 127.0.0.1 table 2160'
  const failures = new Map([
    [`-4 rule add ${rule}`, 'File exists'],
    [`-4 rule del ${rule}`, 'No such file or directory'],
  ])
  const { local, commands, warnings } = host({ failures })
  await local.setServices([service('tcp', 80, ['127.0.0.1', 80])])
  await local.setServices([])
  commands.length = 0
  await local.close()
  t.same([commands, warnings], [[], []])
})

test('the first local server of IPv6 lets the device have it', async (t) => {
  const { local, commands, settings, addresses } = host()
  addresses.add('2001:db8::11')
  local.refresh()
  await local.setServices([service('tcp', 80, ['10.0.0.11', 80])])
  commands.length = 0
  settings.length = 0
  await local.setServices([service('tcp', 80, ['2001:db8::11', 80])])
  t.same(commands.splice(0), [
    '-6 route replace default dev director-host table 2160',
    '-4 rule del pref 2160 from 10.0.0.11 ipproto tcp sport 80 table 2160',
    '-6 rule add pref 2160 from 2001:db8::11 ipproto tcp sport 80 table 2160',
  ])
  t.same(settings, ['ipv6/conf/director-host/disable_ipv6=0'])
})

test('a real server ::1 is warned of, once, and left alone', async (t) => {
  const { local, commands, warnings } = host()
  t.same([local.isLocal('::1'), local.concerns('::1'), local.concerns('2001:db8::1')], [false, true, false])
  await local.setServices([service('tcp', 80, ['::1', 80])])
  await local.setServices([service('tcp', 80, ['::1', 80]), service('tcp', 81, ['::1', 81])])
  t.match(warnings, [/real server ::1 gets no packets: give an address of the director/])
  t.same(commands, [])
})
