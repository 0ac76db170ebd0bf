/**
 * Started by kernel-selftest.test.ts inside a network namespace of its own, which is the director's.
 *
 *     client: br0 (veth01, veth02)      director: veth10, veth12      server: veth20, veth21
 *             veth01 ------------------------- veth10
 *             veth02 --------------------------------------------------------- veth20
 *                                              veth12 ------------------------ veth21
 *
 * The client reaches the virtual address by way of the director. The server is behind it, and has a way of its own to the
 * client, by which the replies of DR and TUN go. Two departures: the virtual address is on no interface of the director and its
 * kernel forwards nothing (the director refuses to start otherwise); and a tunnel ends in the agent, not in the kernel's ipip.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import tap, { type Test, test } from 'tap'
import { stringify } from 'yaml'
import { FAMILIES, type Family } from '../../node/drill/lab-plan.ts'
import { formatEndpoint } from '../../protocol/packet/ipv6-address.ts'
import { createNamespace, ip, type Namespace, waitUntilUp } from '../forwarder/namespace.ts'
import { endProcess, eventually } from '../lab/lab-directors.ts'

const CLI = join(import.meta.dirname, '../../node/cli')
const PORT = 8080
const AGENT_PORT = 7947
const FILE_BYTES = 1_000_000

/** The virtual address, the bridge's network, and the network behind the director: the selftest's, and their like in IPv6. */
const ADDRESSES = {
  ipv4: {
    virtual: '207.175.44.110',
    client: '10.0.0.2',
    gateway: '10.0.0.1',
    serverOutside: '10.0.0.3',
    director: '172.16.0.1',
    server: '172.16.0.2',
  },
  ipv6: {
    virtual: '2001:db8:44::110',
    client: 'fd00:10::2',
    gateway: 'fd00:10::1',
    serverOutside: 'fd00:10::3',
    director: 'fd00:172::1',
    server: 'fd00:172::2',
  },
} as const satisfies Record<Family, unknown>
/** Of an address alone; and of those that share a network, with the network's. */
const LENGTHS = { ipv4: { host: 32, network: 24 }, ipv6: { host: 128, network: 64 } }

const folder = mkdtempSync(join(tmpdir(), 'selftest-'))
const client = await createNamespace()
const server = await createNamespace()
const children: ChildProcess[] = []
tap.teardown(async () => {
  for (const child of children) await endProcess(child, 'SIGKILL')
  client.close()
  server.close()
  rmSync(folder, { recursive: true })
})
buildNetwork()
const sent = join(folder, 'sent')
writeFileSync(sent, randomBytes(FILE_BYTES))
const keyFile = join(folder, 'agents.key')
writeFileSync(keyFile, `${randomBytes(32).toString('hex')}\n`, { mode: 0o600 })
const control = join(folder, 'control.sock')
await startDirector()

for (const family of FAMILIES) {
  const { virtual, client, director } = ADDRESSES[family]
  const virtualOnServer = `${virtual}/${LENGTHS[family].host} dev lo`

  test(`a file goes through NAT, ${family}`, async (t) => {
    ip(`route add ${client} via ${director} dev veth21`, server)
    await passFile(t, family, '-m')
    ip(`route del ${client} via ${director} dev veth21`, server)
  })

  test(`a file goes through DR, ${family}`, async (t) => {
    // Neighbour discovery needs no such thing.
    set(server, 'net.ipv4.conf.all.arp_ignore=1', 'net.ipv4.conf.all.arp_announce=2')
    ip(`address add ${virtualOnServer}`, server)
    await passFile(t, family, '-g')
    ip(`address del ${virtualOnServer}`, server)
  })

  test(`a file goes through TUN, ${family}`, async (t) => {
    const agent = start(
      server,
      ...[process.execPath, join(CLI, 'director.ts'), 'agent', '--key-file', keyFile, '--decapsulate', virtual],
      ...['--director', `${ADDRESSES.ipv4.director}:${AGENT_PORT}`],
    )
    await heard(agent, 'reporting for')
    await passFile(t, family, '-i')
    await endProcess(agent, 'SIGTERM')
  })
}

/** As the selftest does it: the service is made, the file sent to it and compared, the service removed. */
async function passFile(t: Test, family: Family, method: string): Promise<void> {
  const addresses = ADDRESSES[family]
  const service = formatEndpoint(addresses.virtual, PORT)
  const received = join(folder, `received${method}-${family}`)
  const listener = start(server, 'sh', '-c', `exec nc -${family.at(-1)} -l -N ${PORT} > ${received}`)
  await eventually('the server listens', async () => {
    const sockets = execFileSync(server.enter[0], [...server.enter.slice(1), 'ss', '-Htln'], { encoding: 'utf8' })
    return sockets.includes(`:${PORT} `) || undefined
  })
  vsadm('-A', '-t', service, '-s', 'rr')
  vsadm('-a', method, '-t', service, '-r', formatEndpoint(addresses.server, PORT))
  const [program, ...args] = [...client.enter, 'sh', '-c', `nc -N -w 10 ${addresses.virtual} ${PORT} < ${sent}`]
  execFileSync(program, args)
  await eventually('the server has read to the end', async () => listener.exitCode ?? undefined)
  t.ok(readFileSync(received).equals(readFileSync(sent)), 'what was sent has arrived')
  vsadm('-C')
}

