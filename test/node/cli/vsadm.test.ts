/** vsadm beyond the recordings: numbers, connections, and where it is right and ipvsadm is not. */
import { test } from 'tap'
import type { TrafficStatistics } from '../../../node/director/control/answers.ts'
import type { PoolEdit } from '../../../node/director/control/api.ts'
import { request, requestChanges } from '../../../node/director/control/client.ts'
import { poolAfter, vsadm } from './run-vsadm.ts'
import { noTraffic, type ServedPool, servePool } from './served-pool.ts'

const INVALID = 'Invalid operation.  Possibly wrong module version, address not unicast, ...'

/** For what must be refused before a director is asked. */
const nobody = {
  control: async () => {
    throw new Error('a director was asked')
  },
  change: async () => {
    throw new Error('a director was asked')
  },
}

async function listing(pool: ServedPool, line: string): Promise<string> {
  return (await vsadm(line.split(' '), pool)).stdout
}

function counted(statistics: Partial<TrafficStatistics>): TrafficStatistics {
  return { ...noTraffic, ...statistics }
}

test('advice names the program as it was called', async (t) => {
  const { stderr, rc } = await vsadm(['--bogus'], nobody)
  t.equal(stderr, "Try `vsadm -h' or 'vsadm --help' for more information.\n")
  t.equal(rc, 255)
})

test('a real server that is named before its service has the port of the service', async (t) => {
  const pool = await poolAfter(t, '-A -t 10.0.0.1:80', '-a -r 172.16.0.2 -t 10.0.0.1:80 -m')
  t.match(await listing(pool, '-Ln'), '  -> 172.16.0.2:80 ')
})

const wrongLines: [name: string, line: string, stderr: string, rc: number][] = [
  ['an option that does not exist', '-L --colour', '--colour: unknown option', 255],
  ['a short option that does not exist, among others', '-LnQ', '-LnQ: unknown option', 255],
  ['a value behind a short one', '-L -n=5', '-n=5: option does not take an argument', 255],
  ['a value for an option that takes none', '-L --numeric=yes', '--numeric=yes: option does not take an argument', 255],
  ['a wrong address', '-A -t 10.0.0.256:80', 'illegal virtual server address[:port] specified', 2],
  ['a port out of range', '-A -t 10.0.0.1:65536', 'illegal virtual server address[:port] specified', 2],
  [
    'a port with a name that nobody knows',
    '-A -t 10.0.0.1:nosuch',
    'illegal virtual server address[:port] specified',
    2,
  ],
  ['a mark that is not a number', '-A -f 0', "invalid fwmark value `0' specified", 2],
  [
    'a GUE tunnel without a port',
    '-a -t 10.0.0.1:80 -r 10.0.0.2 -i --tun-type gue',
    "You need to supply the 'tun-port' option for the 'gue' tunnel type",
    2,
  ],
  [
    'an IPIP tunnel with an option of another',
    '-a -t 10.0.0.1:80 -r 10.0.0.2 -i --tun-port 6080',
    "Illegal 'tun-port' option with the 'ipip' tunnel type",
    2,
  ],
  ['a second command', '-L --start-daemon master', "invalid option `--start-daemon'", 2],
  ['a second command, as ipvsadm has it', '--strict -L --start-daemon master', "invalid option `master'", 2],
  ['timeouts without their values', '--set 900 120', '--set option requires 3 timeout values', 2],
  ['a timeout that is not a number', '--set 900 120 soon', "invalid timeout value `soon' specified", 2],
  ['a flag of another scheduler', '-A -t 10.0.0.1:80 -s rr -b sh-port', "incompatible scheduler flag `sh-port'", 2],
  ['a flag before the command that has none', '-L -b nosuch', "invalid scheduler flag `nosuch'", 2],
  ['a tunnel port out of range', '-a -t 10.0.0.1:80 -r 10.0.0.2 -i --tun-port 0', 'illegal tunnel port specified', 2],
  [
    'two checksums',
    '-a -t 10.0.0.1:80 -r 10.0.0.2 -i --tun-type gre --tun-csum --tun-nocsum',
    "The option 'tun-csum' conflicts with the 'tun-nocsum' option in the 'gre' tunnel type",
    2,
  ],
  ['a prefix longer than an IPv6 address', '-A -t [2001:db8::1]:80 -p -M 129', 'illegal ipv6 netmask specified', 2],
  ['a group that is none', '--start-daemon master --mcast-group 24.0.0.1', "invalid IPv4 mcast-group `24.0.0.1'", 2],
  [
    'a group of a network that has others',
    '--start-daemon master --mcast-group 23.0.0.1',
    "invalid IPv4 mcast-group `23.0.0.1'",
    2,
  ],
  [
    'an address that begins as a group does',
    '--start-daemon master --mcast-group ff::1',
    "invalid IPv6 mcast-group `ff::1'",
    2,
  ],
  [
    'a group with a zone',
    '--start-daemon master --mcast-group ff02::81%eth0',
    "invalid IPv6 mcast-group `ff02::81%eth0'",
    2,
  ],
  ['a daemon of no kind', '--start-daemon both', 'illegal start-daemon parameter specified', 2],
  [
    'a size that is no way of clamping',
    '-A -t 10.0.0.1:80 --mss 1400',
    "illegal mss `1400' specified: expected clamp",
    2,
  ],
  [
    'a word that is no way of telling the standbys',
    '-A -t 10.0.0.1:80 --sync never',
    "illegal sync `never' specified: expected established, confirmed or confirmed-only",
    2,
  ],
]

