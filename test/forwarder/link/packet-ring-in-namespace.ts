/** Run by packet-ring.test.ts inside a network namespace that nothing else uses. */
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { type Test, test } from 'tap'
import { createFrames, type Frame } from '../../../forwarder/link/link.ts'
import { PacketRingLink } from '../../../forwarder/link/packet-ring.ts'
import { allocateFrameMemory } from '../../../forwarder/sys/memory.ts'
import { PollSet } from '../../../forwarder/sys/poll.ts'
import { formatMac } from '../../../protocol/packet/bytes.ts'
import { virtualRouterMac } from '../../../protocol/packet/virtual-router-mac.ts'
import { linkCompliance } from '../../compliance/link.ts'
import { icmpFrame } from '../../support/frames.ts'
import { until } from '../../until.ts'
import { createNamespace, createVethPair, ip, waitUntilUp } from '../namespace.ts'
import { openPlainPacketSocket } from './plain-packet-socket.ts'

const BULK_BYTES = 64 << 20

/** A ring on one end of a new pair of interfaces, ringN and farN, and a socket on the other; both end with the test. */
function openRing(t: Test, number: number) {
  createVethPair(`ring${number}`, `far${number}`)
  const link = new PacketRingLink(`ring${number}`, { slots: 64 })
  const farEnd = openPlainPacketSocket(`far${number}`)
  t.teardown(() => {
    link.close()
    farEnd.close()
  })
  return { link, farEnd }
}

test('a packet ring is a link', async (t) => {
  createVethPair('ring0', 'far0')
  linkCompliance(t, (slots) => ({
    link: new PacketRingLink('ring0', { slots }),
    farEnd: openPlainPacketSocket('far0'),
  }))
})

test('frames that are not for this host, of a VLAN, not IP or ARP, or our own, are not received; a priority alone is no VLAN', async (t) => {
  const { link, farEnd } = openRing(t, 1)
  const broadcast = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff]
  const frame = (destination: Iterable<number>, etherType: readonly number[]) =>
    Uint8Array.of(...destination, 2, 0, 0, 0, 0, 9, ...etherType, ...Array(46).fill(7))
  farEnd.inject(frame([2, 0, 0, 0, 9, 9], [8, 0]))
  farEnd.inject(frame(link.mac, [0x88, 0xcc]))
  farEnd.inject(frame(link.mac, [0x86, 0xdd]))
  farEnd.inject(frame(link.mac, [0x81, 0, 0, 5, 8, 0]))
  farEnd.inject(frame(link.mac, [0x81, 0, 0xe0, 5, 8, 0]))
  farEnd.inject(frame(link.mac, [0x81, 0, 0xe0, 0, 0x81, 0, 0, 5, 8, 0]))
  farEnd.inject(frame(link.mac, [0x81, 0, 0xf0, 0, 8, 0]))
  farEnd.inject(frame(broadcast, [8, 6]))
  farEnd.inject(frame(link.mac, [8, 0]))
  const poll = new PollSet([link.descriptor])
  const received: Frame[] = []
  await until(() => {
    poll.wait(50)
    const frames = createFrames(8)
    received.push(...frames.slice(0, link.receive(frames)))
    return received.length >= 4
  })
  t.same(
    received.map(({ memory, start, length }) => [length, ...memory.bytes.subarray(start + 12, start + 15)]),
    [
      [60, 0x86, 0xdd, 7],
      [60, 8, 0, 7],
      [60, 8, 6, 7],
      [60, 8, 0, 7],
    ],
    'without a tag',
  )
  link.transmit(received[0])
  link.flush()
  link.release()
  t.equal(link.receive(received), 0, 'what it sent itself does not come back')
})

