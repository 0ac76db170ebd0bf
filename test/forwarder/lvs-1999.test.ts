/**
 * The examples of the LVS documentation of June 1999 ("Creating Linux Virtual Servers", and the pages on NAT, tunnelling and
 * direct routing), packet by packet as its tables show them. The services are set up with the command lines of the text.
 */
import { type Test, test } from 'tap'
import { AddressSet } from '../../forwarder/address-set.ts'
import type { Route } from '../../forwarder/commands.ts'
import { decapsulate } from '../../forwarder/decapsulate.ts'
import type { ServiceSpec } from '../../forwarder/service.ts'
import type { ServiceListing } from '../../node/director/control/answers.ts'
import { formatIPv4, formatMac, readInt32, readUint16 } from '../../protocol/packet/bytes.ts'
import { PROTOCOL_IPIP } from '../../protocol/packet/ipv4.ts'
import { TCP_ACK, TCP_PSH, TCP_SYN } from '../../protocol/packet/tcp.ts'
import { vsadm } from '../node/cli/run-vsadm.ts'
import { servePool } from '../node/cli/served-pool.ts'
import { DirectorBench, type DirectorBenchOptions } from '../support/director-bench.ts'
import { checksumsAreRight, tcpFrame } from '../support/frames.ts'
import { hex } from '../support/hex.ts'

const OUTSIDE_MAC = '02:00:00:00:00:01'
const INSIDE_MAC = '02:00:00:00:00:02'
const CLIENT_MAC = '02:00:00:00:00:c1'

interface Setup {
  /** What the text has the administrator type. */
  commands: string
  virtual: string
  links: DirectorBenchOptions['links']
  routes: readonly Route[]
  /** MACs of the real servers, and of the routers to them. */
  hosts: Record<string, string>
}

async function director(t: Test, { commands, virtual, links, routes, hosts }: Setup): Promise<DirectorBench> {
  return new DirectorBench({
    links,
    routes,
    addresses: [{ address: virtual, link: links[0].name, state: 'active' }],
    services: await servicesAfter(t, commands),
    neighbours: hosts,
  })
}

/** What the forwarder is told after these command lines, each of which must succeed in silence. */
async function servicesAfter(t: Test, commands: string): Promise<ServiceSpec[]> {
  const pool = await servePool(t)
  for (const line of commands.trim().split('\n')) {
    // Behind some commands stands a remark, in brackets.
    const words = line
      .replace(/\(.*\)/, '')
      .trim()
      .split(/\s+/)
    t.equal(words.shift(), 'ipvsadm')
    t.same(await vsadm(words, pool), { stdout: '', stderr: '', rc: 0 }, line)
  }
  const listings = (await pool.control('GET', '/services')) as ServiceListing[]
  return listings.map(({ protocol, address, port, scheduler, servers }) => ({
    protocol,
    address,
    port,
    scheduler,
    servers: servers.map(({ address, port, method, effectiveWeight }) => ({
      address,
      port,
      method,
      weight: effectiveWeight,
    })),
  }))
}

/** Source and destination of a frame's packet, as the tables write them. */
function addresses(frame: Uint8Array): [source: string, destination: string] {
  const [source, destination] = [26, 30].map((at) => formatIPv4(readInt32(frame, at)))
  if (frame[23] === PROTOCOL_IPIP) return [source, destination]
  return [`${source}:${readUint16(frame, 34)}`, `${destination}:${readUint16(frame, 36)}`]
}

/** The packet inside a tunnel packet, as the real server's tunnel device hands it on; in a frame of its own. */
function decapsulated(frame: Uint8Array, virtual: string): Uint8Array {
  const before = new Uint8Array(100 + frame.length)
  before.set(frame.subarray(14), 100)
  const memory = { bytes: before, view: new DataView(before.buffer), addressHigh: 0, addressLow: 0 }
  const packet = { memory, start: 100, length: frame.length - 14 }
  const refusal = decapsulate(packet, new Set(), new AddressSet([virtual]))
  if (refusal !== undefined) throw new Error(`the tunnel packet is refused: ${refusal}`)
  return before.slice(packet.start - 14, packet.start + packet.length)
}

const request = { payload: 'GET /index.html\r\n\r\n', flags: TCP_PSH | TCP_ACK }