for (const [name, line, stderr, rc] of wrongLines) {
  test(`${name} is refused with one line, and nothing is asked of the director`, async (t) => {
    t.same(await vsadm(line.split(' '), nobody), { stdout: '', stderr: `${stderr}\n`, rc })
  })
}

const refused: [name: string, line: string, stderr: string][] = [
  ['a lower threshold above the upper one', '-a -t 10.0.0.1:80 -r 10.0.0.2 -x 5 -y 6', 'Numerical result out of range'],
  ['a lower threshold alone', '-a -t 10.0.0.1:80 -r 10.0.0.2 -y 1', 'Numerical result out of range'],
  ['a group as a server', '-a -t 10.0.0.1:80 -r 224.0.0.1', INVALID],
  ['a broadcast address as a server', '-a -t 10.0.0.1:80 -r 192.0.2.255', INVALID],
  ['an unspecified address as a server', '-a -t 10.0.0.1:80 -r 0.0.0.0', INVALID],
  ['a link-local address as a server', '-a -t 10.0.0.1:80 -r [fe80::1]:80 -i', INVALID],
  ['IPv4 in disguise as a server', '-a -t 10.0.0.1:80 -r [::ffff:10.0.0.1]:80 -i', INVALID],
  [
    'a persistence engine that nobody knows',
    '-A -t 10.0.0.2:80 -p --pe h323',
    'Scheduler or persistence engine not found',
  ],
  ['a mark that no service has', '-D -f 9', 'No such service'],
]

for (const [name, line, stderr] of refused) {
  test(`${name} is refused by the director, in ipvsadm's words`, async (t) => {
    const pool = await poolAfter(t, '-A -t 10.0.0.1:80')
    t.same(await vsadm(line.split(' '), pool), { stdout: '', stderr: `${stderr}\n`, rc: 255 })
  })
}

test('a director that cannot be reached is one line', async (t) => {
  const socketPath = '/nonexistent/control.sock'
  const director = {
    control: (method: string, path: string) => request(socketPath, method, path),
    change: (edits: readonly PoolEdit[]) => requestChanges(socketPath, edits),
  }
  for (const [words, standardInput] of [
    [['-L'], ''],
    [['-R'], '-A -t 10.0.0.1:80'],
    [['-C'], ''],
  ] as const) {
    const { stderr, rc } = await vsadm(words, director, { standardInput })
    t.match(stderr, new RegExp(`^${socketPath}: no director answers here[^\\n]*\\n$`))
    t.equal(rc, 2)
  }
})

test('a bug is not taken for an answer', async (t) => {
  const control = async () => {
    throw new TypeError('a bug')
  }
  await t.rejects(vsadm(['-L'], { ...nobody, control }), TypeError)
})

