/**
 * Source hashing: connections from one address go to one server, as long as the list of servers stays as it is.
 *
 * A table of 256 slots is filled by going round the list, with as many slots in a row for a server as its weight says (one,
 * if that is 0); the hash of the source chooses the slot. If that server takes no new connections, nobody does, unless the
 * service has the flag sh-fallback: then the slots behind it are tried, all the way round. With sh-port the source port is
 * part of what is hashed.
 *
 * Source: Linux net/netfilter/ipvs/ip_vs_sh.c.
 */
import { fallsBack, hashesPort } from './flags.ts'
import { foldAddress, goldenRatioHash } from './hash.ts'
import { type Candidate, isAvailable, type Scheduler } from './scheduler.ts'

const TABLE_BITS = 8
const SLOTS = 1 << TABLE_BITS

export interface SourceHashingMemory {
  readonly fallsBack: boolean
  readonly hashesPort: boolean
  /** Positions in the list. */
  readonly table: Int32Array
  /** The list has changed since the table was filled. */
  stale: boolean
}

export const sourceHashing: Scheduler<SourceHashingMemory> = {
  name: 'sh',
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
    if (servers.length === 0) return undefined
    if (memory.stale) fill(memory, servers)
    const port = memory.hashesPort ? flow.sourcePort : 0
    const hash = goldenRatioHash(foldAddress(flow.source) + port, TABLE_BITS)
    const server = servers[memory.table[hash]]
    if (isAvailable(server)) return server
    if (!memory.fallsBack) return undefined
    // The kernel adds the hash to the offset twice: the search starts not at the slot, but at the double of its number.
    for (let offset = 0; offset < SLOTS; offset++) {
      const other = servers[memory.table[(hash + hash + offset) % SLOTS]]
      if (isAvailable(other)) return other
    }
    return undefined
  },
}

function becomeStale(memory: SourceHashingMemory): void {
  memory.stale = true
}

function fill(memory: SourceHashingMemory, servers: readonly Candidate[]): void {
  let position = 0
  let filled = 0
  for (let slot = 0; slot < SLOTS; slot++) {
    memory.table[slot] = position
    if (++filled < servers[position].weight) continue
    filled = 0
    position = (position + 1) % servers.length
  }
  memory.stale = false
}
