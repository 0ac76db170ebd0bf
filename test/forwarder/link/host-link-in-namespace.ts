/** Run by host-link.test.ts inside a network namespace: a whole forwarder, a client in another namespace, a server on loopback. */
import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { createServer } from 'node:http'
import { test } from 'tap'
import { startForwarder } from '../../../forwarder/forwarder-thread.ts'
import { VNET_HEADER_LENGTH } from '../../../forwarder/link/link.ts'
import type { ServiceSpec } from '../../../forwarder/service.ts'
import { closeDescriptor } from '../../../forwarder/sys/socket.ts'
import { LocalServers } from '../../../node/director/host/local-servers.ts'
import { ARP, ARP_FRAME_LENGTH, ARP_REPLY, ARP_REQUEST, writeArpFrame } from '../../../protocol/packet/arp.ts'
import { parseIPv4, readInt32 } from '../../../protocol/packet/bytes.ts'
import { BROADCAST_MAC, ETHERNET_HEADER_LENGTH, ETHERTYPE_ARP } from '../../../protocol/packet/ethernet.ts'
import { until } from '../../until.ts'
import { createNamespace, createVethPair, ip, type Namespace, waitUntilUp } from '../namespace.ts'
import { openPlainPacketSocket } from './plain-packet-socket.ts'

const SENDER_AT = VNET_HEADER_LENGTH + ETHERNET_HEADER_LENGTH + ARP.senderAddress
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

test('a forwarding thread', async (t) => {
  // The pair of before went with its other end's namespace.
  createVethPair('alone', 'listener')
  const farEnd = openPlainPacketSocket('listener', ETHERTYPE_ARP)
  t.teardown(() => farEnd.close())
  const forwarder = await startForwarder({ interfaces: ['alone'], connections: 1024 })
  const arp = (operation: number, senderAddress: number, targetAddress: number) => {
    const frame = new Uint8Array(ARP_FRAME_LENGTH)
    const fields = { operation, senderMac: Uint8Array.of(2, 0, 0, 0, 0, 9), senderAddress, targetAddress }
    writeArpFrame(frame, 0, BROADCAST_MAC, { ...fields, targetMac: new Uint8Array(6) })
    return frame
  }
  /** @returns what is heard, as numbers of the senders, up to a frame that the thread is asked to send now */
  const heard = async () => {
    forwarder.transmit('alone', arp(ARP_REPLY, 99, 99))
    const senders: number[] = []
    await until(() => {
      senders.push(...farEnd.take().map((frame) => readInt32(frame, SENDER_AT)))
      return senders.includes(99)
    })
    return senders.filter((sender) => sender !== 99)
  }

  await t.test('sends a frame late rather than never, unless it stood still meanwhile', async (t) => {
    const { now } = performance
    // As if it had waited behind other commands for as long as this thread's clock is behind.
    performance.now = () => now.call(performance) - 600
    forwarder.transmit('alone', arp(ARP_REPLY, 1, 1))
    performance.now = now
    forwarder.transmit('alone', arp(ARP_REPLY, 2, 2))
    t.same(await heard(), [1, 2])
  })

  await t.test('answers for an address until the time that it was told', async (t) => {
    forwarder.setVirtualAddresses([{ address: VIP, link: 'alone', state: 'active' }])
    for (const [ms, expected] of [
      [undefined, [parseIPv4(VIP)]],
      [-1, []],
      [60_000, [parseIPv4(VIP)]],
    ] as const) {
      if (ms !== undefined) forwarder.answerFor(ms)
      await heard()
      farEnd.inject(arp(ARP_REQUEST, parseIPv4('10.7.0.2'), parseIPv4(VIP)))
      // A command may overtake a frame once, not twice.
      t.same([...(await heard()), ...(await heard())], expected)
    }
  })

  await t.test('that has died is told of, to whoever asks after that too', async (t) => {
    // What it waits for is gone: it cannot wait any more.
    closeDescriptor(forwarder.wakeDescriptor)
    await until(() => !forwarder.isRunning)
    t.match(await new Promise((resolve) => forwarder.onFailure(resolve)), {
      code: 'FORWARDER_FAILED',
      message: /^the forwarding thread has died: .* was closed while it was waited for/,
    })
  })
})