test('counters are printed in nine columns, large ones in thousands, millions, billions', async (t) => {
  const pool = await poolAfter(t, '-A -t 10.1.0.100:8090 -s rr', '-a -t 10.1.0.100:8090 -r 10.2.0.11 -m')
  const large = {
    connections: 99_999_999,
    inPackets: 100_000_000,
    outPackets: 1_234_567_890,
    inBytes: 123_456_789_012,
    outBytes: 123_456_789_012_345,
  }
  pool.traffic.set('tcp 10.1.0.100:8090', counted(large))
  pool.traffic.set('10.2.0.11:8090', counted({ inBytesPerSecond: 11_806_587, inBytes: 125_936_924 }))
  const stats = await listing(pool, '-Ln --stats')
  t.match(stats, 'TCP  10.1.0.100:8090              99999999  100000K    1234M     123G     123T\n')
  t.match(stats, '  -> 10.2.0.11:8090                      0        0        0  125936K        0\n')
  const exact = await listing(pool, '-Ln --stats --exact')
  t.match(exact, 'TCP  10.1.0.100:8090              99999999 100000000 1234567890 123456789012 123456789012345\n')
  t.match(
    await listing(pool, '-Ln --rate'),
    '  -> 10.2.0.11:8090                      0        0        0 11806587        0\n',
  )
})

test('-Z sets the counters of one service to zero, or of all', async (t) => {
  const pool = await poolAfter(t, '-A -t 10.0.0.1:80', '-A -u 10.0.0.1:53')
  const connections = async () => (await listing(pool, '-Ln --stats')).match(/:\d+ +(\d+)/g)
  const fill = () => {
    for (const key of ['tcp 10.0.0.1:80', 'udp 10.0.0.1:53']) pool.traffic.set(key, counted({ connections: 5 }))
  }
  fill()
  await vsadm(['-Z', '-u', '10.0.0.1:53'], pool)
  t.match(await connections(), [/ 5$/, / 0$/])
  fill()
  await vsadm(['-Z'], pool)
  t.match(await connections(), [/ 0$/, / 0$/])
})

test('connections are listed as recorded, expiry in minutes and seconds', async (t) => {
  const pool = await servePool(t)
  pool.connections = [
    {
      protocol: 'tcp',
      state: 'ESTABLISHED',
      expiresMs: 898_999,
      clientAddress: '10.0.0.2',
      clientPort: 38304,
      virtualAddress: '10.0.0.100',
      virtualPort: 80,
      serverAddress: '192.168.2.10',
      serverPort: 80,
    },
    {
      protocol: 'udp',
      state: 'UDP',
      expiresMs: 293_000,
      clientAddress: '10.1.0.2',
      clientPort: 40001,
      virtualAddress: '10.1.0.100',
      virtualPort: 53,
      serverAddress: '127.0.0.1',
      serverPort: 53,
    },
  ]
  const head = 'IPVS connection entries\npro expire state       source             virtual            destination\n'
  t.equal(
    await listing(pool, '-Lcn'),
    `${head}TCP 14:58  ESTABLISHED 10.0.0.2:38304     10.0.0.100:80      192.168.2.10:80
UDP 04:53  UDP         10.1.0.2:40001     10.1.0.100:53      127.0.0.1:53
`,
  )
  t.equal(
    await listing(pool, '-L -c'),
    `${head}TCP 14:58  ESTABLISHED 10.0.0.2:38304     10.0.0.100:http    192.168.2.10:http
UDP 04:53  UDP         10.1.0.2:40001     10.1.0.100:domain  localhost:domain
`,
  )
})

test('what -S prints, -R rebuilds, with or without the name of the program in each line', async (t) => {
  const pool = await poolAfter(
    t,
    '-A -t 10.0.0.1:80 -s wrr',
    '-a -t 10.0.0.1:80 -r 10.0.0.2:8080 -m -w 3',
    '-a -t 10.0.0.1:80 -r 10.0.0.3 -i',
    '-A -u 10.0.0.1:53 -s lc',
    '-a -u 10.0.0.1:53 -r 10.0.0.4 -g -w 0',
  )
  const saved = await listing(pool, '-Sn')
  for (const prefix of ['', 'vsadm ', 'ipvsadm ']) {
    await vsadm(['-C'], pool)
    const standardInput = saved.replace(/^(?=-)/gm, prefix)
    t.same(await vsadm(['-R'], pool, { standardInput }), { stdout: '', stderr: '', rc: 0 })
    t.equal(await listing(pool, '-Sn'), saved)
  }
})

