/** Run by host-link.test.ts inside a network namespace: a whole forwarder, a client in another namespace, a server on loopback. */
import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { createServer } from 'node:http'
import { test } from 'tap'
import { startForwarder } from '../../../forwarder/forwarder-thread.ts'
import type { ServiceSpec } from '../../../forwarder/service.ts'
import { closeDescriptor } from '../../../forwarder/sys/socket.ts'
import { LocalServers } from '../../../node/director/host/local-servers.ts'
import { until } from '../../until.ts'
import { createNamespace, createVethPair, ip, type Namespace, waitUntilUp } from '../namespace.ts'
import { openPlainPacketSocket } from './plain-packet-socket.ts'

const VIP = '10.7.0.100'
const OWN = '10.7.0.1'
const VIP6 = '2001:db8:7::100'
const OWN6 = '2001:db8:7::1'
const NETWORK6 = { destination: '2001:db8:7::', prefixLength: 64 }
const body = Buffer.alloc(3_000_000, 'what the local server says ')
const digest = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex')

async function client(namespace: Namespace, url: string, upload?: Buffer): Promise<string> {
  const words = ['curl', '--silent', '--show-error', '--max-time', '20', url]
  const [command, ...rest] = [...namespace.enter, ...words, ...(upload ? ['--data-binary', '@-'] : [])]
  const child = spawn(command, rest, { stdio: ['pipe', 'pipe', 'inherit'] })
  child.stdin.end(upload)
  const chunks: Buffer[] = []
  for await (const chunk of child.stdout) chunks.push(chunk)
  return digest(Buffer.concat(chunks))
}

test('clients in a network are served by this host through the virtual address, and directly as before', async (t) => {
  ip('link set lo up')
  createVethPair('outside', 'far')
  ip(`address add ${OWN}/24 dev outside\naddress add ${OWN6}/64 dev outside nodad`)
  const namespace = await createNamespace()
  t.teardown(() => namespace.close())
  ip(`link set far netns ${namespace.pid}`)
  ip('address add 10.7.0.2/24 dev far\naddress add 2001:db8:7::2/64 dev far nodad\nlink set far up', namespace)
  waitUntilUp('outside')

  const clients = new Set<string>()
  const server = createServer(async (request, response) => {
    clients.add(`${request.socket.remoteAddress} at ${request.socket.localAddress}`)
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk)
    response.end(request.method === 'POST' ? Buffer.concat(chunks) : body)
  })
  await new Promise<void>((resolve) => server.listen(8080, '::', resolve))
  t.teardown(() => server.close())

  const forwarder = await startForwarder({ interfaces: ['outside'], connections: 1024 })
  t.teardown(() => forwarder.stop())
  forwarder.setRoutes([
    { destination: '10.7.0.0', prefixLength: 24, link: 'outside', source: OWN },
    { ...NETWORK6, link: 'outside', source: OWN6 },
  ])
  forwarder.setVirtualAddresses([VIP, VIP6].map((address) => ({ address, link: 'outside', state: 'active' as const })))
  const services = ['127.0.0.1', OWN, OWN6].map(
    (address, index): ServiceSpec => ({
      protocol: 'tcp',
      address: address === OWN6 ? VIP6 : VIP,
      port: 80 + index,
      scheduler: 'rr',
      servers: [{ address, port: 8080, method: 'local', weight: 1 }],
    }),
  )
  for (const service of services) forwarder.setService(service)
  const local = new LocalServers({ forwarder, mtu: 1500, warn: (error) => t.fail(`${error}`) })
  t.teardown(() => local.close())
  await local.setServices(services)

  t.equal(await client(namespace, `http://${VIP}:80/`), digest(body), 'a download from 127.0.0.1')
  t.equal(await client(namespace, `http://${VIP}:81/`), digest(body), 'a download from an own address')
  t.equal(await client(namespace, `http://${VIP}:80/`, body), digest(body), 'an upload')
  t.equal(await client(namespace, `http://${OWN}:8080/`), digest(body), 'and past the virtual address')
  t.equal(await client(namespace, `http://[${VIP6}]:82/`), digest(body), 'a download over IPv6')
  t.equal(await client(namespace, `http://[${VIP6}]:82/`, body), digest(body), 'an upload over IPv6')
  t.equal(await client(namespace, `http://[${OWN6}]:8080/`), digest(body), 'and past the virtual address')
  t.same(
    [...clients].map((each) => each.replaceAll('::ffff:', '')).sort(),
    ['10.7.0.2 at 10.7.0.1', '10.7.0.2 at 127.0.0.1', '2001:db8:7::2 at 2001:db8:7::1'],
    'the server sees who its clients are',
  )
  t.equal(forwarder.serviceCounters(services[2]).connections, 2)
  t.equal(forwarder.serviceCounters(services[0]).connections, 2)
})

test('a frame that could go out only half a second after it was asked for does not', async (t) => {
  createVethPair('late', 'listener')
  const farEnd = openPlainPacketSocket('listener')
  t.teardown(() => farEnd.close())
  const forwarder = await startForwarder({ interfaces: ['late'], connections: 1024 })
  t.teardown(() => forwarder.stop())
  const send = (number: number) =>
    forwarder.transmit('late', Uint8Array.of(...Array(6).fill(255), 2, 0, 0, 0, 0, 9, 8, 0, ...Array(46).fill(number)))
  const { now } = performance
  for (const number of [1, 2]) {
    // The first waits for as long as this thread's clock is behind.
    performance.now = () => now.call(performance) - (number === 1 ? 600 : 0)
    send(number)
  }
  const heard: (number | undefined)[] = []
  await until(() => heard.push(...farEnd.take().map((frame) => frame.at(-1))) > 0)
  t.same(heard, [2])
})

test('a forwarding thread that has died is told of, to whoever asks after that too', async (t) => {
  // The pair of before went with its other end's namespace.
  createVethPair('alone', 'unused')
  const forwarder = await startForwarder({ interfaces: ['alone'], connections: 1024 })
  // What it waits for is gone: it cannot wait any more.
  closeDescriptor(forwarder.wakeDescriptor)
  await until(() => !forwarder.isRunning)
  t.match(await new Promise((resolve) => forwarder.onFailure(resolve)), {
    code: 'FORWARDER_FAILED',
    message: /^the forwarding thread has died: .* was closed while it was waited for/,
  })
})
