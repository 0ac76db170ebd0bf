/**
 * A SYN flood at twenty times the rate of real clients, over the memory link and a virtual clock: what the real clients
 * notice of it. Forged SYNs come from addresses that never answer; a real client opens a connection, is answered after a round
 * trip, sends a request at once and every second until the end, and repeats a SYN that is not answered, as TCP does.
 */
import { test } from 'tap'
import type { EngineSettings } from '../../forwarder/settings.ts'
import { TCP_ACK, TCP_SYN } from '../../protocol/packet/tcp.ts'
import { clientTcp, INSIDE, OUTSIDE, scene, serverTcp } from '../support/scene.ts'

const STEP_MS = 10
const SECONDS = 20
const REAL_PER_SECOND = 10
const FORGED_PER_SECOND = 20 * REAL_PER_SECOND
const ROUND_TRIP_MS = 50
const REPEAT_MS = 1000
const CONNECTIONS = 512

interface RealClient {
  readonly address: string
  synSentMs: number
  answerDueMs: number
  establishedMs: number
  requests: number
  answered: number
  syns: number
}

/** @returns every real client, and the director that they met */
function flood(settings: Partial<EngineSettings>, forgedPerSecond: number) {
  const bench = scene({ connections: CONNECTIONS, ringSlots: 4096 })
  bench.set(settings)
  const clients: RealClient[] = []
  const startMs = bench.nowMs
  let forged = 0
  for (let ms = 0; ms < SECONDS * 1000; ms += STEP_MS) {
    bench.nowMs = startMs + ms
    for (; forged < (ms * forgedPerSecond) / 1000; forged++) {
      const address = `192.0.${2 + (forged >> 8)}.${forged & 255}:${1024 + forged}`
      bench.send(OUTSIDE, clientTcp({ from: address, flags: TCP_SYN }))
    }
    // The last two seconds are for those who have to repeat their SYN.
    if (ms < (SECONDS - 2) * 1000 && ms % (1000 / REAL_PER_SECOND) === 0) {
      const address = `203.0.113.${1 + (clients.length % 250)}:${1024 + clients.length}`
      clients.push({
        address,
        synSentMs: -REPEAT_MS,
        answerDueMs: 0,
        establishedMs: -1,
        requests: 0,
        answered: 0,
        syns: 0,
      })
    }
    for (const client of clients) play(client, ms)
  }
  return { bench, clients }

  function request(client: RealClient): void {
    const { address } = client
    client.requests++
    const reached = bench.send(OUTSIDE, clientTcp({ from: address, payload: 'request' })).length === 1
    const answer = reached ? bench.send(INSIDE, serverTcp({ to: address, payload: 'answer' })) : []
    if (answer[0]?.link === OUTSIDE) client.answered++
  }

  function play(client: RealClient, ms: number): void {
    const { address } = client
    if (client.establishedMs >= 0) {
      if ((ms - client.establishedMs) % 1000 === 0) request(client)
    } else if (client.answerDueMs > 0 && ms >= client.answerDueMs) {
      client.answerDueMs = 0
      const answer = bench.send(INSIDE, serverTcp({ to: address, flags: TCP_SYN | TCP_ACK }))
      if (answer.length === 0) return
      bench.send(OUTSIDE, clientTcp({ from: address, flags: TCP_ACK }))
      client.establishedMs = ms
      request(client)
    } else if (client.answerDueMs === 0 && ms - client.synSentMs >= REPEAT_MS) {
      client.synSentMs = ms
      client.syns++
      if (bench.send(OUTSIDE, clientTcp({ from: address, flags: TCP_SYN })).length > 0) {
        client.answerDueMs = ms + ROUND_TRIP_MS
      }
    }
  }
}

const defences: [sentence: string, settings: Partial<EngineSettings>, firstTry: boolean][] = [
  ['without any defence', {}, true],
  ['with drop_entry', { dropEntry: 3 }, false],
  ['with drop_packet', { dropPacket: 3 }, false],
  ['with secure_tcp', { secureTcp: 3 }, true],
  ['with drop_entry and secure_tcp in mode 1', { dropEntry: 1, secureTcp: 1 }, false],
]
for (const [sentence, settings, firstTry] of defences) {
  test(`${sentence}, every real client is served through a SYN flood at twenty times their rate`, async (t) => {
    const { bench, clients } = flood(settings, FORGED_PER_SECOND)
    t.equal(clients.length, (SECONDS - 2) * REAL_PER_SECOND)
    t.same(
      clients.filter(({ establishedMs }) => establishedMs < 0),
      [],
      'every one is established',
    )
    t.same(
      clients.filter(({ requests, answered }) => answered < requests),
      [],
      'and every request of theirs is answered',
    )
    t.ok(clients.some(({ requests }) => requests >= SECONDS - 3))
    if (firstTry) t.ok(clients.every(({ syns }) => syns === 1))
    const states = [...bench.reader.connections()].filter(({ clientAddress }) => clientAddress.startsWith('203.'))
    t.equal(states.filter(({ state }) => state === 'ESTABLISHED').length, clients.length)
  })
}

test('the flood does fill the table, so that half-open connections have to make room', async (t) => {
  const { bench } = flood({}, FORGED_PER_SECOND)
  t.equal(bench.table.memory.used, CONNECTIONS - 1)
  t.ok(bench.engine.connections.evicted > 1000)
  t.equal(bench.drops.toObject()['table-full'], 0)
})

test('drop_entry keeps a flood at the rate of the real clients from filling the table', async (t) => {
  const calm = flood({ dropEntry: 3 }, FORGED_PER_SECOND / 20)
  t.ok(calm.bench.engine.sweep.dropped > 0)
  t.equal(calm.bench.engine.connections.evicted, 0)
})