function vsadm(...words: string[]): string {
  const env = { ...process.env, DIRECTOR_SOCKET: control }
  return execFileSync(process.execPath, [join(CLI, 'vsadm.ts'), ...words], { env, encoding: 'utf8' })
}

function buildNetwork(): void {
  for (const namespace of [client, server, undefined]) {
    set(namespace, 'net.ipv4.ip_forward=0', 'net.ipv4.conf.all.rp_filter=0')
    // Before there are interfaces: they get their link-local addresses when they come up, and can use them at once.
    for (const scope of ['all', 'default']) {
      set(namespace, ...['forwarding', 'accept_ra', 'accept_dad'].map((name) => `net.ipv6.conf.${scope}.${name}=0`))
    }
  }
  ip('link set lo up')
  for (const [pair, [one, other]] of Object.entries({
    'veth01 veth10': [client, undefined],
    'veth02 veth20': [client, server],
    'veth12 veth21': [undefined, server],
  } as Record<string, [Namespace?, Namespace?]>)) {
    const [first, second] = pair.split(' ')
    ip(`link add ${first} type veth peer name ${second}`)
    if (one) ip(`link set ${first} netns ${one.pid}`)
    if (other) ip(`link set ${second} netns ${other.pid}`)
  }
  ip('link set lo up\nlink add br0 type bridge forward_delay 0\nlink set br0 up', client)
  ip('link set lo up', server)
  for (const port of ['veth01', 'veth02']) ip(`link set ${port} master br0\nlink set ${port} up`, client)
  for (const family of FAMILIES) {
    const { client: ofClient, gateway, director, serverOutside, server: ofServer } = ADDRESSES[family]
    // IPv6 addresses can be used at once: nobody else has them.
    const rest = family === 'ipv4' ? `/${LENGTHS.ipv4.network}` : `/${LENGTHS.ipv6.network} nodad`
    ip(`address add ${ofClient}${rest} dev br0`, client)
    ip(`address add ${gateway}${rest} dev veth10\naddress add ${director}${rest} dev veth12`)
    ip(`address add ${serverOutside}${rest} dev veth20\naddress add ${ofServer}${rest} dev veth21`, server)
  }
  ip('link set veth10 up\nlink set veth12 up')
  // Without a route the director's kernel would answer what it cannot deliver; of IPv4 it does not.
  ip(`route add blackhole ${ADDRESSES.ipv6.virtual}`)
  ip('link set veth20 up\nlink set veth21 up', server)
  set(server, 'net.ipv4.conf.veth20.rp_filter=0', 'net.ipv4.conf.veth21.rp_filter=0')
  for (const name of ['veth10', 'veth12']) waitUntilUp(name)
  for (const { virtual, gateway } of Object.values(ADDRESSES)) {
    ip(`route add ${virtual} via ${gateway} dev br0`, client)
  }
}

function set(namespace: Namespace | undefined, ...settings: string[]): void {
  const [program, ...args] = [...(namespace?.enter ?? []), 'sysctl', '-qw', ...settings]
  execFileSync(program, args)
}

async function startDirector(): Promise<void> {
  const file = join(folder, 'director.yaml')
  const config = {
    name: 'director',
    interfaces: { outside: 'veth10', inside: 'veth12' },
    store: join(folder, 'store'),
    control,
    cluster: { listen: `${ADDRESSES.ipv4.gateway}:7946` },
    vips: FAMILIES.map((family) => ({ vrid: 51, addresses: [ADDRESSES[family].virtual] })),
    agents: { listen: `${ADDRESSES.ipv4.director}:${AGENT_PORT}`, keyFile },
    // The selftest's server listens for one connection: a check would use it up.
    health: { intervalMs: 3_600_000 },
  }
  writeFileSync(file, stringify(config))
  const director = start(undefined, process.execPath, join(CLI, 'director.ts'), 'node', '--config', file)
  await heard(director, 'no active director is heard', FAMILIES.length)
}

/** Starts a program that is ended with the test. */
function start(namespace: Namespace | undefined, ...command: string[]): ChildProcess {
  const [program, ...args] = [...(namespace?.enter ?? []), ...command]
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] })
  children.push(child)
  return child
}

/** Resolves when a program has said something with these words in it, so many times. */
async function heard(child: ChildProcess, words: string, times = 1): Promise<void> {
  let said = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream?.on('data', (piece: Buffer) => {
      said += piece
    })
  }
  await eventually(`"${words}"`, async () => {
    if (said.split(words).length > times) return true
    throw new Error(said)
  })
}
