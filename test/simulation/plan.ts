/** The plan of a run: everything that follows from its seed. */
import { sourceFor } from './draw.ts'
import { drawFaults } from './faults.ts'
import type { SabotageName } from './sabotage.ts'
import { FAULTS_MS, type Plan } from './simulate.ts'

/** Three mostly. */
const POOL_SIZES = [3, 3, 3, 3, 2, 5]

/** @param directors as many; drawn, unless given */
export function planOf(seed: number, directors?: number, sabotage: SabotageName = 'none'): Plan {
  const source = sourceFor(seed, 'plan')
  const drawn = POOL_SIZES[source.below(POOL_SIZES.length)]
  const size = directors ?? drawn
  return { seed, directors: size, faults: drawFaults(source, size, FAULTS_MS), sabotage }
}
