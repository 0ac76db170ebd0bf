/**
 * What befalls a simulated pool, as data: drawn from the seed, applied one by one, each over after its time. Because they are data, a
 * failure can be repeated with some of them left out.
 */
import type { Random } from '../random.ts'
import { between, fraction, pick } from './draw.ts'
import { PLANES, type Plane, type Weather } from './networks.ts'
import { THREADS, type ThreadName } from './simulated-director.ts'
import type { World } from './world.ts'

interface Timed {
  /** After the pool has come up. */
  readonly atMs: number
  readonly forMs: number
}

export type Fault = Timed &
  (
    | { readonly kind: 'weather'; readonly planes: readonly Plane[]; readonly weather: Weather }
    /** Between some directors and the rest; out: the rest does not hear them. */
    | {
        readonly kind: 'partition'
        readonly planes: readonly Plane[]
        readonly some: readonly number[]
        readonly direction: 'both' | 'out' | 'in'
      }
    /** An interface that its groups track has no carrier. */
    | { readonly kind: 'uplink-down'; readonly director: number }
    /** The director is cut off from everybody, clients and servers included. */
    | { readonly kind: 'unplugged'; readonly director: number }
    /** Process: its peers see its connections end at once. Power: they find out. It comes back afterwards. */
    | {
        readonly kind: 'crash'
        readonly director: number
        readonly how: 'process' | 'power'
        readonly store: 'kept' | 'lost'
      }
    /** An orderly stop, and a start. */
    | { readonly kind: 'restart'; readonly director: number }
    /** SIGSTOP, and SIGCONT at the end. */
    | { readonly kind: 'stopped'; readonly director: number; readonly first: 'timers' | 'socket' }
    /** Threads that stand still for a moment, again and again. */
    | {
        readonly kind: 'slow'
        readonly director: number
        readonly threads: readonly ThreadName[]
        readonly stallMs: number
        readonly everyMs: number
        readonly first: 'timers' | 'socket'
      }
    /** The wall clock is set. */
    | { readonly kind: 'clock-step'; readonly director: number; readonly stepMs: number }
    /** It is far off, until somebody puts it right. */
    | { readonly kind: 'wrong-clock'; readonly director: number; readonly byMs: number }
    /** At this director the one that has no addresses is shut out. */
    | { readonly kind: 'revoked'; readonly director: number }
  )

const MOST_FAULTS = 8
const WRONG_MS = 2 * 3_600_000

/** @param withinMs all of them are over by then */
export function drawFaults(random: Random, directors: number, withinMs: number): Fault[] {
  const faults = Array.from({ length: between(random, 1, MOST_FAULTS) }, () => drawFault(random, directors, withinMs))
  return faults.sort((one, other) => one.atMs - other.atMs)
}

/**
 * A director's clock is wrong for a while; in two cases of three the director starts anew meanwhile. Of one director alone: two that are ahead together believe
 * each other (docs/decisions/pool-configuration.md), and then the rest does not for as long as they were ahead.
 */
export function drawWrongClock(random: Random, directors: number, withinMs: number): Fault[] {
  const director = between(random, 1, directors)
  const atMs = random.below(withinMs * 0.5)
  const forMs = between(random, 300, withinMs - atMs)
  const wrong: Fault = { kind: 'wrong-clock', atMs, forMs, director, byMs: between(random, -WRONG_MS, WRONG_MS) }
  const downMs = atMs + random.below(forMs)
  const down = { director, atMs: downMs, forMs: Math.min(withinMs - downMs, between(random, 300, 1500)) }
  const how = random.below(3)
  if (how === 0) return [wrong]
  if (how === 1) return [wrong, { kind: 'restart', ...down }]
  return [wrong, { kind: 'crash', ...down, how: 'process', store: random.oneIn(2) ? 'lost' : 'kept' }]
}

export function drawRevocation(random: Random, directors: number, withinMs: number): Fault {
  return { kind: 'revoked', atMs: random.below(withinMs * 0.9), forMs: 0, director: between(random, 1, directors) }
}

