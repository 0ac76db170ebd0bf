/**
 * One run: a pool comes up, faults befall it while clients and operators go on, the last fault ends, and after a while everything must
 * be as promised. The same plan gives the same run, to the byte.
 */
import { sourceFor } from './draw.ts'
import { describe, disturbedBy, type Fault, strike } from './faults.ts'
import { PLANES, type Plane } from './networks.ts'
import { configure, Operators } from './operators.ts'
import { type Breach, Promises } from './promises.ts'
import { SABOTAGES, type SabotageName } from './sabotage.ts'
import { isClockWrong, World } from './world.ts'

export interface Plan {
  readonly seed: number
  readonly directors: number
  readonly faults: readonly Fault[]
  readonly sabotage: SabotageName
}

export interface Outcome {
  readonly breach: Breach | undefined
  readonly trace: readonly string[]
  /** What the clients did. */
  readonly conversations: number
  /** Of them, those that went on although no director had a record of them any more. */
  readonly resumed: number
  readonly simulatedMs: number
  /** Frames on the simulated wires, and a number made of all their bytes: two runs are the same if these are. */
  readonly frames: number
  readonly fingerprint: number
}

const STEP_MS = 10
const COMES_UP_MS = 8_000
const WARM_UP_MS = 500
/** In advertisement intervals: the first election of directors in sync. */
const LONGEST_ELECTION = 4
export const FAULTS_MS = 6_000
/** Differences are gone 5 s after the last fault; and a second in which nothing is said, so that tables can be compared. */
const RECOVERY_MS = 5_300
const SILENCE_MS = 1_000
/** Until all directors must have found at once that their tables are alike. */
const ALIKE_MS = 5_000
/** The last director that was stopped has come back by then. */
const CALM_LIMIT_MS = 30_000
const CONVERSATIONS = 16

export async function simulate(plan: Plan): Promise<Outcome> {
  const { seed, directors, sabotage } = plan
  const world = new World({ seed, directors, conversations: CONVERSATIONS, sabotage: SABOTAGES[sabotage] })
  const promises = new Promises(world)
  const thrown = (error: unknown) =>
    promises.fail('nothing throws', error instanceof Error ? (error.stack ?? error.message) : String(error))
  // Long work is cut into slices by the real clock (node/director/pace.ts), which therefore stands still meanwhile.
  const { now } = performance
  performance.now = () => 0
  // A rejection that nobody handles is a failure of this seed, and not the end of all.
  const others = process.listeners('unhandledRejection')
  process.removeAllListeners('unhandledRejection').on('unhandledRejection', thrown)
  try {
    await run(plan, world, promises).catch(thrown)
  } finally {
    performance.now = now
    process.removeAllListeners('unhandledRejection')
    for (const listener of others) process.on('unhandledRejection', listener)
  }
  return {
    breach: promises.breach,
    trace: world.trace,
    conversations: world.clients.opened,
    resumed: promises.resumed,
    simulatedMs: world.clock.now(),
    frames: world.wire.frames,
    fingerprint: world.wire.fingerprint,
  }
}

async function run({ seed, faults }: Plan, world: World, promises: Promises): Promise<void> {
  const { clock, clients } = world
  let active: readonly Fault[] = []
  let calmSinceMs: number | undefined
  const undisturbedSinceMs = new Map<Plane, number>()
  const pass = async (ms: number) => {
    for (const end = clock.now() + ms; clock.now() < end && !promises.breach; ) {
      await clock.advance(STEP_MS)
      const isCalm = active.length === 0 && world.faultFree
      if (!isCalm) calmSinceMs = undefined
      else calmSinceMs ??= clock.now()
      for (const plane of PLANES) {
        const isMistrusted = plane === 'vrrp' && world.isAnybodyMistrusted
        if (isMistrusted || active.some((fault) => disturbedBy(fault).includes(plane))) undisturbedSinceMs.delete(plane)
        else if (!undisturbedSinceMs.has(plane)) undisturbedSinceMs.set(plane, clock.now())
      }
      promises.look(undisturbedSinceMs)
    }
  }

  await world.startAll()
  const [first] = world.directors
  const isUp = () =>
    world.directors.every((director) => director.replicator.status().inSync && director.pool.services().length > 0)
  await configure(first.pool, sourceFor(seed, 'configuration'), world.sync)
  while (!isUp() && clock.now() < COMES_UP_MS) await pass(STEP_MS)
  if (!isUp()) promises.fail('the pool comes up', world.directors.map(statusLine).join('; '))
  clients.start()
  const operators = new Operators(world, sourceFor(seed, 'operators'))
  operators.start()
  await pass(Math.max(WARM_UP_MS, LONGEST_ELECTION * world.intervalMs - clock.now()))

  for (const fault of faults) {
    clock.schedule(fault.atMs, () => {
      active = [...active, fault]
      world.note(`begins: ${describe(fault)}`)
      const end = strike(world, fault)
      clock.schedule(fault.forMs, () => {
        end()
        active = active.filter((one) => one !== fault)
        world.note(`over: ${fault.kind}`)
      })
    })
  }
  await pass(FAULTS_MS)
  const limitMs = clock.now() + CALM_LIMIT_MS
  while (calmSinceMs === undefined && !promises.breach) {
    if (clock.now() > limitMs) throw new Error('the simulation left a fault behind')
    await pass(STEP_MS)
  }
  // Whoever has had a clock that was ahead has changes made anew later than others tell of theirs: those of now as well.
  if (isClockWrong(seed)) operators.isAtWork = false
  await pass(RECOVERY_MS)
  clients.isQuiet = true
  operators.isAtWork = false
  world.outside.isAtItsEnd = true
  await pass(SILENCE_MS)
  if (!promises.breach) await promises.lookAtEnd()
  // What runs out at one director a moment before it does at the other is a difference for that long.
  for (let left = ALIKE_MS; promises.difference && left > 0; left -= STEP_MS) await pass(STEP_MS)
  if (promises.difference) promises.fail('tables are the same', promises.difference)
  for (const director of world.directors) await director.kill()
  await world.outsider?.kill()
}

function statusLine({ name, replicator }: { name: string; replicator: { status(): { reason: string } } }): string {
  return `${name} ${replicator.status().reason}`
}
