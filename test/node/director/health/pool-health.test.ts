/** The pool's verdict, over a network in memory. */
import { test } from 'tap'
import type { MessageHandler } from '../../../../node/director/cluster/transport.ts'
import { encodeOpinions } from '../../../../node/director/health/opinion-message.ts'
import { PoolHealth, roundMs, verdictOf } from '../../../../node/director/health/pool-health.ts'
import type { HealthState } from '../../../../node/director/health/rise-fall.ts'
import { untilDone } from '../../../../node/director/pace.ts'

const server = '10.0.0.1:80'

const votes: [string, HealthState, HealthState[], HealthState][] = [
  ['when nobody knows, the verdict is unknown', 'unknown', [], 'unknown'],
  ['alone, a director goes by its own opinion', 'down', [], 'down'],
  ['one who knows decides for those who do not', 'unknown', ['up'], 'up'],
  ['of two who disagree, each goes by its own opinion: up', 'up', ['down'], 'up'],
  ['of two who disagree, each goes by its own opinion: down', 'down', ['up'], 'down'],
  ['two outvote one who finds a server dead', 'down', ['up', 'up'], 'up'],
  ['nobody outvotes one who reaches a server', 'up', ['down', 'down'], 'up'],
  ['peers who disagree leave one without an opinion without a verdict', 'unknown', ['up', 'down'], 'unknown'],
]
for (const [what, own, others, verdict] of votes) {
  test(what, async (t) => t.equal(verdictOf(own, others), verdict))
}

/** Directors that hear each other at once; `cut` holds the names whose cable is pulled. */
function pool(names: string[]) {
  const now = { ms: 0 }
  const cut = new Set<string>()
  const handlers = new Map<string, MessageHandler>()
  const peerHandlers = new Map<string, (peer: string, connected: boolean) => void>()
  const sent: string[] = []
  const changes: unknown[][] = []
  const directors = names.map((name) => {
    const director = new PoolHealth({
      transport: {
        onMessage: (_topic, handler) => void handlers.set(name, handler),
        onPeer: (handler) => void peerHandlers.set(name, handler),
        send: async (peer, topic, message) => {
          sent.push(`${name} ${topic} to ${peer}`)
          handlers.get(peer)?.(name, message)
        },
        broadcast: (topic, message) => {
          sent.push(`${name} ${topic}`)
          for (const [other, handler] of handlers) {
            if (other !== name && !cut.has(name) && !cut.has(other)) handler(name, message)
          }
        },
      },
      wallClockMs: 1000,
      monotonicMs: () => now.ms,
      onChange: (key, verdict) => changes.push([name, key, verdict]),
    })
    director.add(server)
    return director
  })
  const tick = (ms: number) => {
    now.ms += ms
    for (const director of directors) director.tick()
  }
  /** A director changes its mind, and tells. */
  const decide = (director: number, state: HealthState) => {
    directors[director].setOwn(server, state)
    directors[director].tick()
  }
  const verdicts = () => directors.map((director) => director.verdict(server))
  /** Two directors reach each other, or do not any more. */
  const connect = (one: string, other: string, connected = true) => {
    peerHandlers.get(one)?.(other, connected)
    peerHandlers.get(other)?.(one, connected)
  }
  return { directors, changes, sent, handlers, cut, tick, decide, verdicts, connect }
}

test('one opinion is the verdict of all, at once', async (t) => {
  const { decide, verdicts, changes } = pool(['a', 'b', 'c'])
  decide(0, 'down')
  t.same(verdicts(), ['down', 'down', 'down'])
  t.equal(changes.length, 3)
})

test('a director that alone finds a server dead is outvoted', async (t) => {
  const { decide, verdicts, changes } = pool(['a', 'b', 'c'])
  for (const director of [0, 1, 2]) decide(director, 'up')
  changes.length = 0
  decide(0, 'down')
  t.same(verdicts(), ['up', 'up', 'up'])
  decide(1, 'down')
  t.same(verdicts(), ['down', 'down', 'up'])
  t.same(changes.toSorted(), [
    ['a', server, 'down'],
    ['b', server, 'down'],
  ])
})