const natCommands = `
ipvsadm -A -t202.103.106.5:80 -s  ip_vs_wlc.o    (Weight least connections scheduling module example )
ipvsadm -A -t202.103.106.5:21 -s  ip_vs_wrr.o    (Weght round robing scheduling module example )
ipvsadm -a -t 202.103.106.5:80 -R 172.16.0.2:80 -m
ipvsadm -a -t 202.103.106.5:80 -R 172.16.0.3:8000 -m -w 2
ipvsadm -a -t 202.103.106.5:21 -R 172.16.0.2:21 -m
`
const natSetup: Setup = {
  commands: natCommands,
  virtual: '202.103.106.5',
  links: [
    { name: 'eth0', mac: OUTSIDE_MAC },
    { name: 'eth1', mac: INSIDE_MAC },
  ],
  routes: [
    { destination: '202.103.106.0', prefixLength: 24, link: 'eth0', source: '202.103.106.1' },
    { destination: '172.16.0.0', prefixLength: 24, link: 'eth1', source: '172.16.0.1' },
  ],
  hosts: { '172.16.0.2': '02:00:00:00:00:a2', '172.16.0.3': '02:00:00:00:00:a3' },
}

test('VS-NAT: the tables of the text are what the commands set up', async (t) => {
  const services = await servicesAfter(t, natCommands)
  // The text's table has 172.16.0.3 for FTP, its command 172.16.0.2.
  t.same(
    services.sort((a, b) => b.port - a.port),
    [
      {
        protocol: 'tcp',
        address: '202.103.106.5',
        port: 80,
        scheduler: 'wlc',
        servers: [
          { address: '172.16.0.2', port: 80, method: 'nat', weight: 1 },
          { address: '172.16.0.3', port: 8000, method: 'nat', weight: 2 },
        ],
      },
      {
        protocol: 'tcp',
        address: '202.103.106.5',
        port: 21,
        scheduler: 'wrr',
        servers: [{ address: '172.16.0.2', port: 21, method: 'nat', weight: 1 }],
      },
    ],
  )
})

test('VS-NAT: the request to 202.103.106.5:80, rewritten inbound and outbound', async (t) => {
  const bench = await director(t, natSetup)
  const rows = [
    ['incoming', '202.100.1.2:3456', '202.103.106.5:80'],
    ['inbound rewriting', '202.100.1.2:3456', '172.16.0.3:8000'],
    ['reply to load balancer', '172.16.0.3:8000', '202.100.1.2:3456'],
    ['outbound rewriting', '202.103.106.5:80', '202.100.1.2:3456'],
  ]
  const fromClient = { sourceMac: CLIENT_MAC, destinationMac: OUTSIDE_MAC, from: rows[0][1], to: rows[0][2] }
  const fromServer = { sourceMac: '02:00:00:00:00:a3', destinationMac: INSIDE_MAC, from: rows[2][1], to: rows[2][2] }
  for (const [incoming, reply] of [
    [{ flags: TCP_SYN }, { flags: TCP_SYN | TCP_ACK }],
    [request, { payload: 'HTTP/1.0 200 OK\r\n\r\n' }],
  ]) {
    const clientFrame = tcpFrame({ ...fromClient, ...incoming })
    const [inbound] = bench.send('eth0', clientFrame)
    const serverFrame = tcpFrame({ ...fromServer, ...reply })
    const [outbound] = bench.send('eth1', serverFrame)
    t.same(
      [clientFrame, inbound.frame, serverFrame, outbound.frame].map(addresses),
      rows.map((row) => row.slice(1)),
    )
    t.same([inbound.link, outbound.link], ['eth1', 'eth0'])
    t.equal(formatMac(inbound.frame), '02:00:00:00:00:a3')
    t.equal(formatMac(outbound.frame), CLIENT_MAC)
    t.ok(checksumsAreRight(inbound.frame) && checksumsAreRight(outbound.frame))
    t.same(inbound.frame.subarray(54), clientFrame.subarray(54), 'the data is untouched')
    t.same(outbound.frame.subarray(54), serverFrame.subarray(54))
  }
})

test('VS-NAT: traffic for port 80 is balanced by the weights 1 and 2, that for port 21 is forwarded', async (t) => {
  const bench = await director(t, natSetup)
  const serverFor = (port: number, clientPort: number) => {
    const fields = { sourceMac: CLIENT_MAC, destinationMac: OUTSIDE_MAC, from: `202.100.1.2:${clientPort}` }
    return addresses(
      bench.send('eth0', tcpFrame({ ...fields, to: `202.103.106.5:${port}`, flags: TCP_SYN }))[0].frame,
    )[1]
  }
  const web = Array.from({ length: 30 }, (_, index) => serverFor(80, 4000 + index))
  t.equal(web.filter((server) => server === '172.16.0.3:8000').length, 20)
  t.equal(web.filter((server) => server === '172.16.0.2:80').length, 10)
  t.same([serverFor(21, 5000), serverFor(21, 5001)], ['172.16.0.2:21', '172.16.0.2:21'])
})

