/** The token behind a handshake, read from a stream whose pieces are whatever they are. */
import { test } from 'tap'
import { readToken } from '../../../../node/director/cluster/token-handshake.ts'
import { JOIN_TOKEN_BYTES_MAX } from '../../../../protocol/wire/join-token.ts'
import { seededRandom } from '../../../random.ts'

class FakeStream extends EventTarget {
  status = 'open' as const
  left = Buffer.alloc(0)

  arrive(data: Uint8Array): void {
    this.dispatchEvent(Object.assign(new Event('message'), { data }))
  }

  unshift(data: { subarray(): Uint8Array }): void {
    this.left = Buffer.concat([data.subarray(), this.left])
  }

  read(signal?: AbortSignal): ReturnType<typeof readToken> {
    return readToken(this as unknown as Parameters<typeof readToken>[0], signal)
  }
}

function frameOf(token: Uint8Array): Buffer {
  return Buffer.concat([Uint8Array.of(token.length >>> 8, token.length), token])
}

test('a token is read in whatever pieces it comes, and what is behind it stays in the stream', async (t) => {
  const random = seededRandom(1)
  for (let round = 0; round < 300; round++) {
    const token = new Uint8Array(random.oneIn(3) ? JOIN_TOKEN_BYTES_MAX : random.below(200)).fill(round)
    const behind = Buffer.alloc(random.below(20), 'behind')
    const stream = new FakeStream()
    const read = stream.read()
    let bytes = Buffer.concat([frameOf(token), behind])
    // The last piece has all that is left, as when the muxer has begun to speak.
    for (let pieces = random.below(6); pieces > 0 && bytes.length > behind.length + 1; pieces--) {
      const length = 1 + random.below(bytes.length - behind.length - 1)
      stream.arrive(bytes.subarray(0, length))
      bytes = bytes.subarray(length)
    }
    stream.arrive(bytes)
    t.same([await read, stream.left], [token, behind], `round ${round}`)
  }
})

test('what would be too long is not waited for', async (t) => {
  const stream = new FakeStream()
  const read = stream.read()
  stream.arrive(frameOf(new Uint8Array(JOIN_TOKEN_BYTES_MAX + 1)).subarray(0, 2))
  t.equal(await read, undefined)
})

test('a stream that ends, or takes too long, before the token is whole has none', async (t) => {
  const [ended, late] = [new FakeStream(), new FakeStream()]
  const limit = new AbortController()
  const reads = [ended.read(), late.read(limit.signal), late.read(AbortSignal.abort())]
  for (const stream of [ended, late]) stream.arrive(Uint8Array.of(0, 9, 1))
  ended.dispatchEvent(new Event('close'))
  limit.abort()
  for (const { status } of await Promise.allSettled(reads)) t.equal(status, 'rejected')
})
