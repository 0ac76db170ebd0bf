/** The plan of a run: everything that follows from its seed. */

import { hasTokens } from './belonging.ts'
import { sourceFor } from './draw.ts'
import { drawFaults, drawRevocation, drawWrongClock, type Fault } from './faults.ts'
import type { SabotageName } from './sabotage.ts'
import { FAULTS_MS, type Plan } from './simulate.ts'
import { isClockWrong } from './world.ts'

/** Three mostly. */
const POOL_SIZES = [3, 3, 3, 3, 2, 5]

/** @param directors as many; drawn, unless given */
export function planOf(seed: number, directors?: number, sabotage: SabotageName = 'none'): Plan {
  const source = sourceFor(seed, 'plan')
  const drawn = POOL_SIZES[source.below(POOL_SIZES.length)]
  const size = directors ?? drawn
  const faults = faultsOf(seed, drawFaults(source, size, FAULTS_MS), size)
  if (hasTokens(seed)) faults.push(drawRevocation(sourceFor(seed, 'revocation'), size, FAULTS_MS))
  return { seed, directors: size, faults, sabotage }
}

/** Where one clock is far off, it is the only one that is. */
function faultsOf(seed: number, drawn: readonly Fault[], directors: number): Fault[] {
  if (!isClockWrong(seed)) return [...drawn]
  const others = drawn.filter(({ kind }) => kind !== 'clock-step')
  return [...others, ...drawWrongClock(sourceFor(seed, 'wrong clock'), directors, FAULTS_MS)]
}