const lan: Omit<Setup, 'commands'> = {
  virtual: '192.168.1.110',
  links: [{ name: 'eth0', mac: OUTSIDE_MAC }],
  routes: [{ destination: '192.168.1.0', prefixLength: 24, link: 'eth0', source: '192.168.1.1' }],
  hosts: { '192.168.1.2': '02:00:00:00:00:a2', '192.168.1.3': '02:00:00:00:00:a3', '192.168.1.4': '02:00:00:00:00:a4' },
}
const fromLanClient = { sourceMac: CLIENT_MAC, destinationMac: OUTSIDE_MAC, to: '192.168.1.110:80' }
const lanCommands = (method: string) => `
ipvsadm -A -t192.168.1.110:80 -s ip_vs_rr.o    (Round robin scheduling module example )
ipvsadm -a -t 192.168.1.110:80 -R 192.168.1.2 ${method}
ipvsadm -a -t 192.168.1.110:80 -R 192.168.1.3 ${method}
ipvsadm -a -t 192.168.1.110:80 -R 192.168.1.4 ${method}
`

test('VS-TUN: the request of 192.168.1.5:3456 to the virtual address, encapsulated and decapsulated', async (t) => {
  const bench = await director(t, { ...lan, commands: lanCommands('-i') })
  // In turn, from the server added last: the text's client is the third, and gets the text's server.
  const servers = ['192.168.1.5:3454', '192.168.1.5:3455', '192.168.1.5:3456'].map((from) => {
    const [sent] = bench.send('eth0', tcpFrame({ ...fromLanClient, from, flags: TCP_SYN }))
    return addresses(sent.frame)[1]
  })
  t.same(servers, ['192.168.1.4', '192.168.1.3', '192.168.1.2'])
  const clientFrame = tcpFrame({ ...fromLanClient, from: '192.168.1.5:3456', ...request })
  const [tunnel] = bench.send('eth0', clientFrame)
  const inner = decapsulated(tunnel.frame, '192.168.1.110')
  t.same(
    [clientFrame, tunnel.frame, inner].map((frame) => addresses(frame)),
    [
      ['192.168.1.5:3456', '192.168.1.110:80'],
      ['192.168.1.1', '192.168.1.2'],
      ['192.168.1.5:3456', '192.168.1.110:80'],
    ],
  )
  t.equal(formatMac(tunnel.frame), '02:00:00:00:00:a2')
  t.ok(checksumsAreRight(inner))
  t.equal(Buffer.from(inner.subarray(54)).toString(), request.payload)
})

test('VS-DR: with the same addresses only the MAC of the packet is changed', async (t) => {
  const bench = await director(t, { ...lan, commands: lanCommands('-g') })
  const macs = ['192.168.1.5:3454', '192.168.1.5:3455', '192.168.1.5:3456'].map((from) => {
    const fields = { ...fromLanClient, from, flags: TCP_SYN }
    const [sent] = bench.send('eth0', tcpFrame(fields))
    const destinationMac = formatMac(sent.frame)
    t.equal(hex(sent.frame), hex(tcpFrame({ ...fields, sourceMac: OUTSIDE_MAC, destinationMac, ttl: 63 })))
    return destinationMac
  })
  t.same(macs, ['02:00:00:00:00:a4', '02:00:00:00:00:a3', '02:00:00:00:00:a2'])
})

test('VS-TUN: the page’s table, 202.103.107.2 in another network and 202.103.106.3, weights 1 and 2', async (t) => {
  const bench = await director(t, {
    commands: `
              ipvsadm -A -t 202.103.106.5:80 -s ip_vs_wlc.o    (Weight least connections scheduling module example )
ipvsadm -a -t 202.103.106.5:80 -R 202.103.107.2 -i -w 1
ipvsadm -a -t 202.103.106.5:80 -R 202.103.106.3 -i -w 2
`,
    virtual: '202.103.106.5',
    links: [{ name: 'eth0', mac: OUTSIDE_MAC }],
    routes: [
      { destination: '202.103.106.0', prefixLength: 24, link: 'eth0', source: '202.103.106.1' },
      { destination: '0.0.0.0', prefixLength: 0, gateway: '202.103.106.254', link: 'eth0', source: '202.103.106.1' },
    ],
    hosts: { '202.103.106.254': '02:00:00:00:00:fe', '202.103.106.3': '02:00:00:00:00:a3' },
  })
  const sent = Array.from({ length: 30 }, (_, index) => {
    const fields = { sourceMac: CLIENT_MAC, destinationMac: OUTSIDE_MAC, from: `202.100.1.2:${4000 + index}` }
    const [{ frame }] = bench.send('eth0', tcpFrame({ ...fields, to: '202.103.106.5:80', flags: TCP_SYN }))
    t.same(addresses(decapsulated(frame, '202.103.106.5')), [fields.from, '202.103.106.5:80'])
    return `${addresses(frame).join(' > ')} by ${formatMac(frame)}`
  })
  const counts = new Map<string, number>()
  for (const way of sent) counts.set(way, (counts.get(way) ?? 0) + 1)
  t.same(
    [...counts],
    [
      ['202.103.106.1 > 202.103.106.3 by 02:00:00:00:00:a3', 20],
      ['202.103.106.1 > 202.103.107.2 by 02:00:00:00:00:fe', 10],
    ],
  )
})