test('directors that are cut off from the servers take none from one that reaches them', async (t) => {
  const { decide, verdicts, tick } = pool(['a', 'b', 'c'])
  for (const director of [0, 1, 2]) decide(director, 'up')
  for (const director of [1, 2]) decide(director, 'down')
  for (let second = 0; second < 10; second++) tick(1000)
  t.same(verdicts(), ['up', 'down', 'down'])
  decide(0, 'down')
  t.same(verdicts(), ['down', 'down', 'down'])
})

test('a director that can ask no longer goes by the others, and they by what it said no longer than if it were silent', async (t) => {
  const { decide, verdicts, tick, sent } = pool(['a', 'b', 'c'])
  decide(0, 'up')
  decide(0, 'unknown')
  t.same(verdicts(), ['up', 'up', 'up'])
  sent.length = 0
  decide(1, 'down')
  t.same(verdicts(), ['down', 'down', 'unknown'])
  for (let second = 0; second < 6; second++) tick(1000)
  t.same(verdicts(), ['down', 'down', 'down'])
  t.notOk(sent.includes('a health'), 'it tells nothing')
})

test('what a director knew last stays in force when it can ask no longer and nobody else knows', async (t) => {
  const { directors, decide, handlers } = pool(['a'])
  decide(0, 'down')
  decide(0, 'unknown')
  t.equal(directors[0].verdict(server), 'down')
  handlers.get('a')?.('b', encodeOpinions({ sequence: 1, opinions: [[server, 'up']] }))
  t.equal(directors[0].verdict(server), 'up')
  await directors[0].forget('b')
  t.equal(directors[0].verdict(server), 'down')
})

test('opinions of a director that is not heard of any more do not count for ever', async (t) => {
  const { directors, decide, verdicts, cut, tick } = pool(['a', 'b', 'c'])
  decide(0, 'down')
  decide(1, 'up')
  decide(2, 'up')
  t.same(verdicts(), ['up', 'up', 'up'])
  cut.add('b')
  cut.add('c')
  tick(5000)
  t.equal(directors[0].verdict(server), 'up')
  tick(1000)
  t.equal(directors[0].verdict(server), 'down')
})

test('opinions of a director that is no peer any more count no longer, and its name is free for another', async (t) => {
  const { directors, handlers, changes } = pool(['a'])
  directors[0].setOwn(server, 'down')
  handlers.get('a')?.('b', encodeOpinions({ sequence: 9000, opinions: [[server, 'up']] }))
  handlers.get('a')?.('c', encodeOpinions({ sequence: 9000, opinions: [[server, 'up']] }))
  t.equal(directors[0].verdict(server), 'up')
  await directors[0].forget('b')
  t.equal(directors[0].verdict(server), 'down')
  t.equal(changes.length, 3)
  handlers.get('a')?.('b', encodeOpinions({ sequence: 1, opinions: [[server, 'up']] }))
  t.equal(directors[0].verdict(server), 'up')
})

test('opinions that are repeated stay fresh, and a newcomer learns them within a second', async (t) => {
  const { decide, verdicts, cut, tick } = pool(['a', 'b'])
  cut.add('b')
  decide(0, 'down')
  t.same(verdicts(), ['down', 'unknown'])
  cut.delete('b')
  for (let second = 0; second < 20; second++) tick(1000)
  t.same(verdicts(), ['down', 'down'])
})

