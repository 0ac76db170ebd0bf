/** Frames of a stream, however it is cut into pieces. */
import { test } from 'tap'
import { encodeFrame, FrameReader } from '../../../protocol/wire/stream-frame.ts'
import { seededRandom } from '../../random.ts'

const LIMIT = 1000

function concatenate(parts: readonly Uint8Array[]): Uint8Array {
  return new Uint8Array(Buffer.concat(parts))
}

test('frames come out as they went in, wherever the stream is cut', async (t) => {
  const { below } = seededRandom(5)
  const wrong: number[] = []
  for (let round = 0; round < 200; round++) {
    const messages = Array.from({ length: 10 }, () => new Uint8Array(below(LIMIT + 1)).map(() => below(256)))
    const stream = concatenate(messages.map((message, n) => encodeFrame(n, message)))
    const read: [number, Uint8Array][] = []
    const reader = new FrameReader(LIMIT)
    for (let at = 0; at < stream.length; ) {
      const end = Math.min(stream.length, at + 1 + below(round % 2 ? 10 : 1500))
      if (!reader.push(stream.slice(at, end), (topic, message) => read.push([topic, message])))
        throw new Error('refused')
      at = end
    }
    const same = read.every(([topic, message], n) => topic === n && Buffer.compare(message, messages[n]) === 0)
    if (read.length !== 10 || !same) wrong.push(round)
  }
  t.same(wrong, [])
})

test('a frame that is too long is refused, also when its header comes in parts', async (t) => {
  const frame = encodeFrame(1, new Uint8Array(LIMIT + 1))
  t.notOk(new FrameReader(LIMIT).push(frame, () => t.fail('delivered')))
  const reader = new FrameReader(LIMIT)
  t.ok(reader.push(frame.subarray(0, 2), () => t.fail('delivered')))
  t.notOk(reader.push(frame.subarray(2), () => t.fail('delivered')))
})
