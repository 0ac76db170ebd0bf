/** keepalived.conf imported: what becomes of its parts, and how it is told what becomes of nothing. */

import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'tap'
import { parse } from 'yaml'
import { runDirectorCommand } from '../../../../node/cli/director/program.ts'
import { parsePoolFile, printPoolFile } from '../../../../node/cli/pool-file.ts'
import { vipsSchema } from '../../../../node/director/vip/vip-config.ts'
import { imported, instance, OUTSIDE, told } from './keepalived-text.ts'

const service = (text: string) => imported(text).services[0]

const WHOLE = `! Configuration of a real pair
global_defs {
  router_id lb1
  lvs_timeouts tcp 7200 tcpfin 60 udp 30
}
vrrp_instance VI_1 {
  state BACKUP
  interface eth0
  virtual_router_id 51
  priority 150   # the other one: 100
  advert_int 0.5
  nopreempt
  authentication {
    auth_type PASS
    auth_pass topsecret
  }
  virtual_ipaddress {
    10.0.0.100/24 dev eth0 label eth0:1
    10.0.0.101
  }
  virtual_ipaddress_excluded {
    fd00::100/64
  }
}
virtual_server 10.0.0.100 80
{
  delay_loop 6
  lb_algo wrr
  lb_kind DR
  persistence_timeout 50
  protocol TCP
  sorry_server 10.0.0.9 80
  real_server 10.0.0.11 80 {
    weight 3
    TCP_CHECK {
      connect_port 80
      connect_timeout 3
    }
  }
  real_server 10.0.0.12 {
    uthreshold 100
    lthreshold 10
    HTTP_GET {
      url {
        path /
      }
    }
  }
}
include conf.d/*.conf
`

test('a file of a real pair becomes services, settings, and the vips of a director', async (t) => {
  const { services, settings, vips } = imported(WHOLE)
  t.same(services, [
    {
      protocol: 'tcp',
      address: '10.0.0.100',
      port: 80,
      scheduler: 'wrr',
      persistence: { timeoutS: 50, netmask: '255.255.255.255' },
      servers: [
        { address: '10.0.0.11', port: 80, method: 'dr', weight: 3 },
        { address: '10.0.0.12', port: 80, method: 'dr', weight: 1, upperThreshold: 100, lowerThreshold: 10 },
      ],
    },
  ])
  t.same(settings, { timeoutTcpS: 7200, timeoutTcpFinS: 60, timeoutUdpS: 30 })
  const common = { vrid: 51, priority: 150, advertisementIntervalMs: 1000, preempt: false, syncGroup: 'VI_1' }
  t.same(vips, [
    { ...common, version: 2, addresses: ['10.0.0.100', '10.0.0.101'] },
    { ...common, addresses: ['fd00::100'] },
  ])
})

test('what cannot be carried over is told by line, and no secret with it', async (t) => {
  const lines = told(WHOLE)
  t.match(lines, [
    '3: router_id lb1: has no counterpart here',
    /^8: interface eth0: .*`interfaces.outside`/,
    /^11: advert_int 0\.5: version 2/,
    /^13: authentication: advertisements carry no password/,
    /^18: 10\.0\.0\.100\/24 dev eth0 label eth0:1: only the address is taken/,
    /^27: delay_loop 6: .*`health`/,
    /^32: sorry_server 10\.0\.0\.9 80: there are no sorry servers/,
    /^37: connect_timeout 3: .*`health`/,
    /^43: HTTP_GET: servers are checked by a TCP connection alone/,
    /^50: include conf\.d\/\*\.conf: not followed/,
  ])
  t.equal(lines.length, 10)
  t.notMatch(lines.join('\n'), /topsecret/)
})

