/**
 * Runs a scheduler and its naive model through the same random history and reports where they first differ.
 */
import type { Test } from 'tap'
import type { Scheduler, SchedulerContext } from '../../scheduler/scheduler.ts'
import { seededRandom, seeds } from '../random.ts'
import {
  disturb,
  type HistoryLimits,
  type ModelledServer,
  ModelledService,
  someContext,
  someFlowOf,
} from './modelled-service.ts'
import type { NaiveModel } from './naive-models.ts'

export const smallNumbers: HistoryLimits = { weight: 12, connections: 6 }
/** Products of these pass 2^53. */
export const largeNumbers: HistoryLimits = { weight: 2 ** 31 - 1, connections: 10_000_000 }

export function agreesWithNaiveModel(
  t: Test,
  scheduler: Scheduler,
  newModel: (context: SchedulerContext) => NaiveModel,
  limits: HistoryLimits = smallNumbers,
  context: Partial<SchedulerContext> = {},
  histories = 50,
): void {
  for (const seed of seeds(histories)) {
    t.test(`weights up to ${limits.weight}, SEED=${seed}`, async (t) => {
      const random = seededRandom(seed)
      // Each has lots of its own, and both draw the same ones.
      const model = newModel(someContext(context))
      const service = new WatchedService(scheduler, model, context)
      let picks = 0
      let nowMs = random.below(1_000_000)
      for (let step = 0; step < 300; step++) {
        if (random.oneIn(2)) disturb(service, random, limits, step)
        for (let pick = random.below(8); pick > 0; pick--) {
          nowMs += random.below(random.oneIn(20) ? 2_000_000 : 40_000)
          const flow = someFlowOf(random, nowMs)
          const picked = service.select(flow)
          const expected = model.pick(flow)
          if (picked !== expected) return t.fail(`step ${step}: picked ${picked?.name}, the model ${expected?.name}`)
          if (picked) picks++
          if (picked && random.oneIn(2)) picked.activeConnections++
        }
      }
      t.ok(picks > 50, 'agreed to the end')
    })
  }
  t.end()
}

/** Tells the model of every change that the scheduler is told of. */
class WatchedService extends ModelledService {
  readonly #model: NaiveModel

  constructor(scheduler: Scheduler, model: NaiveModel, context: Partial<SchedulerContext>) {
    super(scheduler, context)
    this.#model = model
  }

  override add(server: ModelledServer): void {
    super.add(server)
    this.#model.added(server)
  }

  override edit(server: ModelledServer, weight: number): void {
    super.edit(server, weight)
    this.#model.edited()
  }

  override remove(server: ModelledServer): void {
    super.remove(server)
    this.#model.removed(server)
  }
}
