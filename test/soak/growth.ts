/**
 * Whether what processes use grows with their age: the slope of a straight line through the samples of a program on a host (least
 * squares), in what it uses more an hour.
 *
 * A failure may end a process, and a leak begins anew with the next one. So the processes of a host that came one after the other are
 * laid over each other by their age, each moved to its own mean: only what rises within lives counts.
 */

export interface Usage {
  readonly residentMiB: number
  readonly descriptors: number
  readonly threads: number
}

export interface Sample {
  readonly program: string
  readonly host: string
  /** Tells a process from those before and after it. */
  readonly process: string
  readonly ageMs: number
  readonly used: Usage
}

export interface Trend {
  /** "director on d1" */
  readonly who: string
  /** What a life was seen of, warm; of several, what counts for the slope. 0: none for long enough. */
  readonly minutes: number
  readonly perHour: Usage
  /** What grew by more than it may. */
  readonly grown: (keyof Usage)[]
}

/**
 * Connections that have ended stay for up to two minutes in the table, which is full only then, and what keeps it is compiled and its
 * first garbage collected a while later.
 */
const WARM_UP_MS = 5 * 60_000
/** Less says nothing. */
const LEAST_MINUTES = 4
const LEAST_SAMPLES = 12
/**
 * So much more in an hour is what a busy machine's garbage collection and takeovers leave. It may be there within a shorter time as
 * well: the shorter a life was seen, the higher the rate that passes.
 */
const BOUNDS: Usage = { residentMiB: 32, descriptors: 8, threads: 3 }
const KINDS = Object.keys(BOUNDS) as (keyof Usage)[]
/** Chance alone does not make a slope steeper than so many standard errors of it. */
const STANDARD_ERRORS = 3
const HOUR_MS = 3_600_000

export function trendsOf(samples: readonly Sample[]): Trend[] {
  const groups = Map.groupBy(samples, ({ program, host }) => `${program} on ${host}`)
  return [...groups].map(([who, those]) => {
    const warm = those.filter(({ ageMs }) => ageMs >= WARM_UP_MS)
    const lives = [...Map.groupBy(warm, ({ process }) => process).values()].filter(({ length }) => length > 1)
    const fits = KINDS.map((kind) => [kind, fit(lives, kind)] as const)
    const { hours, count } = fits[0][1]
    const isSeen = count >= LEAST_SAMPLES && hours * 60 >= LEAST_MINUTES
    const isGrown = (kind: keyof Usage, { perHour, error }: Fit) =>
      perHour - STANDARD_ERRORS * error > BOUNDS[kind] / Math.min(1, hours)
    return {
      who,
      minutes: isSeen ? Math.round(hours * 60) : 0,
      perHour: Object.fromEntries(fits.map(([kind, { perHour }]) => [kind, perHour])) as unknown as Usage,
      grown: isSeen ? fits.flatMap(([kind, found]) => (isGrown(kind, found) ? [kind] : [])) : [],
    }
  })
}

export function describeTrend({ who, minutes, perHour }: Trend): string {
  if (minutes === 0) return `${who}: no process lived for long enough to tell whether it grows`
  const rates = KINDS.map((kind) => `${kind} ${perHour[kind].toFixed(1)}`)
  return `${who}: within ${minutes} min, growth an hour: ${rates.join(', ')}`
}

interface Fit {
  readonly count: number
  readonly perHour: number
  /** Standard error of perHour. */
  readonly error: number
  /** How long the lives were seen: that of samples which are spread evenly over so long a life. */
  readonly hours: number
}

function fit(lives: readonly (readonly Sample[])[], kind: keyof Usage): Fit {
  let count = 0
  let [squaresX, squaresY, products] = [0, 0, 0]
  for (const life of lives) {
    const points = life.map(({ ageMs, used }) => [ageMs / HOUR_MS, used[kind]] as const)
    const meanX = mean(points.map(([x]) => x))
    const meanY = mean(points.map(([, y]) => y))
    for (const [x, y] of points) {
      squaresX += (x - meanX) ** 2
      squaresY += (y - meanY) ** 2
      products += (x - meanX) * (y - meanY)
    }
    count += points.length
  }
  if (squaresX === 0) return { count, perHour: 0, error: 0, hours: 0 }
  const perHour = products / squaresX
  const remaining = Math.max(0, squaresY - perHour * products)
  const freedom = Math.max(1, count - lives.length - 1)
  return {
    count,
    perHour,
    error: Math.sqrt(remaining / freedom / squaresX),
    // The variance of an even spread is a twelfth of its length squared.
    hours: Math.sqrt((12 * squaresX) / count),
  }
}

function mean(numbers: readonly number[]): number {
  return numbers.reduce((total, each) => total + each, 0) / numbers.length
}
