/**
 * Weighted round robin: over one full cycle each server is picked as often as its weight says, interleaved.
 *
 * A cycle is made of rounds. Round by round the required weight falls by `step`, the greatest common divisor of all
 * weights, from `maximum` to 1, and a round goes once through the list and picks the servers that have the required weight.
 * `maximum` is the highest weight less (step - 1), so that the last round asks for 1 and finds every server that may be
 * picked at all. Any change of the list starts the round again at the head of the list, with the required weight kept as
 * near as the new weights allow; this is why a fresh service starts in its lowest round.
 *
 * Health and load change weights many times a second where servers are many. With them the round goes on where it is, for
 * otherwise it would hardly ever come past the head of the list, and the servers there would get nearly everything.
 *
 * The kernel walks through rounds that pick nobody one at a time; with the weights 2^31 - 1 and 1 that is two thousand
 * million rounds while the heavy server is overloaded. Here they are skipped in one division, to the same pick.
 *
 * Source: Linux net/netfilter/ipvs/ip_vs_wrr.c (cl, cw, mw and di there are cursor, required, maximum and step here).
 */
import { greatestCommonDivisor } from './divisor.ts'
import { type Candidate, isAvailable, type Scheduler } from './scheduler.ts'

export interface WeightedRoundRobinMemory {
  /** Position of the server picked last; -1 at the head of the list. */
  cursor: number
  /** Weight that a server must have to be picked in this round. */
  required: number
  maximum: number
  step: number
}

const AT_HEAD = -1

export const weightedRoundRobin: Scheduler<WeightedRoundRobinMemory> = {
  name: 'wrr',

  begin(servers) {
    const { maximum, step } = rounds(servers)
    return { cursor: AT_HEAD, required: maximum, maximum, step }
  },

  edited: recalculate,
  removed: recalculate,

  reweighted(memory, servers) {
    follow(memory, rounds(servers))
  },

  added(memory, [{ weight }]) {
    const heaviest = memory.maximum + memory.step - 1
    const divisor = heaviest === 0 ? 0 : memory.step
    startRoundAgain(memory, roundsOf(Math.max(heaviest, weight), greatestCommonDivisor(divisor, weight)))
  },

  select(servers, memory) {
    if (memory.maximum === 0) return undefined
    const inThisRound = nextWithWeight(servers, memory.cursor, memory.required)
    if (inThisRound >= 0) return pick(servers, memory, inThisRound)

    const heaviest = heaviestAvailable(servers)
    if (heaviest === 0) return giveUp(memory)
    let required = memory.required - memory.step
    if (required <= 0) required = memory.maximum
    if (required > heaviest) required -= Math.ceil((required - heaviest) / memory.step) * memory.step
    memory.required = required
    return pick(servers, memory, nextWithWeight(servers, AT_HEAD, required))
  },
}

function pick<S extends Candidate>(servers: readonly S[], memory: WeightedRoundRobinMemory, index: number): S {
  memory.cursor = index
  return servers[index]
}

/** Nobody is available. A search that began in the lowest round leaves other traces in the kernel than any other. */
function giveUp(memory: WeightedRoundRobinMemory): undefined {
  if (memory.required > 1 || memory.cursor === AT_HEAD) {
    memory.required = memory.maximum
    memory.cursor = AT_HEAD
  }
  return undefined
}

/** First available server after `cursor` that has the weight; -1 when the list ends before one is found. */
function nextWithWeight(servers: readonly Candidate[], cursor: number, weight: number): number {
  for (let index = cursor + 1; index < servers.length; index++) {
    const server = servers[index]
    if (server.weight >= weight && isAvailable(server)) return index
  }
  return -1
}

function heaviestAvailable(servers: readonly Candidate[]): number {
  let heaviest = 0
  for (const server of servers) if (isAvailable(server) && server.weight > heaviest) heaviest = server.weight
  return heaviest
}

function recalculate(memory: WeightedRoundRobinMemory, servers: readonly Candidate[]): void {
  startRoundAgain(memory, rounds(servers))
}

function startRoundAgain(memory: WeightedRoundRobinMemory, rounds: Rounds): void {
  memory.cursor = AT_HEAD
  follow(memory, rounds)
}

function follow(memory: WeightedRoundRobinMemory, { maximum, step }: Rounds): void {
  memory.step = step
  memory.maximum = maximum
  if (memory.required > maximum || memory.required === 0) memory.required = maximum
  else if (step > 1) memory.required = Math.floor(memory.required / step) * step + 1
}

/** Highest required weight, and by how much it falls from round to round. */
type Rounds = Pick<WeightedRoundRobinMemory, 'maximum' | 'step'>

function rounds(servers: readonly Candidate[]): Rounds {
  let heaviest = 0
  let divisor = 0
  for (const { weight } of servers) {
    if (weight > heaviest) heaviest = weight
    divisor = greatestCommonDivisor(divisor, weight)
  }
  return roundsOf(heaviest, divisor)
}

function roundsOf(heaviest: number, divisor: number): Rounds {
  const step = divisor || 1
  return { maximum: heaviest - (step - 1), step }
}
