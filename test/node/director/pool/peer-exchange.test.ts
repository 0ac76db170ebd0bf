/** What peers say waits to be read: of whom, how much, and who is believed when it is. */
import { test } from 'tap'
import type { MessageHandler, PeerName } from '../../../../node/director/cluster/transport.ts'
import { untilDone } from '../../../../node/director/pace.ts'
import { encodeDigest, encodeEntries, packEntry } from '../../../../node/director/pool/config-message.ts'
import { PeerExchange, UNREAD_MAX, UNREAD_OF_ONE_MAX } from '../../../../node/director/pool/peer-exchange.ts'
import { PoolEntries } from '../../../../node/director/pool/pool-entries.ts'

const [message] = encodeEntries([
  packEntry({ kind: 'settings', stamp: { wallMs: 1, counter: 0, director: 'b' }, settings: {} }),
])

function exchange(ids: Record<PeerName, string>) {
  let hear: MessageHandler = () => {}
  const read: PeerName[] = []
  const agreed = { times: 0 }
  const entries = new PoolEntries()
  const current = new Map(Object.entries(ids))
  new PeerExchange({
    transport: {
      broadcast: () => {},
      send: async () => {},
      onPeer: () => {},
      onMessage: (_, handler) => {
        hear = handler
      },
    },
    entries,
    idOf: (peer) => current.get(peer),
    onAgreed: () => agreed.times++,
    onEntries: ({ length }, from) => {
      if (length > 0) read.push(from)
    },
    onInvalid: () => {},
  }).start()
  const say = (from: PeerName, times: number, what = message) => {
    for (let each = 0; each < times; each++) hear(from, what)
  }
  return { current, read, agreed, entries, say }
}

const timesOf = (name: PeerName, read: readonly PeerName[]) => read.filter((each) => each === name).length

test('what waits of one who ceases to be a peer is not read, not even when another has his name', async (t) => {
  const { current, read, say } = exchange({ b: 'old', c: 'C', d: 'D' })
  for (const peer of ['b', 'c', 'd']) say(peer, 3)
  t.same(read, ['b'], 'the others wait')
  current.set('b', 'new')
  current.delete('c')
  say('c', 1)
  say('b', 1)
  await untilDone()
  t.same(read.toSorted(), ['b', 'b', 'd', 'd', 'd'], 'but what he says who has the name now')
})

test('who says much does not keep the others waiting', async (t) => {
  const { read, say } = exchange({ b: 'B', c: 'C' })
  say('b', 2 * UNREAD_MAX)
  say('c', 2)
  await untilDone()
  t.same(read.slice(0, 5), ['b', 'b', 'c', 'b', 'c'])
  t.equal(timesOf('b', read), 1 + UNREAD_OF_ONE_MAX, 'one was read at once')
  say('b', 1)
  t.equal(timesOf('b', read), 2 + UNREAD_OF_ONE_MAX, 'when all is read, it is heard again')
})

test('of all together no more waits than the bound', async (t) => {
  const { read, say } = exchange({ b: 'B', c: 'C', d: 'D' })
  for (const peer of ['b', 'c', 'd']) say(peer, UNREAD_MAX)
  await untilDone()
  t.equal(read.length, UNREAD_MAX)
})

test('two who fill all the room make some for a third', async (t) => {
  const { read, say } = exchange({ b: 'B', c: 'C', d: 'D' })
  for (const peer of ['b', 'c']) say(peer, UNREAD_MAX)
  say('d', 3)
  await untilDone()
  t.equal(timesOf('d', read), 3)
  t.equal(read.length, UNREAD_MAX)
})

test('a peer with the same digest is said to agree', async (t) => {
  const { agreed, entries, say } = exchange({ b: 'B' })
  say('b', 1, encodeDigest(Buffer.alloc(32, 1)))
  await untilDone()
  t.equal(agreed.times, 0)
  say('b', 1, encodeDigest(entries.digest))
  t.equal(agreed.times, 1)
})
