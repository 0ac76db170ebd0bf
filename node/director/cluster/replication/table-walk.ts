/** Walks over a connection table in slices, between which the thread's other work has its turn. */
import { RECORD_LENGTH, RECORDS_OF_PLACE_MAX } from '../../../../protocol/wire/connection-record.ts'
import { type Clock, sleep } from '../../clock.ts'
import type { ConnectionSource } from './snapshot-server.ts'

const PLACES_PER_STEP = 64
/** Places that may be empty take nearly no time, and connections a fraction of a microsecond: a millisecond or two in all. */
const PLACES_PER_TURN = 16 * 1024
const RECORDS_PER_TURN = 4096

/**
 * @param take gets each record, of RECORD_LENGTH bytes at `at`, which may be read only then; returns false to end the walk
 * @returns for how long the thread was kept busy, in milliseconds: without the others' turns, and without what `take` waited for
 */
export async function walkTable(
  source: ConnectionSource,
  clock: Clock,
  take: (bytes: Uint8Array, at: number) => boolean | Promise<boolean>,
): Promise<number> {
  const bytes = new Uint8Array(PLACES_PER_STEP * RECORDS_OF_PLACE_MAX * RECORD_LENGTH)
  let records = 0
  let busyMs = 0
  let began = clock.now()
  /** Lets others have their turn. */
  const rest = async <T>(until: Promise<T>): Promise<T> => {
    busyMs += clock.now() - began
    const value = await until
    began = clock.now()
    return value
  }
  for (let from = 0; from < source.capacity; from += PLACES_PER_STEP) {
    const count = source.encodeRange(from, PLACES_PER_STEP, bytes, 0)
    for (let index = 0; index < count; index++) {
      const goesOn = take(bytes, index * RECORD_LENGTH)
      if (!(typeof goesOn === 'boolean' ? goesOn : await rest(goesOn))) return busyMs + clock.now() - began
    }
    records += count
    if (records < RECORDS_PER_TURN && (from + PLACES_PER_STEP) % PLACES_PER_TURN !== 0) continue
    records = 0
    await rest(sleep(clock, 0))
  }
  return busyMs + clock.now() - began
}