test('services are sorted by protocol, address as a number, and port', async (t) => {
  const pool = await poolAfter(
    t,
    '-A -u 9.0.0.1:80',
    '-A -t 200.0.0.1:80',
    '-A -t 10.0.0.10:80',
    '-A -t 10.0.0.9:443',
    '-A -t 10.0.0.9:80',
  )
  const names = (await listing(pool, '-Ln')).match(/^(TCP|UDP) .*$/gm)
  t.same(names, [
    'TCP  10.0.0.9:80 wlc',
    'TCP  10.0.0.9:443 wlc',
    'TCP  10.0.0.10:80 wlc',
    'TCP  200.0.0.1:80 wlc',
    'UDP  9.0.0.1:80 wlc',
  ])
})

/** The same to the letter, and as vsadm does it. */
const mended: [name: string, lines: string[], listed: string, strict: string, right: string][] = [
  ['marks from 2^31 on', ['-A -f 4294967295'], '-Sn', '-A -f -1 -s wlc\n', '-A -f 4294967295 -s wlc\n'],
  [
    'thresholds in rules',
    ['-A -t 10.0.0.1:80', '-a -t 10.0.0.1:80 -r 10.0.0.2 -m -x 9 -y 3'],
    '-Sn',
    '-A -t 10.0.0.1:80 -s wlc\n-a -t 10.0.0.1:80 -r 10.0.0.2:80 -m -w 1\n',
    '-A -t 10.0.0.1:80 -s wlc\n-a -t 10.0.0.1:80 -r 10.0.0.2:80 -m -w 1 -x 9 -y 3\n',
  ],
  [
    'options of services that ipvsadm does not have',
    ['-A -t 10.0.0.1:80 --mss clamp --sync confirmed'],
    '-Sn',
    '-A -t 10.0.0.1:80 -s wlc\n',
    '-A -t 10.0.0.1:80 -s wlc --mss clamp --sync confirmed\n',
  ],
  [
    'addresses more than 2^31 apart',
    ['-A -t 192.0.2.1:80', '-A -t 10.0.0.1:80'],
    '-Sn',
    '-A -t 192.0.2.1:80 -s wlc\n-A -t 10.0.0.1:80 -s wlc\n',
    '-A -t 10.0.0.1:80 -s wlc\n-A -t 192.0.2.1:80 -s wlc\n',
  ],
]

for (const [name, lines, listed, strict, right] of mended) {
  test(`${name} are as ipvsadm has them with --strict, and right without`, async (t) => {
    const pool = await poolAfter(t, ...lines)
    t.equal(await listing(pool, listed), right)
    t.equal(await listing(pool, `--strict ${listed}`), strict)
    t.equal((await vsadm(listed.split(' '), pool, { program: 'ipvsadm' })).stdout, strict)
  })
}

test('--sync established is what a service has without --sync', async (t) => {
  const pool = await poolAfter(t, '-A -t 10.0.0.1:80 --sync confirmed', '-E -t 10.0.0.1:80 --sync established')
  t.equal(await listing(pool, '-Sn'), '-A -t 10.0.0.1:80 -s wlc\n')
})

test('counters are as they were last estimated with --strict, and up to now without', async (t) => {
  const pool = await poolAfter(t, '-A -t 10.0.0.1:80')
  for (const words of ['-Ln --stats', '--strict -Ln --stats', '--strict -Ln -t 10.0.0.1:80 --rate'])
    await listing(pool, words)
  t.same(pool.requests.slice(-3), [
    'GET /services',
    'GET /services?counters=snapshot',
    'GET /services?protocol=tcp&address=10.0.0.1&port=80&counters=snapshot',
  ])
})

