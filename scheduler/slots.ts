/**
 * The table of a scheduler that hashes: each of its slots has the position of a server in the list.
 *
 * A server keeps its slots while it is quiesced, as in the kernel: it is alive, and the operator will say what is to become of its clients.
 * Those of a server whose health checks fail are dealt out among the servers that take connections, by the scheduler's own rule. So the
 * dead one's clients are spread, the others' stay where they are, and all come back when it does. (Where keepalived takes the dead from
 * the list, the clients of all servers change places; where it gives them weight 0, theirs are refused.)
 */
import type { Candidate } from './scheduler.ts'

export const NOBODY = -1

export interface Slots {
  /** Positions in the list, or NOBODY. */
  readonly table: Int32Array
  /** The list has changed since the table was filled. */
  stale: boolean
}

export function becomeStale(slots: Slots): void {
  slots.stale = true
}

/** @param deal gives the slots that are nobody's to the servers at these positions */
export function fill(
  slots: Slots,
  servers: readonly Candidate[],
  deal: (table: Int32Array, positions: readonly number[]) => void,
): void {
  const { table } = slots
  slots.stale = false
  table.fill(NOBODY)
  const all = [...servers.keys()]
  deal(table, all)
  if (!servers.some(({ down }) => down)) return
  const takers = all.filter((position) => servers[position].weight > 0)
  if (takers.length === 0) return
  for (let slot = 0; slot < table.length; slot++) if (servers[table[slot]]?.down) table[slot] = NOBODY
  deal(table, takers)
}

/** Goes round the positions, with as many of the free slots in a row for each as `share` says, and at least one. */
export function dealInTurn(table: Int32Array, positions: readonly number[], share: (position: number) => number): void {
  let turn = 0
  let dealt = 0
  for (let slot = 0; slot < table.length; slot++) {
    if (table[slot] !== NOBODY) continue
    const position = positions[turn]
    table[slot] = position
    if (++dealt < share(position)) continue
    dealt = 0
    turn = (turn + 1) % positions.length
  }
}
