/** Source hashing: compliance and agreement with its naive model, for every combination of its flags. */
import { test } from 'tap'
import { sourceHashing } from '../../scheduler/source-hashing.ts'
import { schedulerCompliance } from '../compliance/scheduler.ts'
import { ModelledService, newServer } from './modelled-service.ts'
import { agreesWithNaiveModel } from './naive-agreement.ts'
import { NaiveSourceHashing } from './naive-hashing.ts'

for (const flags of [[], ['sh-port'], ['sh-fallback'], ['sh-fallback', 'sh-port']]) {
  const mayRefuse = !flags.includes('sh-fallback')
  test(`source hashing with the flags ${flags} is a scheduler`, (t) =>
    schedulerCompliance(t, sourceHashing, { flags, mayRefuse }))

  test(`source hashing with the flags ${flags} agrees with its naive model`, (t) =>
    agreesWithNaiveModel(t, sourceHashing, () => new NaiveSourceHashing(flags), undefined, { flags }))
}

test('a flag may be called by its number', async (t) => {
  const picksWith = (flags: readonly string[]) => {
    const service = new ModelledService(sourceHashing, { flags })
    for (const name of ['A', 'B', 'C']) service.add(newServer(name, 1))
    service.edit(service.servers[0], 0)
    return Array.from({ length: 50 }, (_, sourcePort) => service.select({ sourcePort })?.name)
  }
  t.strictSame(picksWith(['flag-1', 'flag-2']), picksWith(['sh-fallback', 'sh-port']))
  t.notSame(picksWith(['flag-2']), picksWith(['flag-1', 'flag-2']))
  t.strictSame(picksWith(['flag-3']), picksWith([]))
})

test('a weight beyond the table leaves nothing to the servers behind it', async (t) => {
  const service = new ModelledService(sourceHashing, { flags: ['sh-port'] })
  service.add(newServer('light', 1))
  service.add(newServer('heavy', 256))
  for (let sourcePort = 0; sourcePort < 1000; sourcePort++) t.equal(service.select({ sourcePort })?.name, 'heavy')
})
