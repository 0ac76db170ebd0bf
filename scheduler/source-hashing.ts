/**
 * Source hashing: connections from one address go to one server, as long as the list of servers stays as it is.
 *
 * A table of 256 slots is filled by going round the list, with as many slots in a row for a server as its weight says (one,
 * if that is 0); the hash of the source chooses the slot. If that server takes no new connections, nobody does, unless the
 * service has the flag sh-fallback: then the slots behind it are tried, all the way round. The slots of one that is down are
 * others' until it is back (slots.ts). With sh-port the source port is part of what is hashed.
 *
 * Source: Linux net/netfilter/ipvs/ip_vs_sh.c.
 */
import { fallsBack, hashesPort } from './flags.ts'
import { foldAddress, goldenRatioHash } from './hash.ts'
import { isAvailable, type Scheduler } from './scheduler.ts'
import { becomeStale, dealInTurn, fill, type Slots } from './slots.ts'

const TABLE_BITS = 8
const SLOTS = 1 << TABLE_BITS

export interface SourceHashingMemory extends Slots {
  readonly fallsBack: boolean
  readonly hashesPort: boolean
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
    if (memory.stale) {
      const share = (position: number) => servers[position].weightWhenUp
      fill(memory, servers, (table, positions) => dealInTurn(table, positions, share))
    }
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