test('-M takes the length of a prefix, and with --strict what the C library makes of a number', async (t) => {
  const pool = await poolAfter(t, '-A -t 10.0.0.1:80 -p 60 -M 24', '--strict -A -t 10.0.0.2:80 -p 60 -M 24')
  t.match(await listing(pool, '-Ln'), 'TCP  10.0.0.1:80 wlc persistent 60 mask 255.255.255.0\n')
  t.match(await listing(pool, '-Ln'), 'TCP  10.0.0.2:80 wlc persistent 60 mask 0.0.0.24\n')
})

test('-M counts before its service too, and with --strict not before one of IPv6', async (t) => {
  const v6 = '-p 60 -M 64 -t [2001:db8::1]:80'
  const pool = await poolAfter(t, `-A ${v6}`, '-A -p 60 -M 24 -t 10.0.0.1:80', '-A -p 60 -M 48 -f 7 -6')
  const saved = await listing(pool, '-Sn')
  t.match(saved, '-A -t 10.0.0.1:80 -s wlc -p 60 -M 255.255.255.0\n')
  t.match(saved, '-A -t [2001:db8::1]:80 -s wlc -p 60 -M 64\n')
  t.match(saved, '-A -f 7 -6 -s wlc -p 60 -M 48\n')
  await vsadm(['--strict', '-E', ...v6.split(' ')], pool)
  t.match(await listing(pool, '-Sn'), '-A -t [2001:db8::1]:80 -s wlc -p 60\n')
  t.match(await vsadm(['-A', ...v6.replace('64', '129').split(' ')], nobody), {
    stderr: 'illegal ipv6 netmask specified\n',
  })
})

test('a server that is the director itself is shown as that, and saved as it was given', async (t) => {
  const pool = await poolAfter(t, '-A -t 10.0.0.1:80', '-a -t 10.0.0.1:80 -r 127.0.0.1:8080 -m')
  t.match(await listing(pool, '-Ln'), '  -> 127.0.0.1:8080               Local   1 ')
  t.match(await listing(pool, '--strict -Ln'), '  -> 127.0.0.1:8080               Masq    1 ')
  t.match(await listing(pool, '-Sn'), '-r 127.0.0.1:8080 -m -w 1\n')
})

test('everything that a service and its servers can have is saved and restored', async (t) => {
  const lines = [
    '-A -t 10.0.0.1:0 -s sh -p 600 -M 255.255.255.0 -b sh-fallback,sh-port --mss clamp',
    '-A -u 10.0.0.1:53 -s rr -o',
    '-A -u 10.0.0.1:5060 -s rr -p 60 --pe sip',
    '-A --sctp-service 10.0.0.1:2905 -s rr',
    '-A -t [2001:db8::1]:80 -s wlc -p 360 -M 64',
    '-a -t [2001:db8::1]:80 -r 10.0.0.2:80 -i -w 1 --tun-type ipip',
    '-a -t [2001:db8::1]:80 -r [2001:db8::2]:80 -i -w 1 --tun-type gue --tun-port 6080 --tun-remcsum',
    '-a -t [2001:db8::1]:80 -r [2001:db8::3]:80 -i -w 1 --tun-type gre --tun-csum',
    '-a -t [2001:db8::1]:80 -r [2001:db8::4]:8080 -m -w 0 -x 9 -y 3',
    '-A -f 7 -s mh -b mh-port',
    '-A -t 10.0.0.2:80 -s sh -b flag-3 --mss clamp',
    '-a -f 7 -r 10.0.0.3:0 -g -w 2',
    '-A -f 7 -6 -s none',
  ]
  const pool = await poolAfter(t, ...lines)
  const saved = await listing(pool, '-Sn')
  t.same(saved.trimEnd().split('\n').sort(), lines.toSorted())
  await vsadm(['-C'], pool)
  await vsadm(['-R'], pool, { standardInput: saved })
  t.equal(await listing(pool, '-Sn'), saved)
})

