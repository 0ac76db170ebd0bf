/**
 * Maglev hashing: connections from one address go to one server, and a change of the list moves few of them to another.
 *
 * Each server has its own order of preference among the table's slots: from an offset on, by a skip, both hashes of its
 * address and port. In turn each server claims the next free slots of its order, as many as its weight says. A server's last
 * weight that was not 0 counts, so that quiescing it moves nobody; while it is 0, its slots have nobody, unless the service has
 * the flag mh-fallback: then other slots are tried. The slots of one that is down are claimed by others until it is back
 * (slots.ts). With mh-port the source port is part of what is hashed.
 *
 * Every director that has the same list has the same table, and gives a client to the same server, without telling the others.
 *
 * Source: Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer", NSDI 2016, section 3.4; Linux
 * net/netfilter/ipvs/ip_vs_mh.c.
 */
import { greatestCommonDivisor } from './divisor.ts'
import { fallsBack, hashesPort } from './flags.ts'
import { foldAddress, sipHash } from './hash.ts'
import { type Candidate, isAvailable, type Scheduler } from './scheduler.ts'
import { becomeStale, fill, NOBODY, type Slots } from './slots.ts'

/** The kernel's size unless it is built with another (CONFIG_IP_VS_MH_TAB_INDEX 12). A prime: every skip visits all slots. */
const SLOTS = 4093
/** Of the weights, divided by what they have in common, so many bits decide. */
const WEIGHT_BITS = 6
const KEY = 2654435761
const SKIP_KEY = 2654446892

export interface MaglevMemory extends Slots {
  readonly fallsBack: boolean
  readonly hashesPort: boolean
}

export const maglevHashing: Scheduler<MaglevMemory> = {
  name: 'mh',
  weightsAre: 'slots',
  isHash: true,

  begin(_servers, { flags }) {
    return {
      fallsBack: fallsBack(flags),
      hashesPort: hashesPort(flags),
      table: new Int32Array(SLOTS),
      stale: true,
    }
  },

  edited: becomeStale,
  removed: becomeStale,

  select(servers, memory, flow) {
    if (memory.stale) fill(memory, servers, (table, positions) => deal(table, servers, positions))
    const source = foldAddress(flow.source) + (memory.hashesPort ? flow.sourcePort : 0)
    const slot = sipHash(source, KEY) % SLOTS
    const position = memory.table[slot]
    if (position === NOBODY) return undefined
    const server = servers[position]
    if (isAvailable(server)) return server
    if (!memory.fallsBack || !servers.some(isAvailable)) return undefined
    for (let offset = 0; offset < SLOTS; offset++) {
      const turned = (slot + offset) % SLOTS
      const other = servers[memory.table[sipHash(source + turned, KEY) % SLOTS]]
      if (isAvailable(other)) return other
    }
    return undefined
  },
}

function deal(table: Int32Array, servers: readonly Candidate[], positions: readonly number[]): void {
  const turns = turnsOf(servers)
  // A server of weight 0 that never had another claims nothing.
  const claimants = positions.filter((position) => turns[position] > 0)
  if (claimants.length === 0) return
  // Typed arrays: hashes pass 2^31, and their remainders would make arrays of doubles, with which the search takes ten times as long.
  const skips = Int32Array.from(servers, (server) => (hashOf(server, SKIP_KEY) % (SLOTS - 1)) + 1)
  const preferred = Int32Array.from(servers, (server) => hashOf(server, KEY) % SLOTS)
  let free = table.reduce((count, position) => (position === NOBODY ? count + 1 : count), 0)
  for (;;) {
    for (const position of claimants) {
      for (let claimed = 0; claimed < turns[position]; claimed++) {
        const skip = skips[position]
        let slot = preferred[position]
        while (table[slot] !== NOBODY) {
          slot += skip
          if (slot >= SLOTS) slot -= SLOTS
        }
        preferred[position] = slot
        table[slot] = position
        if (--free === 0) return
      }
    }
  }
}

function hashOf(server: Candidate, key: number): number {
  return sipHash(foldAddress(server.addressWords) + server.port, key)
}

/** How many slots each server claims in one turn. */
function turnsOf(servers: readonly Candidate[]): number[] {
  let divisor = 0
  let heaviest = 0
  for (const { lastWeight } of servers) {
    divisor = greatestCommonDivisor(divisor, lastWeight)
    if (lastWeight > heaviest) heaviest = lastWeight
  }
  const bits = 32 - Math.clz32(heaviest / divisor)
  const shift = Math.max(0, bits - WEIGHT_BITS)
  return servers.map(({ lastWeight }) => (lastWeight === 0 ? 0 : Math.max(1, (lastWeight / divisor) >>> shift)))
}