const telnet: Omit<Setup, 'commands'> = {
  virtual: '172.26.20.110',
  links: [{ name: 'eth0', mac: OUTSIDE_MAC }],
  routes: [{ destination: '172.26.20.0', prefixLength: 24, link: 'eth0', source: '172.26.20.111' }],
  hosts: { '172.26.20.112': '02:00:00:00:01:12' },
}
const telnetSyn = {
  sourceMac: CLIENT_MAC,
  destinationMac: OUTSIDE_MAC,
  from: '172.26.20.113:1023',
  to: '172.26.20.110:23',
  flags: TCP_SYN,
}

test('VS-DR: telnet 172.26.20.110 actually connects the real server 172.26.20.112', async (t) => {
  const bench = await director(t, {
    ...telnet,
    commands: `
ipvsadm -A -t 172.26.20.110:23 -s  ip_vs_wlc.o    (Weght least connection scheduling module example )
ipvsadm -a -t 172.26.20.110:23 -R 172.26.20.112 -g
`,
  })
  const sent = bench.send('eth0', tcpFrame(telnetSyn))
  const expected = { ...telnetSyn, sourceMac: OUTSIDE_MAC, destinationMac: '02:00:00:00:01:12', ttl: 63 }
  t.same(
    sent.map(({ link, frame }) => [link, hex(frame)]),
    [['eth0', hex(tcpFrame(expected))]],
  )
})

test('VS-TUN: telnet 172.26.20.110 reaches the same server through a tunnel from 172.26.20.111', async (t) => {
  const bench = await director(t, {
    ...telnet,
    commands: `
ipvsadm -A -t 172.26.20.110:23 -s ip_vs_wlc.o    (Weight least connections scheduling module example )
ipvsadm -a -t 172.26.20.110:23 -R 172.26.20.112 -i
`,
  })
  const [{ frame }] = bench.send('eth0', tcpFrame(telnetSyn))
  t.same(addresses(frame), ['172.26.20.111', '172.26.20.112'])
  const inner = tcpFrame({ ...telnetSyn, ttl: 63 })
  t.equal(hex(decapsulated(frame, '172.26.20.110').subarray(14)), hex(inner.subarray(14)))
})

test('VS-DR: servers on eth1, 192.168.0.2, whose replies take another way', async (t) => {
  const virtual = '198.51.100.110' // "<VIP>" in the text
  const bench = await director(t, {
    commands: `
ipvsadm -A -t<VIP>:23 -s ip_vs_wlc.o    (Weght least connection scheduling module example )
ipvsadm -a -t <VIP>:23 -R 192.168.0.2 -g
`.replaceAll('<VIP>', virtual),
    virtual,
    links: [
      { name: 'eth0', mac: OUTSIDE_MAC },
      { name: 'eth1', mac: INSIDE_MAC },
    ],
    routes: [
      { destination: '198.51.100.0', prefixLength: 24, link: 'eth0', source: '198.51.100.1' },
      { destination: '192.168.0.0', prefixLength: 24, link: 'eth1', source: '192.168.0.1' },
    ],
    hosts: { '192.168.0.2': '02:00:00:00:00:a2' },
  })
  const fields = { ...telnetSyn, from: '203.0.113.9:1023', to: `${virtual}:23` }
  const sent = bench.send('eth0', tcpFrame(fields))
  const expected = tcpFrame({ ...fields, sourceMac: INSIDE_MAC, destinationMac: '02:00:00:00:00:a2', ttl: 63 })
  t.same(
    sent.map(({ link, frame }) => [link, hex(frame)]),
    [['eth1', hex(expected)]],
  )
})