const server = 'real_server 10.1.0.1 8080 { }'
const services: [sentence: string, text: string, expected: object][] = [
  [
    'without a word about it: wlc, NAT',
    `virtual_server 10.0.0.1 80 { protocol TCP \n ${server}\n }`,
    { protocol: 'tcp', scheduler: 'wlc', servers: [{ port: 8080, method: 'nat', weight: 1 }] },
  ],
  [
    'the newer names of algorithm and method',
    `virtual_server 10.0.0.1 80 { protocol TCP\n lvs_sched sed\n lvs_method TUN\n real_server 10.1.0.1 { }\n}`,
    { scheduler: 'sed', servers: [{ method: 'tun' }] },
  ],
  [
    'a method of one server, and of all others that comes after them',
    `virtual_server 10.0.0.1 80 { protocol TCP\n real_server 10.1.0.1 80 {\n lvs_method NAT\n }\n real_server 10.1.0.2 80 { }\n lvs_method TUN type gue port 6080 csum\n}`,
    {
      servers: [
        { method: 'nat', tunnel: undefined },
        { method: 'tun', tunnel: { type: 'gue', port: 6080, checksum: 'plain' } },
      ],
    },
  ],
  [
    'a weight of all servers that have none',
    `virtual_server 10.0.0.1 80 { protocol TCP\n real_server 10.1.0.1 80 {\n weight 2\n }\n ${server}\n weight 5\n}`,
    { servers: [{ weight: 2 }, { weight: 5 }] },
  ],
  ['UDP by the packet', `virtual_server 10.0.0.1 53 {\n protocol UDP\n ops\n}`, { protocol: 'udp', onePacket: true }],
  [
    'flags of a scheduler',
    `virtual_server 10.0.0.1 80 { protocol TCP\n sh-port\n flag-1\n lb_algo sh\n}`,
    { scheduler: 'sh', schedulerFlags: ['sh-fallback', 'sh-port'] },
  ],
  [
    'persistence without a time: six minutes',
    `virtual_server 10.0.0.1 80 { protocol TCP\n persistence_timeout\n persistence_granularity 255.255.255.0\n}`,
    { persistence: { timeoutS: 360, netmask: '255.255.255.0' } },
  ],
  [
    'persistence over IPv6',
    `virtual_server fd00::1 80 { protocol TCP\n persistence_timeout 9\n}`,
    { address: 'fd00::1', persistence: { timeoutS: 9, netmask: '128' } },
  ],
  [
    'every port, with persistence',
    `virtual_server 10.0.0.1 { protocol TCP\n persistence_timeout 9\n ${server}\n}`,
    { port: 0 },
  ],
]
for (const [sentence, text, expected] of services) {
  test(`a virtual server: ${sentence}`, async (t) => {
    t.match(service(text), expected)
    t.same(told(text), [])
  })
}

const marks: typeof services = [
  [
    'a firewall mark, whose family is that of its servers',
    `virtual_server fwmark 7 {\n real_server fd00::1 { }\n}`,
    { protocol: 'fwm', mark: 7, address: '::', port: 0, servers: [{ port: 0 }] },
  ],
  [
    'a firewall mark of a group, whose family is said there',
    `virtual_server group A {\n ip_family inet\n}\nvirtual_server_group A {\n fwmark 7 inet6\n}`,
    { mark: 7, address: '::' },
  ],
  ['a firewall mark, whose family is said', `virtual_server fwmark 7 {\n ip_family inet6\n}`, { address: '::' }],
]
for (const [sentence, text, expected] of marks) {
  test(`a virtual server: ${sentence}, and it is told who marks packets`, async (t) => {
    t.match(service(text), expected)
    t.match(told(text), [/fwmark 7( inet6)?: packets are marked by the rules of `director mark`/])
    t.equal(told(text).length, 1)
  })
}

test('a group becomes a service for each of its members, and of ranges for each address', async (t) => {
  const text = `virtual_server group WEB { protocol TCP\n lb_algo rr\n real_server 10.1.0.1 8080 { }\n}
virtual_server_group WEB {\n 10.0.0.1 80\n 10.0.0.3-5 81\n fd00::9-b 82\n fwmark 3\n 10.0.0.0/24 80\n}`
  t.same(
    imported(text).services.map(({ address, port, mark }) => [address, port, mark]),
    [
      ['10.0.0.1', 80, undefined],
      ['10.0.0.3', 81, undefined],
      ['10.0.0.4', 81, undefined],
      ['10.0.0.5', 81, undefined],
      ['0.0.0.0', 0, 3],
    ],
  )
  t.match(told(text), [
    /^3: real_server 10\.1\.0\.1 8080: .*IP version/,
    /^8: fd00::9-b 82: none of its servers/,
    /^9: fwmark 3: .*`director mark`/,
    /^10: 10\.0\.0\.0\/24 80: expected an address/,
  ])
})