test('a document is restored whole in one request, or not at all and the line is named', async (t) => {
  const pool = await poolAfter(t, '-A -t 10.0.0.9:80 -s rr')
  const before = await listing(pool, '-Sn')
  pool.requests.length = 0
  const restore = (standardInput: string, ...strict: string[]) => vsadm([...strict, '-R'], pool, { standardInput })
  const wrong = '# the web\n-A -t 10.0.0.1:80 -s rr # and its server\n\n-a -t 10.0.0.2:80 -r 10.0.0.3\n'
  t.same(await restore(wrong), { stdout: '', stderr: 'line 4: Service not defined: nothing is changed\n', rc: 255 })
  t.same(pool.requests, ['POST /changes'])
  for (const [line, stderr] of [
    ['-A -t 10.0.0.2:0', 'Zero port specified for non-persistent service'],
    ['-A -6 -t 10.0.0.2:80', '-6 used before -f'],
    ['-L', "the 'list' command changes no table: only -A -E -D -C -a -e -d are restored together"],
  ])
    t.same(await restore(`-A -t 10.0.0.1:80\n${line}`), {
      stdout: '',
      stderr: `line 2: ${stderr}: nothing is changed\n`,
      rc: 2,
    })
  t.equal(await listing(pool, '-Sn'), before)
  t.same(await restore('-C\n-A -t 10.0.0.1:80 -s rr\n-D -t 10.0.0.1:80\n-A -t 10.0.0.2:80 -s rr'), {
    stdout: '',
    stderr: '',
    rc: 0,
  })
  t.equal(await listing(pool, '-Sn'), '-A -t 10.0.0.2:80 -s rr\n')
})

test('with --strict a document is restored line by line', async (t) => {
  const pool = await servePool(t)
  const standardInput =
    '-A -t 10.0.0.1:80 -s rr\n-A -t 10.0.0.1:80 -s rr\n-A -Q\n-Sn\n-A -t 10.0.0.2:0\n-A -t 10.0.0.3:80\n'
  t.same(await vsadm(['--strict', '-R'], pool, { standardInput }), {
    stdout: '-A -t 10.0.0.1:80 -s rr\n',
    stderr: 'Service already exists\n-Q: unknown option\nZero port specified for non-persistent service\n',
    rc: 2,
  })
  t.equal(await listing(pool, '-Sn'), '-A -t 10.0.0.1:80 -s rr\n')
  const { stdout, rc } = await vsadm(['--strict', '-R'], pool, { standardInput: '-h\n-C\n' })
  t.match(stdout, /^ipvsadm v1.31/)
  t.equal(rc, 0)
  t.equal(await listing(pool, '-Sn'), '-A -t 10.0.0.1:80 -s rr\n', 'what comes after a question for help is not read')
})

test('timeouts are set for the whole pool, 0 leaves one as it is', async (t) => {
  const pool = await poolAfter(t, '--set 600 0 100')
  t.equal(await listing(pool, '-L --timeout'), 'Timeout (tcp tcpfin udp): 600 120 100\n')
})

test('timeouts reach as far as ipvsadm’s, 31 days', async (t) => {
  const pool = await poolAfter(t, '--set 2678400 2678400 2678400')
  t.equal(await listing(pool, '-L --timeout'), 'Timeout (tcp tcpfin udp): 2678400 2678400 2678400\n')
})

test('templates and the columns of a persistence engine are listed as recorded', async (t) => {
  const pool = await servePool(t)
  const template = {
    protocol: 'ip',
    state: 'ASSURED',
    expiresMs: 55_000,
    clientAddress: '10.1.0.105',
    clientPort: 0,
    virtualAddress: '0.0.0.9',
    virtualPort: 0,
    serverAddress: '10.2.0.13',
    serverPort: 0,
    isTemplate: true,
  }
  const call = {
    ...template,
    protocol: 'udp',
    clientAddress: '2001:db8::5',
    virtualAddress: '2001:db8::1',
    virtualPort: 5060,
    serverAddress: '2001:db8::2',
    serverPort: 5060,
    persistenceEngine: { name: 'sip', data: 'a84b4c76e66710' },
  }
  pool.connections = [template, call]
  t.equal(
    await listing(pool, '-Lcn --persistent-conn'),
    `IPVS connection entries
pro expire state       source             virtual            destination        pe name          pe_data
IP  00:55  ASSURED     10.1.0.105:0       0.0.0.9:0          10.2.0.13:0
UDP 00:55  ASSURED     [2001:db8::5]:0    [2001:db8::1]:5060 [2001:db8::2]:5060 sip                a84b4c76e66710
`,
  )
})
