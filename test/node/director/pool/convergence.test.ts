/** Whatever is lost, doubled, overtaken, cut off or restarted: when the network is whole again, all directors agree. */
import { type Test, test } from 'tap'
import { DirectorError } from '../../../../protocol/errors.ts'
import { type Random, seededRandom, seeds } from '../../../random.ts'
import { PoolOfDirectors, type TestDirector } from './pool-of-directors.ts'

const NAMES = ['a', 'b', 'c', 'd']

async function changeSomething({ configuration }: TestDirector, { below }: Random): Promise<void> {
  const service = { protocol: 'tcp', address: `10.0.0.${below(3)}`, port: 80 } as const
  const server = { service, address: `10.1.0.${below(4)}`, port: 80, method: 'nat', weight: below(5) } as const
  const scheduler = ['rr', 'wrr', 'lc', 'wlc'][below(4)]
  const changes = [
    () => configuration.addService({ ...service, scheduler }),
    () => configuration.editService({ ...service, scheduler }),
    () => configuration.addServer(server),
    () => configuration.addServer(server),
    () => configuration.editServer(server),
    () => configuration.removeServer(server),
    () => configuration.removeService(service),
  ]
  await changes[below(changes.length)]().catch((error: unknown) => {
    if (!(error instanceof DirectorError)) throw error
  })
}

async function disturb(pool: PoolOfDirectors, { below }: Random): Promise<void> {
  const name = NAMES[below(NAMES.length)]
  const other = NAMES[below(NAMES.length)]
  const director = pool.directors.get(name)
  const kind = below(5)
  if (kind === 0 && name !== other) pool.network.cut(name, other)
  else if (kind === 1 && name !== other) pool.network.heal(name, other)
  else if (kind === 2) pool.network.isolate(name)
  else if (kind === 3 && director) {
    await pool.stop(name)
    await pool.start(name, director.store, below(20_000) - 10_000)
  } else if (director) director.skewMs = below(20_000) - 10_000
}

async function run(t: Test, seed: number): Promise<void> {
  const random = seededRandom(seed)
  const pool = new PoolOfDirectors(NAMES, () => random.below(2 ** 32) / 2 ** 32, 0.3)
  for (const name of NAMES) await pool.start(name)
  for (let step = 0; step < 120; step++) {
    await changeSomething(pool.directors.get(NAMES[random.below(NAMES.length)])!, random)
    if (random.below(6) === 0) await disturb(pool, random)
    await pool.advance(random.below(20))
  }
  for (const name of NAMES) pool.network.rejoin(name)
  pool.network.loss = 0
  await pool.settle()
  const [first, ...others] = pool.directors.values()
  for (const { name, configuration } of others) {
    t.same(configuration.services(), first.configuration.services(), `seed ${seed}: ${name} agrees with ${first.name}`)
  }
  for (const { configuration, changes } of pool.directors.values()) {
    const replayed = new Map(changes.map((change) => [change.service.address, change]))
    const left = [...replayed.values()].filter(({ kind }) => kind === 'set').map(({ service }) => service)
    t.same(
      left.sort((a, b) => (a.address < b.address ? -1 : 1)),
      configuration.services(),
      `seed ${seed}: the differences told add up to the configuration`,
    )
  }
}

for (const seed of seeds(12)) {
  test(`directors agree after loss, partitions, restarts and clocks that differ (seed ${seed})`, (t) => run(t, seed))
}

test('when both sides of a partition change the same service, the later change wins on both', async (t) => {
  const pool = new PoolOfDirectors(['a', 'b'])
  const a = await pool.start('a')
  const b = await pool.start('b')
  const service = { protocol: 'tcp', address: '10.0.0.100', port: 80 } as const
  await a.configuration.addService({ ...service, scheduler: 'wlc' })
  await pool.settle()
  pool.network.cut('a', 'b')
  await pool.advance(1000)
  await b.configuration.editService({ ...service, scheduler: 'rr' })
  await pool.advance(10)
  await a.configuration.editService({ ...service, scheduler: 'lc' })
  pool.network.heal('a', 'b')
  await pool.advance(100)
  t.equal(a.configuration.service(service)?.scheduler, 'lc')
  t.equal(b.configuration.service(service)?.scheduler, 'lc')
})