test('frames to further MACs come in for as long as they are wanted, and the host takes no notice of them', async (t) => {
  const { link, farEnd } = openRing(t, 5)
  ip(`address add 10.8.0.1/24 dev ring5
      neighbour add 10.8.0.2 lladdr 02:00:00:00:00:09 dev ring5`)
  const macs = [virtualRouterMac(51, false), virtualRouterMac(52, false), virtualRouterMac(51, true)]
  const ask = (mac: Uint8Array) =>
    farEnd.inject(
      icmpFrame({
        destinationMac: formatMac(mac),
        from: '10.8.0.2',
        to: '10.8.0.1',
        type: 8,
        rest: mac[4] * 256 + mac[5],
      }),
    )
  /** Which of them, and what comes behind them, have come in. */
  const received = async () => {
    for (const mac of macs) ask(mac)
    ask(link.mac)
    const frames: string[] = []
    await until(() => {
      const waiting = createFrames(8)
      for (const { memory, start } of waiting.slice(0, link.receive(waiting)))
        frames.push(formatMac(memory.bytes, start))
      link.release()
      return frames.includes(formatMac(link.mac))
    })
    return frames.slice(0, -1)
  }
  const admitted = () =>
    JSON.parse(execFileSync('bridge', ['-json', 'fdb', 'show', 'dev', 'ring5'], { encoding: 'utf8' }))
      .map((entry: { mac: string }) => entry.mac)
      .filter((mac: string) => mac.startsWith('00:00:5e'))
      .sort()
  const many = Array.from({ length: 100 }, (_, index) => virtualRouterMac(101 + index, true))
  for (const wanted of [[], macs.slice(0, 1), macs.slice(1), [...macs, ...many], []]) {
    link.takeMacs(wanted)
    const asked = macs.filter((mac) => wanted.includes(mac))
    t.same(
      await received(),
      asked.map((mac) => formatMac(mac)),
    )
    t.same(admitted(), wanted.map((mac) => formatMac(mac)).sort(), 'the interface lets them in')
  }
  const answers: Uint8Array[] = []
  const isIcmp = (packet: Uint8Array) => packet[10 + 14 + 9] === 1
  await until(() => answers.push(...farEnd.take().filter(isIcmp)) >= 5)
  t.equal(answers.length, 5, 'the host has answered what came to its own MAC')
})

test('a poll set sees a waiting frame, and an interface that goes down does not keep it awake', async (t) => {
  const { link, farEnd } = openRing(t, 2)
  const poll = new PollSet([link.descriptor])
  t.equal(poll.wait(0), 0)
  ip('link set ring2 down')
  poll.wait(0)
  t.equal(poll.wait(0), 0)
  ip('link set ring2 up')
  const [frame] = createFrames(1)
  waitUntilUp('far2')
  farEnd.inject(Uint8Array.of(...link.mac, 2, 0, 0, 0, 0, 9, 8, 0, ...Array(46).fill(7)))
  await until(() => poll.wait(50) > 0)
  t.ok(poll.isReadable(0))
  t.equal(link.receive([frame]), 1)
  link.release()
  t.equal(poll.wait(0), 0)

  ip('link set ring2 down')
  for (let index = 0; index < 3; index++) link.transmit(frame)
  link.flush()
  t.match(link.statistics, { transmitErrors: 3, transmittedFrames: 0, transmittedBytes: 0 })
})

test('a frame may lie across a 4 GiB boundary of addresses', async (t) => {
  const { link, farEnd } = openRing(t, 3)
  const { bytes, view, addressHigh, addressLow } = allocateFrameMemory(2048)
  const frame = Uint8Array.of(...link.mac, 2, 0, 0, 0, 0, 9, 8, 0, ...Array(46).fill(7))
  bytes.set(frame, 100)
  // The same address, said so that low half and offset carry into the high half.
  const memory = { bytes, view, addressHigh: addressHigh - 1, addressLow: addressLow + 2 ** 32 }
  link.transmit({ memory, start: 100, length: frame.length })
  link.flush()
  let captured: Uint8Array[] = []
  await until(() => {
    captured = farEnd.take()
    return captured.length > 0
  })
  t.same(captured[0].subarray(10), frame)
})

