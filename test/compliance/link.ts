/**
 * What every link must do, whatever is below it: forwarder/link/link.ts, as tests. A link's own test hands in a factory.
 */
import type { Test } from 'tap'
import {
  createFrames,
  type Frame,
  HEADROOM,
  type Link,
  VNET_GSO_TCPV4,
  VNET_HEADER_LENGTH,
  VNET_NEEDS_CSUM,
} from '../../forwarder/link/link.ts'
import { allocateFrameMemory } from '../../forwarder/sys/memory.ts'
import { until } from '../until.ts'

/** The network as the link under test sees it. */
export interface FarEnd {
  /** Sends a frame, whole from the Ethernet header on, to the link. */
  inject(frame: Uint8Array, vnetHeader?: Uint8Array): void
  /** What arrived since the last call: of each, its virtio header and its frame. Does not wait. */
  take(): Uint8Array[]
  close(): void
}

/** Makes a link with room for that many frames and an MTU of 1500, and the far end of it. */
export type LinkFactory = (slots: number) => { link: Link; farEnd: FarEnd }

const SLOTS = 62
const ETHERNET = 14
const TCP_HEADERS = ETHERNET + 20 + 20

export function linkCompliance(t: Test, create: LinkFactory): void {
  function check(name: string, body: (t: Test, link: Link, farEnd: FarEnd) => Promise<void>) {
    t.test(name, async (t) => {
      const { link, farEnd } = create(SLOTS)
      t.teardown(() => {
        link.close()
        farEnd.close()
      })
      await body(t, link, farEnd)
    })
  }

  check('a frame arrives with its bytes and its length', async (t, link, farEnd) => {
    const sent = packet(link, 1)
    farEnd.inject(sent)
    const [frame] = await receive(link, 1)
    t.same(bytesOf(frame), sent)
    t.equal(frame.length, sent.length)
  })

  check('nothing waits where nothing came', async (t, link) => {
    t.equal(link.receive(createFrames(4)), 0)
  })

  check('frames arrive in order, as many as asked for, and the rest the next time', async (t, link, farEnd) => {
    for (let number = 0; number < 10; number++) farEnd.inject(packet(link, number))
    const received: Frame[] = []
    await until(() => {
      const batch = createFrames(3)
      const count = link.receive(batch)
      t.ok(count <= 3)
      received.push(...batch.slice(0, count))
      return received.length === 10
    })
    t.same(received.map(numberOf), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
  })

  check('the headroom of every frame is its own to write', async (t, link, farEnd) => {
    for (let round = 0; round < 3; round++) {
      const sent = Array.from({ length: SLOTS }, (_, number) => packet(link, round * SLOTS + number, 60 + number * 20))
      for (const frame of sent) farEnd.inject(frame)
      const received = await receive(link, SLOTS)
      for (const { memory, start } of received) {
        t.ok(start >= HEADROOM + VNET_HEADER_LENGTH)
        memory.bytes.fill(0xee, start - VNET_HEADER_LENGTH - HEADROOM, start)
      }
      t.same(received.map(bytesOf), sent)
      link.release()
    }
  })

  check('slots that were given back are filled again, many times round', async (t, link, farEnd) => {
    for (let number = 0; number < SLOTS * 3; number += 24) {
      for (let next = 0; next < 24; next++) farEnd.inject(packet(link, number + next))
      const received = await receive(link, 24)
      t.same(
        received.map(numberOf),
        received.map((_, index) => number + index),
      )
      link.release()
    }
    t.equal(link.statistics.overruns, 0)
  })

  check('a frame rewritten in place leaves as it was rewritten', async (t, link, farEnd) => {
    farEnd.inject(packet(link, 1, 200))
    const [frame] = await receive(link, 1)
    const rewritten = packet(link, 77, 200)
    frame.memory.bytes.set(rewritten, frame.start)
    t.ok(link.transmit(frame))
    link.flush()
    link.release()
    const [captured] = await capture(farEnd, 1)
    t.same(captured.subarray(VNET_HEADER_LENGTH), rewritten)
  })

  check('a frame can grow at its front by an outer header', async (t, link, farEnd) => {
    const inner = packet(link, 5, 300)
    farEnd.inject(inner)
    const [frame] = await receive(link, 1)
    const { bytes } = frame.memory
    const outer = Uint8Array.from({ length: 20 }, (_, index) => (index === 0 ? 0x45 : 200 + index))
    bytes.copyWithin(frame.start - 20, frame.start, frame.start + ETHERNET)
    bytes.set(outer, frame.start - 20 + ETHERNET)
    frame.start -= 20
    frame.length += 20
    bytes.fill(0, frame.start - VNET_HEADER_LENGTH, frame.start)
    t.ok(link.transmit(frame))
    link.flush()
    link.release()
    const [captured] = await capture(farEnd, 1)
    const expected = [...inner.subarray(0, ETHERNET), ...outer, ...inner.subarray(ETHERNET)]
    t.same([...captured.subarray(VNET_HEADER_LENGTH)], expected)
  })

  check('a 64 KiB frame with an unfinished checksum passes whole, in and out', async (t, link, farEnd) => {
    const large = packet(link, 9, TCP_HEADERS + 45 * 1448)
    farEnd.inject(large, unfinished(1448))
    const [frame] = await receive(link, 1)
    t.same(bytesOf(frame), large)
    t.same(offload(frame.memory.bytes, frame.start - VNET_HEADER_LENGTH), {
      needsChecksum: true,
      gsoType: VNET_GSO_TCPV4,
      segmentBytes: 1448,
      checksumStart: ETHERNET + 20,
      checksumOffset: 16,
    })
    t.ok(link.transmit(frame))
    link.flush()
    link.release()
    const [captured] = await capture(farEnd, 1)
    t.same(captured.subarray(VNET_HEADER_LENGTH), large)
    t.same(offload(captured, 0), {
      needsChecksum: true,
      gsoType: VNET_GSO_TCPV4,
      segmentBytes: 1448,
      checksumStart: ETHERNET + 20,
      checksumOffset: 16,
    })
  })

  check('a frame may be sent from memory that is not the link’s', async (t, link, farEnd) => {
    const memory = allocateFrameMemory(2048)
    const frame = { memory, start: 100, length: 90 }
    memory.bytes.set(packet(link, 3, 90), frame.start)
    t.ok(link.transmit(frame))
    link.flush()
    const [captured] = await capture(farEnd, 1)
    t.same(captured.subarray(VNET_HEADER_LENGTH), packet(link, 3, 90))
  })

  check('a batch leaves in order', async (t, link, farEnd) => {
    for (const frame of prepared(link, 50)) t.ok(link.transmit(frame))
    t.same(farEnd.take(), [], 'nothing leaves before flush')
    link.flush()
    const captured = await capture(farEnd, 50)
    t.same(
      captured.map((bytes) => numberIn(bytes, VNET_HEADER_LENGTH)),
      captured.map((_, index) => index),
    )
    link.flush()
    t.same(farEnd.take(), [], 'a second flush sends nothing again')
  })

  check('frames beyond the queue are refused and counted, the others leave', async (t, link, farEnd) => {
    const [frame] = prepared(link, 1)
    let accepted = 0
    while (accepted < 5000 && link.transmit(frame)) accepted++
    t.ok(accepted < 5000, 'the queue has an end')
    t.equal(link.transmit(frame), false)
    t.equal(link.statistics.transmitErrors, 2)
    link.flush()
    t.equal(link.statistics.transmittedFrames, accepted)
    await capture(farEnd, accepted)
    t.ok(link.transmit(frame), 'after a flush there is room again')
  })

  check('a frame that the network refuses costs no other', async (t, link, farEnd) => {
    const batch = prepared(link, 6)
    batch[0].length = 9 // no Ethernet header
    batch[2].length = 1600 // longer than the MTU, and nobody is told to cut it
    batch[4].memory.bytes.set([VNET_NEEDS_CSUM, 0, 0, 0, 0, 0, 0xf0, 0x0f], batch[4].start - VNET_HEADER_LENGTH)
    batch[5].length = 1900 // to be cut into TCP segments, but TCP is not what the IPv4 header says comes next
    batch[5].memory.bytes.set(packet(link, 5, 1900).with(ETHERNET + 9, 4), batch[5].start)
    batch[5].memory.bytes.set(unfinished(1400), batch[5].start - VNET_HEADER_LENGTH)
    for (const frame of batch) link.transmit(frame)
    link.flush()
    const captured = await capture(farEnd, 2)
    t.same(
      captured.map((bytes) => numberIn(bytes, VNET_HEADER_LENGTH)),
      [1, 3],
    )
    t.match(link.statistics, { transmittedFrames: 2, transmittedBytes: 120, transmitErrors: 4 })
  })

  check('a full ring counts what it had no room for, and goes on after release', async (t, link, farEnd) => {
    for (let number = 0; number < SLOTS + 10; number++) farEnd.inject(packet(link, number))
    const received = await receive(link, SLOTS)
    await until(() => link.statistics.overruns === 10)
    t.same(
      received.map(numberOf),
      received.map((_, index) => index),
    )
    t.equal(link.receive(createFrames(1)), 0, 'frames that are held do not come a second time')
    link.release()
    t.equal(link.receive(createFrames(1)), 0)
    farEnd.inject(packet(link, 500))
    t.equal(numberOf((await receive(link, 1))[0]), 500)
    t.equal(link.statistics.overruns, 10)
  })

  check('frames and bytes are counted both ways', async (t, link, farEnd) => {
    farEnd.inject(packet(link, 1, 100))
    farEnd.inject(packet(link, 2, 150))
    const [first, second] = await receive(link, 2)
    t.equal(link.transmit(first), true)
    t.equal(link.transmit(second), true)
    t.equal(link.transmit(first), true)
    link.flush()
    t.same(
      { ...link.statistics, overruns: link.statistics.overruns },
      {
        receivedFrames: 2,
        receivedBytes: 250,
        transmittedFrames: 3,
        transmittedBytes: 350,
        transmitErrors: 0,
        overruns: 0,
      },
    )
  })

  check('a closed link takes and gives nothing, and may be closed again', async (t, link, farEnd) => {
    farEnd.inject(packet(link, 1))
    await receive(link, 1)
    const [frame] = prepared(link, 1)
    link.transmit(frame)
    link.close()
    link.flush()
    link.release()
    t.equal(link.receive(createFrames(1)), 0)
    t.equal(link.transmit(frame), false)
    link.flush()
    link.close()
    t.same(farEnd.take(), [])
    t.equal(link.statistics.receivedFrames, 1, 'what was counted can still be read')
    t.equal(link.statistics.overruns, 0)
  })
}

/** An IPv4 TCP frame to the link, that carries its number behind the headers and a pattern of its own from there on. */
function packet(link: Link, number: number, length = 60): Uint8Array {
  const bytes = new Uint8Array(length)
  const view = new DataView(bytes.buffer)
  bytes.set(link.mac, 0)
  bytes.set([2, 0, 0, 0, 0, 9, 0x08, 0x00, 0x45], 6)
  view.setUint16(ETHERNET + 2, length - ETHERNET)
  bytes.set([64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2], ETHERNET + 8)
  bytes[ETHERNET + 20 + 12] = 5 << 4
  for (let index = TCP_HEADERS + 4; index < length; index++) bytes[index] = number * 7 + index * 31 + (index >> 8)
  view.setUint32(TCP_HEADERS, number)
  return bytes
}

const numberIn = (bytes: Uint8Array, start: number) =>
  new DataView(bytes.buffer, bytes.byteOffset).getUint32(start + TCP_HEADERS)
const numberOf = (frame: Frame) => numberIn(frame.memory.bytes, frame.start)
const bytesOf = ({ memory, start, length }: Frame) => memory.bytes.slice(start, start + length)

/** Frames of 60 bytes, numbered from 0, ready to be transmitted. */
function prepared(link: Link, count: number): Frame[] {
  const memory = allocateFrameMemory(count * 2048)
  return Array.from({ length: count }, (_, number) => {
    const start = number * 2048 + 128
    memory.bytes.set(packet(link, number), start)
    return { memory, start, length: 60 }
  })
}

/** The virtio header of a TCP frame that has to be cut into segments and is not checksummed yet. */
function unfinished(segmentBytes: number): Uint8Array {
  const header = new DataView(new ArrayBuffer(VNET_HEADER_LENGTH))
  header.setUint8(0, VNET_NEEDS_CSUM)
  header.setUint8(1, VNET_GSO_TCPV4)
  header.setUint16(2, TCP_HEADERS, true)
  header.setUint16(4, segmentBytes, true)
  header.setUint16(6, ETHERNET + 20, true)
  header.setUint16(8, 16, true)
  return new Uint8Array(header.buffer)
}

function offload(bytes: Uint8Array, start: number) {
  const header = new DataView(bytes.buffer, bytes.byteOffset + start, VNET_HEADER_LENGTH)
  return {
    needsChecksum: (header.getUint8(0) & VNET_NEEDS_CSUM) !== 0,
    gsoType: header.getUint8(1),
    segmentBytes: header.getUint16(4, true),
    checksumStart: header.getUint16(6, true),
    checksumOffset: header.getUint16(8, true),
  }
}

async function receive(link: Link, count: number): Promise<Frame[]> {
  const received: Frame[] = []
  await until(() => {
    const batch = createFrames(count - received.length)
    received.push(...batch.slice(0, link.receive(batch)))
    return received.length === count
  })
  return received
}

async function capture(farEnd: FarEnd, count: number): Promise<Uint8Array[]> {
  const captured: Uint8Array[] = []
  await until(() => {
    captured.push(...farEnd.take())
    return captured.length >= count
  })
  if (captured.length > count) throw new Error(`${captured.length} frames came out instead of ${count}`)
  return captured
}