test('a director is informed when its peers have told it all they know since they connected, or it knows of every server itself', async (t) => {
  const { directors, decide, cut, connect, handlers, verdicts, tick } = pool(['a', 'b', 'c'])
  cut.add('a')
  decide(1, 'down')
  t.notOk(directors[0].isInformed(['b']))
  connect('a', 'b')
  await untilDone()
  t.same(verdicts(), ['down', 'down', 'down'])
  t.ok(directors[0].isInformed(['b']), 'at once, and not with the next round')
  directors[0].add('10.0.0.2:80')
  t.ok(directors[0].isInformed(['b']), 'of that one nobody knows')
  t.notOk(directors[0].isInformed(['b', 'c']))
  connect('a', 'c')
  await untilDone()
  t.ok(directors[0].isInformed(['b', 'c']), 'who knows nothing says so')
  connect('a', 'b', false)
  t.notOk(directors[0].isInformed(['b']), 'it may know more when it comes back')
  handlers.get('a')?.('b', encodeOpinions({ sequence: 9_000, opinions: [[server, 'down']], known: 2 }))
  t.notOk(directors[0].isInformed(['b']), 'it knows of one more than is configured here')
  directors[1].add('10.0.0.2:80')
  directors[1].setOwn('10.0.0.2:80', 'up')
  cut.delete('a')
  tick(1000)
  t.ok(directors[0].isInformed(['b']), 'a round ends with the same word')
  t.ok(directors[0].isInformed(['d']), 'of every server there is a verdict')
})

test('thousands of opinions are told a newcomer in several messages', async (t) => {
  const { directors, connect, sent } = pool(['a', 'b'])
  for (let index = 0; index < 1200; index++) {
    for (const director of directors) director.add(`10.0.${index >> 8}.${index & 255}:80`)
    directors[0].setOwn(`10.0.${index >> 8}.${index & 255}:80`, 'down')
  }
  connect('a', 'b')
  await untilDone()
  t.equal(sent.filter((each) => each === 'a health to b').length, 3)
  t.equal(directors[1].verdict('10.0.4.175:80'), 'down')
  t.ok(directors[1].isInformed(['a']))
})

test('a message overtaken by a later one is too late', async (t) => {
  const { directors, handlers } = pool(['a', 'b'])
  handlers.get('a')?.('b', encodeOpinions({ sequence: 8, opinions: [[server, 'down']] }))
  handlers.get('a')?.('b', encodeOpinions({ sequence: 7, opinions: [[server, 'up']] }))
  t.equal(directors[0].verdict(server), 'down')
})

test('a peer that starts again with an earlier clock is believed once its old opinions are stale', async (t) => {
  const { directors, handlers, tick } = pool(['a'])
  handlers.get('a')?.('b', encodeOpinions({ sequence: 9000, opinions: [[server, 'down']] }))
  tick(6000)
  handlers.get('a')?.('b', encodeOpinions({ sequence: 1, opinions: [[server, 'up']] }))
  t.equal(directors[0].verdict(server), 'up')
})

test('what peers say of servers that are not configured is forgotten at once', async (t) => {
  const { directors, handlers, changes } = pool(['a'])
  handlers.get('a')?.('b', encodeOpinions({ sequence: 1, opinions: [['10.9.9.9:80', 'down']] }))
  directors[0].add('10.9.9.9:80')
  t.equal(directors[0].verdict('10.9.9.9:80'), 'unknown')
  t.same(changes, [])
})

test('nonsense on the topic is counted and changes nothing', async (t) => {
  const { directors, handlers, changes } = pool(['a'])
  handlers.get('a')?.('b', Buffer.from('everything is fine'))
  handlers.get('a')?.('b', new Uint8Array(70_000))
  t.equal(directors[0].unreadableMessages, 2)
  t.same(changes, [])
})

test('a director without an opinion is silent, and one with thousands speaks in several messages, one a step', async (t) => {
  const { directors, sent, tick } = pool(['a', 'b'])
  tick(1000)
  t.same(sent, [])
  const servers = Array.from({ length: 5000 }, (_, index) => `10.0.${index >> 8}.${index & 255}:80`)
  for (const key of servers) for (const director of directors) director.add(key)
  for (const key of servers) directors[0].setOwn(key, 'up')
  tick(0)
  t.equal(sent.length, 10, 'what has changed is told at once')
  sent.length = 0
  tick(1000)
  for (let step = 0; step < 9; step++) tick(50)
  t.equal(sent.length, 10)
  tick(49)
  t.equal(sent.length, 10)
  t.equal(directors[1].verdict(servers[4999]), 'up')
})

test('a hundred thousand opinions are repeated in ten seconds, and stay fresh for fifty', async (t) => {
  t.equal(roundMs(1), 1000)
  t.equal(roundMs(10_000), 1000)
  t.equal(roundMs(100_000), 9800)
})