test('after close, a frame that somebody kept is empty instead of a crash', async (t) => {
  createVethPair('ring4', 'far4')
  const link = new PacketRingLink('ring4', { slots: 1 })
  const farEnd = openPlainPacketSocket('far4')
  t.teardown(() => farEnd.close())
  const [frame] = createFrames(1)
  farEnd.inject(Uint8Array.of(...link.mac, 2, 0, 0, 0, 0, 9, 8, 0, ...Array(46).fill(7)))
  await until(() => link.receive([frame]) === 1)
  t.equal(frame.memory.bytes[frame.start + 20], 7)
  link.close()
  t.equal(frame.memory.bytes[frame.start + 20], undefined)
})

test('an interface that is not there, or not Ethernet, is named', async (t) => {
  t.throws(() => new PacketRingLink('nowhere'), { code: 'INTERFACE_MISSING', message: /nowhere/ })
  t.throws(() => new PacketRingLink('lo'), { code: 'INTERFACE_MISSING', message: /^lo: not an Ethernet/ })
  t.throws(() => new PacketRingLink('a-name-that-is-too-long'), { code: 'INTERFACE_MISSING' })
})

/**
 * Two kernels' TCP, large segments and unfinished checksums as they come, through two rings that hand each frame on. Each
 * ring's interface carries the other end's hardware address, so that the ends find each other by ARP as on one wire.
 */
test('64 MiB of TCP pass from ring to ring unchanged', async (t) => {
  const left = await createNamespace()
  const right = await createNamespace()
  t.teardown(() => {
    left.close()
    right.close()
  })
  createVethPair('ringL', 'left')
  createVethPair('ringR', 'right')
  ip(`link set left address 02:00:00:00:00:0a netns ${left.pid}
      link set right address 02:00:00:00:00:0b netns ${right.pid}
      link set ringL address 02:00:00:00:00:0b
      link set ringR address 02:00:00:00:00:0a`)
  ip('address add 10.9.0.1/24 dev left\nlink set left up', left)
  ip('address add 10.9.0.2/24 dev right\nlink set right up', right)
  const links = [new PacketRingLink('ringL'), new PacketRingLink('ringR')]
  t.teardown(() => {
    for (const link of links) link.close()
  })

  const peer = (namespace: typeof left, role: string) => {
    const file = fileURLToPath(new URL('bulk-peer.ts', import.meta.url))
    const [command, ...rest] = [...namespace.enter, process.execPath, file]
    return spawn(command, [...rest, role, '10.9.0.2', `${BULK_BYTES}`], { stdio: ['ignore', 'pipe', 'inherit'] })
  }
  const server = peer(right, 'receive')
  await once(server.stdout, 'data')
  const client = peer(left, 'send')
  const finished = Promise.all([server, client].map(({ stdout }) => once(stdout, 'data').then(String)))

  const poll = new PollSet(links.map((link) => link.descriptor))
  const frames = createFrames(128)
  let isFinished = false
  let longest = 0
  finished.finally(() => {
    isFinished = true
  })
  while (!isFinished) {
    poll.wait(2)
    for (const [index, link] of links.entries()) {
      const count = link.receive(frames)
      for (const frame of frames.slice(0, count)) {
        longest = Math.max(longest, frame.length)
        links[1 - index].transmit(frame)
      }
      links[1 - index].flush()
      link.release()
    }
    await new Promise(setImmediate)
  }
  const [received, sent] = await finished
  t.equal(received, sent)
  t.match(sent, new RegExp(`^${BULK_BYTES} bytes`))
  t.ok(longest > 10_000, `frames longer than the MTU came through, up to ${longest} bytes`)
  for (const link of links) t.match(link.statistics, { transmitErrors: 0, overruns: 0 })
})