function drawFault(random: Random, directors: number, withinMs: number): Fault {
  const atMs = random.below(withinMs * 0.7)
  const time = (leastMs: number, mostMs: number) => ({
    atMs,
    forMs: Math.min(withinMs - atMs, between(random, leastMs, mostMs)),
  })
  const director = between(random, 1, directors)
  const first = pick(random, ['timers', 'socket'] as const)
  switch (random.below(11)) {
    case 0:
    case 1:
      return { kind: 'weather', ...time(300, 4000), planes: drawPlanes(random), weather: drawWeather(random) }
    case 2:
    case 3:
      return {
        kind: 'partition',
        ...time(100, 4000),
        planes: drawPlanes(random),
        some: drawSome(random, directors),
        direction: pick(random, ['both', 'both', 'out', 'in']),
      }
    case 4:
      return { kind: 'unplugged', ...time(100, 3000), director }
    case 5:
    case 6: {
      const how = pick(random, ['process', 'power'] as const)
      return { kind: 'crash', ...time(500, 3000), director, how, store: random.oneIn(4) ? 'lost' : 'kept' }
    }
    case 7:
      return { kind: 'restart', ...time(800, 3000), director }
    case 8: {
      if (random.oneIn(2)) return { kind: 'stopped', ...time(50, 4000), director, first }
      const threads = random.oneIn(2) ? THREADS : [pick(random, THREADS)]
      const stallMs = between(random, 5, 900)
      const everyMs = stallMs + between(random, 20, 500)
      return { kind: 'slow', ...time(500, 4000), director, threads, stallMs, everyMs, first }
    }
    case 9:
      return { kind: 'uplink-down', ...time(100, 3000), director }
    default:
      return { kind: 'clock-step', ...time(0, 0), director, stepMs: between(random, -30_000, 30_000) }
  }
}

/** Gossip without VRRP, VRRP without gossip, or both. */
function drawPlanes(random: Random): readonly Plane[] {
  return random.oneIn(2) ? PLANES : [pick(random, PLANES)]
}

function drawWeather(random: Random): Weather {
  return {
    loss: fraction(random) * 0.6,
    duplication: random.oneIn(2) ? fraction(random) * 0.5 : 0,
    jitterMs: random.oneIn(2) ? fraction(random) * 60 : 0,
  }
}

function drawSome(random: Random, directors: number): number[] {
  const some = Array.from({ length: directors }, (_, index) => index + 1).filter(() => random.oneIn(2))
  return some.length === 0 || some.length === directors ? [between(random, 1, directors)] : some
}

/** The fault takes effect now. @returns what ends it */
export function strike(world: World, fault: Fault): () => void {
  switch (fault.kind) {
    case 'weather': {
      const { planes, weather } = fault
      for (const plane of planes) world.networks.disturb(plane, weather)
      return () => planes.forEach((plane) => void world.networks.calm(plane, weather))
    }
    case 'partition': {
      const ways = waysBetween(world, fault.some, fault.direction)
      return cut(world, fault.planes, ways)
    }
    case 'unplugged': {
      const plug = world.unplug(fault.director)
      const heal = cut(world, PLANES, waysBetween(world, [fault.director], 'both'))
      return () => {
        plug()
        heal()
      }
    }
    case 'uplink-down':
      return world.loseUplink(fault.director)
    case 'crash':
      return world.crash(fault.director, fault.how, fault.store)
    case 'restart':
      return world.restart(fault.director)
    case 'stopped':
      return world.stop(fault.director, fault.first)
    case 'slow':
      return world.slow(fault.director, fault)
    case 'clock-step':
      world.stepClock(fault.director, fault.stepMs)
      return () => {}
    case 'wrong-clock':
      world.stepClock(fault.director, fault.byMs)
      return () => world.stepClock(fault.director, -fault.byMs)
    case 'revoked':
      world.outside.revoke(fault.director)
      return () => {}
  }
}

/** What a fault disturbs beyond there being fewer directors: the ways of records, and elections with what follows from them. */
export function disturbedBy(fault: Fault): readonly Plane[] {
  switch (fault.kind) {
    case 'weather':
    case 'partition':
      return fault.planes
    case 'unplugged':
    case 'stopped':
      return PLANES
    case 'slow':
      return fault.threads.every((thread) => thread === 'cluster') ? ['gossip'] : PLANES
    case 'uplink-down':
      return ['vrrp']
    case 'crash':
    case 'restart':
    case 'clock-step':
    case 'wrong-clock':
    case 'revoked':
      return []
  }
}

type Way = readonly [from: number, to: number]

function waysBetween(world: World, some: readonly number[], direction: 'both' | 'out' | 'in'): Way[] {
  const others = world.everybody.filter((number) => !some.includes(number))
  const out = some.flatMap((from) => others.map((to): Way => [from, to]))
  const into = out.map(([from, to]): Way => [to, from])
  return direction === 'both' ? [...out, ...into] : direction === 'out' ? out : into
}

function cut(world: World, planes: readonly Plane[], ways: readonly Way[]): () => void {
  const each = (change: (plane: Plane, from: string, to: string) => void) => {
    for (const plane of planes) {
      for (const [from, to] of ways) change(plane, world.nameOn(plane, from), world.nameOn(plane, to))
    }
  }
  each((plane, from, to) => world.networks.cut(plane, from, to))
  return () => each((plane, from, to) => world.networks.heal(plane, from, to))
}

/** One line for a trace. */
export function describe(fault: Fault): string {
  const { kind, atMs, forMs, ...rest } = fault
  const text = JSON.stringify(rest).slice(1, -1).replaceAll('"', '')
  return `${kind} at ${Math.round(atMs)} ms for ${Math.round(forMs)} ms: ${text}`
}
