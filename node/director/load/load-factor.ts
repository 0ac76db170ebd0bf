/**
 * From what agents report to what the weighted schedulers work with: pure arithmetic, no clock.
 *
 * load    the worst of three, 0 to 1: busy share of the cores; load average per core, cut at 1; memory, of which the first
 *         80 % count as normal and the rest from 0 to 1, since a server that uses its memory is not yet a slow one.
 * smooth  exponentially weighted: after one second a new value has the weight 0.2, whatever the interval of the reports:
 *         alpha = 1 - 0.8^seconds. Half of a jump has come through after 3.1 s, 90 % after 10.3 s.
 * factor  1 up to a load of 0.5, then falling in a straight line to 0.1 at a load of 1; never 0, for a server that takes no
 *         new connection at all is what weight 0 and health checks are for. In steps of 0.05.
 * steady  the factor in use moves by whole steps, and only when the one that the smoothed load asks for is at least three
 *         quarters of a step away from it: the forwarder is told of each change with all servers of the service, which
 *         should not be every second. Less than a whole step, or a load that only nears 1 would never bring the lowest factor.
 *
 * The idea of feeding servers' load back into weights is that of LVS's "dynamic feedback load balancing" (Zhang, 1999).
 */
import type { AgentReport } from '../../../protocol/wire/agent-report.ts'
import type { Scheduler } from '../../../scheduler/scheduler.ts'

/** Weight of a new value that was one second in coming. */
const ALPHA_PER_SECOND = 0.2
const NORMAL_MEMORY = 0.8
const NORMAL_LOAD = 0.5
export const LOWEST_FACTOR = 0.1
/** Steps in a factor of 1. */
const STEPS = 20
/** How far, in steps, the factor asked for must be from the one in use. */
const STEPS_AWAY = 0.75

/** Load of one report, 0 to 1. */
export function reportedLoad(report: Pick<AgentReport, 'cpu' | 'memory' | 'loadPerCore'>): number {
  const memory = (report.memory - NORMAL_MEMORY) / (1 - NORMAL_MEMORY)
  return Math.min(1, Math.max(0, report.cpu, report.loadPerCore, memory))
}

/** The smoothed load `elapsedMs` after it was `smoothed`, now that `reported` has come. */
export function smoothLoad(smoothed: number, reported: number, elapsedMs: number): number {
  const alpha = 1 - (1 - ALPHA_PER_SECOND) ** (Math.max(0, elapsedMs) / 1000)
  return smoothed + alpha * (reported - smoothed)
}

/** Factor that a smoothed load asks for. */
export function loadFactor(load: number): number {
  if (load <= NORMAL_LOAD) return 1
  return Math.max(LOWEST_FACTOR, 1 - ((load - NORMAL_LOAD) / (1 - NORMAL_LOAD)) * (1 - LOWEST_FACTOR))
}

/** The factor in use after `inUse`, given the one asked for. */
export function steadyFactor(inUse: number, asked: number): number {
  return Math.abs(asked - inUse) * STEPS >= STEPS_AWAY ? Math.round(asked * STEPS) / STEPS : inUse
}

const HIGHEST_WEIGHT = 2 ** 31 - 1

/**
 * The weights of one service's servers, as integers, since that is what schedulers take. As long as no server is slowed
 * down, they are the configured ones. Otherwise all of them are multiplied by 20, so that 0.05 of a weight of 1 is still a
 * whole number; most schedulers look only at proportions. A weight above 0 stays above 0.
 *
 * Weights that are numbers of connections are lowered, but not multiplied. Those that are slots or ranks stay the configured ones: a
 * scheduler that sends clients back to their server must not send them elsewhere each time that a load changes, nor one that keeps servers
 * in reserve take the next one because the first has work.
 */
export function loadedWeights(
  servers: readonly { weight: number; factor: number }[],
  weightsAre?: Scheduler['weightsAre'],
): number[] {
  const isSteady = weightsAre === 'slots' || weightsAre === 'ranks'
  if (isSteady || servers.every(({ factor }) => factor === 1)) return servers.map(({ weight }) => weight)
  const heaviest = Math.max(...servers.map(({ weight, factor }) => weight * factor))
  const scale = weightsAre === 'connections' ? 1 : Math.min(STEPS, HIGHEST_WEIGHT / heaviest)
  return servers.map(({ weight, factor }) => (weight === 0 ? 0 : Math.max(1, Math.round(weight * factor * scale))))
}
