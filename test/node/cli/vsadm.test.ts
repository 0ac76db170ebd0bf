/** vsadm beyond the recordings: the spelling of 1999, numbers, names, connections, and what the pool does not do. */
import { type Test, test } from 'tap'
import type { Control } from '../../../node/cli/vsadm/execute.ts'
import type { TrafficStatistics } from '../../../node/director/control/api.ts'
import { request } from '../../../node/director/control/client.ts'
import { testNames, vsadm } from './run-vsadm.ts'
import { noTraffic, type ServedPool, servePool } from './served-pool.ts'

const HEAD = `IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn
`

/** For what must be refused before a director is asked. */
const nobody = {
  control: async () => {
    throw new Error('a director was asked')
  },
}

/** A pool after these command lines, each of which must succeed silently. */
async function poolAfter(t: Test, ...lines: string[]): Promise<ServedPool> {
  const pool = await servePool(t)
  for (const line of lines) t.same(await vsadm(line.split(/\s+/), pool), { stdout: '', stderr: '', rc: 0 }, line)
  return pool
}

async function listing(pool: ServedPool, line: string): Promise<string> {
  return (await vsadm(line.split(' '), pool)).stdout
}

function counted(statistics: Partial<TrafficStatistics>): TrafficStatistics {
  return { ...noTraffic, ...statistics }
}

test('the examples of the 1999 documentation build the tables that it shows', async (t) => {
  const pool = await poolAfter(
    t,
    '-A -t202.103.106.5:80 -s ip_vs_wlc.o',
    '-A -t202.103.106.5:21 -s ip_vs_wrr.o',
    '-a -t 202.103.106.5:80 -R 172.16.0.2:80 -m',
    '-a -t 202.103.106.5:80 -R 172.16.0.3:8000 -m -w 2',
    '-a -t 202.103.106.5:21 -R 172.16.0.2:21 -m',
    '-A -t192.168.1.110:80 -s ip_vs_rr.o',
    '-a -t 192.168.1.110:80 -R 192.168.1.2 -i',
  )
  t.equal(
    await listing(pool, '-Ln'),
    `${HEAD}TCP  192.168.1.110:80 rr
  -> 192.168.1.2:80               Tunnel  1      0          0         
TCP  202.103.106.5:21 wrr
  -> 172.16.0.2:21                Masq    1      0          0         
TCP  202.103.106.5:80 wlc
  -> 172.16.0.2:80                Masq    1      0          0         
  -> 172.16.0.3:8000              Masq    2      0          0         
`,
  )
})

test('called ipvsadm, it does not take the spelling of 1999', async (t) => {
  const pool = await poolAfter(t, '-A -t 10.0.0.1:80')
  const words = '-a -t 10.0.0.1:80 -R 172.16.0.2:80 -m'.split(' ')
  t.same(await vsadm(words, pool, { program: 'ipvsadm' }), { stdout: '', stderr: "invalid option `-R'\n", rc: 2 })
})

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
  ['timeouts without their values', '--set 900 120', '--set option requires 3 timeout values', 2],
  ['a timeout that is not a number', '--set 900 120 soon', "invalid timeout value `soon' specified", 2],
  ['persistence', '-A -t 10.0.0.1:80 -p 60', "the 'persistent' option is not supported by this pool", 2],
  ['a firewall mark', '-A -f 7 -s rr', 'a service for a firewall mark is not supported by this pool', 2],
  ['an IPv6 service', '-A -t [2001:db8::1]:80', 'a service for an IPv6 address is not supported by this pool', 2],
  ['an SCTP service', '-A --sctp-service 10.0.0.1:80', 'a service for SCTP is not supported by this pool', 2],
  ['timeouts', '--set 900 120 300', "the 'set' command is not supported by this pool", 2],
  ['a sync daemon', '--start-daemon master', "the 'start-daemon' command is not supported by this pool", 2],
  [
    'a server by IPv6',
    '-a -t 10.0.0.1:80 -r [2001:db8::2]:80 -i',
    'a real server with an IPv6 address is not supported by this pool',
    2,
  ],
  ['a server with port 0', '-a -t 10.0.0.1:80 -r 10.0.0.2:0 -m', 'illegal real server address[:port] specified', 2],
]

for (const [name, line, stderr, rc] of wrongLines) {
  test(`${name} is refused with one line, and nothing is asked of the director`, async (t) => {
    t.same(await vsadm(line.split(' '), nobody), { stdout: '', stderr: `${stderr}\n`, rc })
  })
}

const missing: [line: string, stderr: string, rc: number][] = [
  ['-D -f 9', 'No such service', 255],
  ['-E -t [2001:db8::1]:80 -s rr', 'No such service', 255],
  ['-a --sctp-service 10.0.0.1:80 -r 10.0.0.2', 'Service not defined', 255],
  ['-L -f 9', 'No such service', 1],
]

for (const [line, stderr, rc] of missing) {
  test(`a kind of service that the pool has not got cannot be there: ${line}`, async (t) => {
    t.same(await vsadm(line.split(' '), await servePool(t)), { stdout: '', stderr: `${stderr}\n`, rc })
  })
}

test('a director that cannot be reached is one line', async (t) => {
  const socketPath = '/nonexistent/control.sock'
  const control: Control = (method, path) => request(socketPath, method, path)
  const { stderr, rc } = await vsadm(['-L'], { control })
  t.match(stderr, new RegExp(`^${socketPath}: no director answers here[^\\n]*\\n$`))
  t.equal(rc, 2)
})

test('a bug is not taken for an answer', async (t) => {
  const control = async () => {
    throw new TypeError('a bug')
  }
  await t.rejects(vsadm(['-L'], { control }), TypeError)
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

test('names go in as well as out: hosts, and services by their aliases', async (t) => {
  const pool = await poolAfter(t, '-A -t localhost:www -s rr', '-a -t localhost:http -r 10.2:webcache -m')
  t.match(await listing(pool, '-Ln'), '\nTCP  127.0.0.1:80 rr\n  -> 10.0.0.2:8080 ')
  t.match(await listing(pool, '-L'), '\nTCP  localhost:http rr\n  -> 10.0.0.2:http-alt ')
})

test('a name that is too long for its column is cut in listings and whole in rules', async (t) => {
  const pool = await poolAfter(t, '-A -t 10.0.0.1:80 -s rr', '-a -t 10.0.0.1:80 -r 10.0.0.2 -m')
  const names = { ...testNames, hostOf: async () => 'a-host-with-a-rather-long-name.example.net' }
  const lines = async (...words: string[]) => (await vsadm(words, pool, { names })).stdout.split('\n').slice(-3)
  t.same(await lines('-L'), [
    'TCP  a-host-with-a-rather-long-na rr',
    '  -> a-host-with-a-rather-long-na Masq    1      0          0         ',
    '',
  ])
  t.same(await lines('-S'), [
    '-A -t a-host-with-a-rather-long-name.example.net:http -s rr',
    '-a -t a-host-with-a-rather-long-name.example.net:http -r a-host-with-a-rather-long-name.example.net:http -m -w 1',
    '',
  ])
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
