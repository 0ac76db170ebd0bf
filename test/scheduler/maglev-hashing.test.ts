/** Maglev hashing: compliance and agreement with its naive model for its flags, its hash, and how little a change moves. */
import { test } from 'tap'
import { sipHash } from '../../scheduler/hash.ts'
import { maglevHashing } from '../../scheduler/maglev-hashing.ts'
import { schedulerCompliance } from '../compliance/scheduler.ts'
import { seededRandom } from '../random.ts'
import { ipv4Words, ModelledService, newServer } from './modelled-service.ts'
import { agreesWithNaiveModel, smallNumbers } from './naive-agreement.ts'
import { NaiveMaglev, sip13 } from './naive-hashing.ts'

for (const flags of [[], ['mh-port'], ['mh-fallback'], ['mh-fallback', 'mh-port']]) {
  const mayRefuse = !flags.includes('mh-fallback')
  test(`maglev hashing with the flags ${flags} is a scheduler`, (t) =>
    schedulerCompliance(t, maglevHashing, { flags, mayRefuse }))
}

for (const [flags, limits] of [
  [['mh-port'], smallNumbers],
  [['mh-fallback', 'mh-port'], smallNumbers],
  [['mh-fallback'], { weight: 200, connections: 0 }],
] as const) {
  test(`maglev hashing with the flags ${flags} agrees with its naive model`, (t) =>
    agreesWithNaiveModel(t, maglevHashing, () => new NaiveMaglev(flags), limits, { flags }, 4))
}

test('the hash is SipHash-1-3', async (t) => {
  const random = seededRandom(1)
  for (const word of [0, 1, -1, 2 ** 31, 0x0a01_0002, ...Array.from({ length: 500 }, () => random.below(2 ** 32))]) {
    for (const key of [2654435761, 2654446892, 0, 2 ** 32 - 1]) {
      t.equal(sipHash(word, key), Number(sip13(BigInt.asUintN(32, BigInt(word)), BigInt(key))))
    }
  }
})

function clientsOf(service: ModelledService): (string | undefined)[] {
  return Array.from({ length: 5000 }, (_, client) => service.select({ source: ipv4Words(client * 77) })?.name)
}

function serviceOf(count: number): ModelledService {
  const service = new ModelledService(maglevHashing)
  for (let number = 0; number < count; number++) service.add(newServer(`s${number}`, 1, 0x0a02_000b + number))
  return service
}

test('quiescing a server refuses its clients and moves nobody else’s', async (t) => {
  const service = serviceOf(5)
  const before = clientsOf(service)
  service.edit(service.servers[2], 0)
  t.strictSame(
    clientsOf(service),
    before.map((name) => (name === service.servers[2].name ? undefined : name)),
  )
})

test('removing one of twenty servers moves few clients of the others', async (t) => {
  const service = serviceOf(20)
  const before = clientsOf(service)
  const { name } = service.servers[7]
  service.remove(service.servers[7])
  const after = clientsOf(service)
  const others = before.flatMap((server, client) => (server === name ? [] : [client]))
  const moved = others.filter((client) => before[client] !== after[client])
  t.ok(moved.length < others.length * 0.1, `${moved.length} of ${others.length}`)
})

test('servers of one weight have nearly the same number of clients', async (t) => {
  const counts = new Map<string | undefined, number>()
  for (const name of clientsOf(serviceOf(10))) counts.set(name, (counts.get(name) ?? 0) + 1)
  t.equal(counts.size, 10)
  for (const [name, count] of counts) t.ok(count > 400 && count < 600, `${name}: ${count}`)
})