test('a virtual server without a protocol is UDP, as in keepalived, and told', async (t) => {
  const group = 'virtual_server_group A {\n 10.0.0.1 80\n 10.0.0.2 80\n fwmark 1\n}\nvirtual_server group A {\n}'
  t.match(imported(group).services, [{ protocol: 'udp' }, { protocol: 'udp' }, { protocol: 'fwm' }])
  t.match(told(group), [
    /^4: fwmark 1: .*`director mark`/,
    '6: virtual_server group A: has no `protocol`: it is UDP, as in keepalived',
  ])
  t.match(told('virtual_server 10.0.0.1 80 {\n protocol OSI\n}'), [/^2: protocol OSI: .* it becomes UDP, as in/])
})

const omissions: [text: string, told: RegExp[]][] = [
  [
    'virtual_server 10.0.0.1 80 { protocol TCP\n lb_algo best\n}',
    [/^2: lb_algo best: there is no such scheduler here: it becomes wlc$/],
  ],
  ['virtual_server 10.0.0.1 80 { protocol TCP\n lb_kind PIGEON\n}', [/^2: lb_kind PIGEON: expected NAT/]],
  ...['ipip port 6080', 'ipip csum', 'gre port 6080'].map((tunnel): [string, RegExp[]] => [
    `virtual_server 10.0.0.1 80 { protocol TCP\n lb_kind TUN type ${tunnel}\n}`,
    [new RegExp(`^2: lb_kind TUN type ${tunnel}: expected NAT, DR or TUN with a known tunnel`)],
  ]),
  ['virtual_server 10.0.0.1 80 { protocol TCP\n lb_algo rr\n sh-port\n}', [/^3: sh-port: incompatible scheduler flag/]],
  ['virtual_server 10.0.0.1 { protocol TCP\n}', [/^1: virtual_server 10\.0\.0\.1: port 0 is every port, which only/]],
  ['virtual_server 10.0.0.1 99999 { protocol TCP\n}', [/^1: .*: port: /]],
  ['virtual_server www 80 {\n}', [/^1: virtual_server www 80: expected an address/]],
  ['virtual_server', [/^1: virtual_server: expected an address/]],
  [
    'virtual_server_group A {\n 10.0.0.1 80\n}\nvirtual_server_group A {\n}\nvirtual_server_group {\n}',
    [/^1: .* A: no virtual_server is of/, /^4: .* A: there is a group of this name/, /^6: .*group: no virtual_server/],
  ],
  [
    'virtual_server group A { protocol TCP\n}\nvirtual_server_group A {\n fwmark 1 ipv6\n}',
    [/^4: fwmark 1 ipv6: expected an address with a port, or fwmark/],
  ],
  [
    'virtual_server 10.0.0.1 80 {\n protocol TCP\n persistence_timeout long\n persistence_timeout 0\n ops\n ip_family six\n}',
    [/^3: .*: expected seconds/, /^4: .*: expected seconds/, /^5: ops: only UDP and/, /^6: .*: expected inet/],
  ],
  [
    'virtual_server 10.0.0.1 80 {\n protocol TCP\n real_server 10.1.0.1 80 {\n weight heavy\n }\n}',
    [/^4: weight heavy: expected a whole number/],
  ],
  ['virtual_server group NONE {\n}', [/^1: .*: there is no such virtual_server_group/]],
  [
    'virtual_server 10.0.0.1 80 { protocol TCP }\nvirtual_server 10.0.0.1 80 { protocol TCP }',
    [/^2: .*: tcp 10\.0\.0\.1:80 is there already/],
  ],
  [
    'virtual_server fd00:0::1 80 { protocol TCP }\nvirtual_server FD00::1 80 { protocol TCP }',
    [/^2: .*: tcp \[fd00::1\]:80 is there already/],
  ],
  [
    'virtual_server fd00::1 80 { protocol TCP\n real_server fd00:0::2 80 { }\n real_server fd00::2 80 { }\n}',
    [/^3: real_server fd00::2 80: this server is there already/],
  ],
  ['virtual_server fe80::1%eth0 80 { protocol TCP }', [/^1: .*: address: .* without a zone/]],
  [
    'virtual_server 10.0.0.1 80 { protocol TCP\n real_server www 80 { }\n}',
    [/^1: virtual_server 10.0.0.1 80: none of its servers/, /^2: real_server www 80: expected an address/],
  ],
  [
    'virtual_server 10.0.0.1 80 { protocol TCP\n real_server 10.1.0.1 80 { }\n real_server 10.1.0.1 80 { }\n}',
    [/^3: real_server 10\.1\.0\.1 80: this server is there already/],
  ],
  [
    'virtual_server 10.0.0.1 53 {\n protocol UDP\n real_server 10.1.0.1 53 {\n TCP_CHECK { }\n }\n}',
    [/^4: TCP_CHECK: only servers of TCP services with/],
  ],
  [
    'virtual_server 10.0.0.1 80 { protocol TCP\n real_server 10.1.0.1 80 {\n TCP_CHECK {\n connect_port 81\n }\n }\n}',
    [/^4: connect_port 81: a server is checked at its own/],
  ],
  [
    'vrrp_instance A {\n virtual_router_id 300\n virtual_ipaddress {\n 10.0.0.1\n }\n}',
    [/^1: vrrp_instance A: vrid: /],
  ],
  [
    'vrrp_instance A {\n virtual_router_id 3\n virtual_ipaddress {\n www\n }\n}',
    [/^1: .*no group without addresses/, /^4: www: expected/],
  ],
  ['vrrp_instance A {\n}', [/^1: vrrp_instance A: there is no group without addresses/]],
  [instance('A', 1) + instance('A', 2), [/^8: vrrp_instance A: there is an instance of this name already/]],
  [instance('A', 1, 'notify_master /bin/x'), [/^6: .*`onStatus`/]],
  [instance('A', 1, 'track_interface {\n eth$N\n }'), [/^7: eth\$N: expected an interface/]],
  ['vrrp_sync_group G {\n group {\n A\n }\n}', [/^1: vrrp_sync_group G: none of its instances/, /^3: A: is not here/]],
  ['global_defs {\n lvs_timeouts tcp soon\n lvs_sync_daemon eth0\n}', [/^2: .*: expected tcp/, /^3: .*--start-daemon/]],
  ['global_defs {\n lvs_timeouts\n lvs_timeouts udp 2678401\n}', [/^2: .*: expected tcp/, /^3: .* up to 2678400$/]],
  ['$PORT=80\n@lb1 virtual_server 10.0.0.1 80 { }', [/^1: \$PORT= \.\.\.: conditions and/, /^2: @lb1 virtual_server/]],
  [
    '}\n{\n}\nglobal_defs {',
    [/^1: }: there is no block/, /^2: {: nothing is before/, /^4: {: this block is never closed/],
  ],
  ['static_routes "a b\n', [/^1: ": the quotes are not closed/, /^1: static_routes a b: has no counterpart/]],
  ['include_check readable', [/^1: include_check readable: has no counterpart/]],
  ['include x\nincluder y', [/^1: include x: not followed/, /^2: includer y: not followed/]],
]
for (const [text, expected] of omissions) {
  test(`told by line: ${JSON.stringify(text)}`, async (t) => {
    const lines = told(text)
    t.match(lines, expected)
    t.equal(lines.length, expected.length, lines.join('\n'))
  })
}

test('every port without persistence gets that of keepalived, and so does the rest of its group', async (t) => {
  const persistence = (text: string) => imported(text).services.map((each) => each.persistence)
  const sixMinutes = { timeoutS: 360, netmask: '255.255.255.255' }
  t.same(persistence('virtual_server 10.0.0.1 {\n protocol TCP\n}'), [sixMinutes])
  const group = 'virtual_server group A {\n protocol TCP\n}\nvirtual_server_group A {\n 10.0.0.1 80\n 10.0.0.2 0\n}'
  t.same(persistence(group), [sixMinutes, sixMinutes])
  t.match(told(group), [/^6: 10\.0\.0\.2 0: port 0 is every port, .* 360 s/])
  const given = 'virtual_server 10.0.0.1 {\n protocol TCP\n persistence_timeout 9\n}'
  t.match(persistence(given), [{ timeoutS: 9 }])
  t.same(told(given), [])
  t.same(persistence('virtual_server fwmark 7 {\n}'), [undefined])
})

test('a flag that is not its scheduler’s leaves the others', async (t) => {
  const text = 'virtual_server 10.0.0.1 80 { protocol TCP\n lb_algo sh\n mh-port\n sh-port\n flag-1\n mh-fallback\n}'
  t.same(service(text).schedulerFlags, ['sh-fallback', 'sh-port'])
  t.match(told(text), [/^3: mh-port: incompatible scheduler flag/, /^6: mh-fallback: incompatible scheduler flag/])
  t.equal(told(text).length, 2)
})

test('what is beyond all bounds is no keepalived.conf', async (t) => {
  t.throws(() => imported('a {\n'.repeat(17)), {
    code: 'CONFIG_INVALID',
    message: /^keepalived.conf:17: blocks more than 16/,
  })
  t.throws(() => imported('a '.repeat(1025)), {
    code: 'CONFIG_INVALID',
    message: /^keepalived.conf:1: more than 1024 words/,
  })
  t.throws(() => imported('#'.repeat(8 * 1024 * 1024 + 1)), { code: 'CONFIG_INVALID' })
})

test('words, comments and quotes are read as keepalived reads them', async (t) => {
  const text = `a"b c"d 'e "f' \\"g # no more\nh\\\n i ! no more\r\n"j \\" k"{}l`
  t.same(told(text), [
    '1: ab cd e "f "g: has no counterpart here',
    '2: h i: has no counterpart here',
    '4: j " k: has no counterpart here',
    '4: l: has no counterpart here',
  ])
  t.same(told('h\\\r\ni\r\n'), ['1: h i: has no counterpart here'], 'with the lines of another system')
})

test('definitions of one line and of several, conditions and sequences leave the rest as it is', async (t) => {
  const text = `$VS= \\
  virtual_server 10.0.0.\${N} 80 { \\
    real_server 10.1.0.\${N} 80 { \\
    } \\
  }
$VS
virtual_server \${ADDRESS} 80 {
  real_server 10.1.0.1 \${_RANDOM 1 9} {
  }
}
~SEQ(N, 1, 4) virtual_server 10.0.0.\${N} 80 {
}
virtual_server 10.0.0.9 80 {
  protocol TCP
  @main lb_algo rr
  real_server 10.1.0.1 80 {
  }
}
`
  t.match(imported(text).services, [{ address: '10.0.0.9', servers: [{ address: '10.1.0.1' }] }])
  t.equal(imported(text).services.length, 1)
  t.match(told(text), [
    /^1: \$VS= \.\.\.: conditions and definitions/,
    /^6: \$VS: conditions/,
    /^7: virtual_server \${ADDRESS} 80: expected an address/,
    /^8: real_server 10\.1\.0\.1 \${_RANDOM 1 9}: expected an address and a port/,
    /^11: ~SEQ\(N, 1, 4\) virtual_server/,
    /^15: @main lb_algo rr: conditions/,
  ])
})

test('all blocks of a definition are passed over with it', async (t) => {
  const block = (address: string) => `virtual_server ${address} 80 { \\\n protocol TCP \\\n } \\\n`
  const { services, omissions } = imported(`$TWO= \\\n${block('10.0.0.2')}${block('10.0.0.3')}# no more\n${OUTSIDE}`)
  t.match(omissions, [{ line: 1, message: /^\$TWO= \.\.\.: conditions and definitions/ }])
  t.equal(omissions.length, 1)
  t.match(services, [{ address: '10.0.0.1' }])
  t.equal(services.length, 1)
  // Within a line it takes no brace.
  t.match(told('a { $X=1 }\n$Y=}\nb'), [/^1: \$X= /, /^1: a: has no/, /^2: \$Y= \.\.\.: conditions/, /^3: b: has no/])
})

test('no secret is repeated, wherever it stands', async (t) => {
  const texts = [
    '$PASS=topsecret',
    'vrrp_instance A {\n authentication {\n @main auth_pass topsecret\n }\n}',
    'vrrp_instance A {\n auth_pass topsecret\n}',
    'vrrp_instance A {\n authentication {\n auth_pass "topsecret\n }\n}',
    'SSL {\n password topsecret\n}',
    '@main password topsecret',
  ]
  for (const text of texts) {
    t.notMatch(told(text).join('\n'), /topsecret/, text)
    t.not(told(text).length, 0)
  }
})

test('odd files are read to their end', async (t) => {
  t.same(imported(''), { services: [], settings: {}, vips: [], omissions: [] })
  t.same(told('a \\'), ['1: a: has no counterpart here'])
  t.same(told('a\fb\vc'), ['1: a b c: has no counterpart here'])
  t.same(told('\ufeffa\u00a0b c'), ['1: \ufeffa\u00a0b c: has no counterpart here'])
  t.same(told('a\x1b[2J\0'), ['1: a?[2J?: has no counterpart here'])
  const binary = Array.from({ length: 4096 }, (_, at) => String.fromCharCode((at * 7919) % 256)).join('')
  t.match(imported(binary), { services: [], vips: [] })
  const open = `${OUTSIDE.slice(0, -2)} real_server 10.1.0.1 80 {\nvirtual_server 10.0.0.2 80 {\n}\n`
  t.match(imported(open).services, [{ address: '10.0.0.1', servers: [{ address: '10.1.0.1' }] }])
  t.match(told(open), [/^1: {: .*never closed/, /^3: {: .*never closed/, /^4: virtual_server 10\.0\.0\.2 80: has no/])
})

test('director import prints what config apply takes, and the rest on stderr', async (t) => {
  const file = join(t.testdir(), 'keepalived.conf')
  writeFileSync(file, WHOLE)
  let [stdout, stderr] = ['', '']
  const run = (path: string) =>
    runDirectorCommand(['import', path], { write: (text) => (stdout += text) }, { write: (text) => (stderr += text) })
  t.equal(await run(file), 0)
  t.same(parsePoolFile(stdout, 'x').content.services, imported(WHOLE).services)
  const vips = parse(
    stdout
      .split('\n')
      .filter((line) => line.startsWith('# '))
      .slice(1)
      .map((line) => line.slice(2))
      .join('\n'),
  )
  t.same(vipsSchema.parse(vips.vips).length, 2)
  t.match(stdout, /^# For the director's own file, .*\(version 2 is what keepalived speaks: take that out/)
  t.equal(stderr.split('\n')[0], `${file}:3: router_id lb1: has no counterpart here`)
  t.notMatch(stderr, /no service came out/)
  stderr = ''
  writeFileSync(file, 'global_defs {\n}\n')
  t.equal(await run(file), 0)
  t.equal(stderr, `${file}: no service came out of it: what is printed, applied, removes all that the pool has\n`)
  stderr = ''
  t.equal(await run('/nonexistent'), 1)
  t.match(stderr, /^director: \/nonexistent: .*\(CONFIG_UNREADABLE\)\n$/)
})

test('whatever comes out of an import can be applied', async (t) => {
  const { services, settings } = imported(WHOLE)
  const text = [...printPoolFile({ services, settings, marks: [] })].join('')
  t.match(parsePoolFile(text, 'x').content, { services, settings, marks: [] })
})
