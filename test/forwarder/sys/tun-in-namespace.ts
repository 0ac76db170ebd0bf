/** Run by tun.test.ts inside a network namespace that nothing else uses. */
import { test } from 'tap'
import { createFrames, type Frame } from '../../../forwarder/link/link.ts'
import { allocateFrameMemory } from '../../../forwarder/sys/memory.ts'
import { PollSet } from '../../../forwarder/sys/poll.ts'
import { openRawIp } from '../../../forwarder/sys/raw-ip.ts'
import { openTun } from '../../../forwarder/sys/tun.ts'
import { PROTOCOL_IPIP } from '../../../protocol/packet/ipv4.ts'
import { until } from '../../until.ts'
import { ip } from '../namespace.ts'

const OUTSIDE = [10, 8, 0, 9]
const HERE = [10, 8, 0, 1]

/** The RFC 1071 checksum. */
function checksum(bytes: ArrayLike<number>): [number, number] {
  let sum = 0
  for (let index = 0; index < bytes.length; index += 2) sum += bytes[index] * 256 + (bytes[index + 1] ?? 0)
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16)
  return [~(sum >> 8) & 0xff, ~sum & 0xff]
}

function ipv4(protocol: number, payload: readonly number[]): number[] {
  const length = 20 + payload.length
  const header = [0x45, 0, length >> 8, length & 0xff, 0, 1, 0, 0, 64, protocol, 0, 0, ...OUTSIDE, ...HERE]
  header.splice(10, 2, ...checksum(header))
  return [...header, ...payload]
}

function echoRequest(sequence: number): number[] {
  const message = [8, 0, 0, 0, 0, 7, 0, sequence, ...Buffer.from('a question')]
  message.splice(2, 2, ...checksum(message))
  return ipv4(1, message)
}

/** Lays packets out in memory the kernel can read. */
function inMemory(packets: readonly number[][]): Frame[] {
  const memory = allocateFrameMemory(packets.length * 2048)
  return packets.map((packet, index) => {
    memory.bytes.set(packet, index * 2048 + 8)
    return { memory, start: index * 2048 + 8, length: packet.length }
  })
}

test('a packet written to the device reaches the host, and its answer can be read', async (t) => {
  const tun = openTun('tun-one')
  t.teardown(() => tun.close())
  ip('address add 10.8.0.1/24 dev tun-one')
  ip('link set tun-one addrgenmode none')
  const memory = allocateFrameMemory(2048)
  while (tun.read(memory, 0) > 0);
  const poll = new PollSet([tun.descriptor])
  t.equal(poll.wait(0), 0)
  t.ok(tun.write(inMemory([echoRequest(5)])[0]))
  await until(() => poll.wait(0) > 0)
  const length = tun.read(memory, 100)
  t.equal(length, 38)
  t.same([...memory.bytes.subarray(112, 120)], [...HERE, ...OUTSIDE])
  t.same([...memory.bytes.subarray(120, 122)], [0, 0], 'an echo reply')
  t.equal(memory.bytes.subarray(128, 138).toString(), Buffer.from('a question').join())
  t.equal(tun.read(memory, 0), 0)
  memory.bytes[100] = 0x25
  t.equal(tun.write({ memory, start: 100, length }), false, 'what is neither IPv4 nor IPv6 is refused')
})

test('a second process cannot take the same device, and a closed one is gone', async (t) => {
  const tun = openTun('tun-two')
  t.throws(() => openTun('tun-two'), { code: 'SOCKET_BUSY', message: /tun-two/ })
  tun.close()
  tun.close()
  const [packet] = inMemory([echoRequest(1)])
  t.equal(tun.write(packet), false)
  t.equal(tun.read(packet.memory, 0), 0)
  t.throws(() => ip('link show tun-two'))
})

test('a raw socket receives tunnelled packets whole and in order, and leaves others alone', async (t) => {
  const tun = openTun('tun-three')
  t.teardown(() => tun.close())
  ip('address add 10.8.0.1/24 dev tun-three')
  const raw = openRawIp({ protocol: PROTOCOL_IPIP, isIPv6: false }, 4)
  t.teardown(() => raw.close())
  const sent = Array.from({ length: 6 }, (_, sequence) => ipv4(PROTOCOL_IPIP, echoRequest(sequence)))
  for (const packet of inMemory([...sent.slice(0, 3), echoRequest(9), ...sent.slice(3)])) t.ok(tun.write(packet))
  const received: number[][] = []
  const poll = new PollSet([raw.descriptor])
  await until(() => {
    if (poll.wait(50) === 0) return false
    const packets = createFrames(10)
    const count = raw.receive(packets)
    t.ok(count <= raw.batch)
    for (const { memory, start, length } of packets.slice(0, count))
      received.push([...memory.bytes.subarray(start, start + length)])
    return received.length === 6
  })
  t.same(received, sent)
  t.equal(raw.receive(createFrames(1)), 0)
  raw.close()
  t.equal(raw.receive(createFrames(1)), 0)
})

test('who may not open them is told what is missing', async (t) => {
  process.seteuid?.(65_534)
  t.teardown(() => process.seteuid?.(0))
  t.throws(() => openRawIp({ protocol: PROTOCOL_IPIP, isIPv6: false }), {
    code: 'PRIVILEGE_MISSING',
    message: /CAP_NET_RAW/,
  })
  t.throws(() => openTun('tun-four'), { code: 'PRIVILEGE_MISSING', message: /tun-four/ })
})
