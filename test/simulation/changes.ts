/** What becomes of changes of the configuration, read from what directors' stores were given. */

import { unpackEntry } from '../../node/director/pool/config-message.ts'
import { entryKey, hasSeen, type PoolEntry } from '../../node/director/pool/pool-entry.ts'
import { MemoryStore } from '../../node/director/store/memory-store.ts'
import type { StoreOperation } from '../../node/director/store/store.ts'

const KEY_PREFIX = 'pool/'

/** Remembers each entry that it was ever given. */
export class WatchedStore extends MemoryStore {
  readonly written: PoolEntry[] = []

  override async batch(operations: readonly StoreOperation[]): Promise<void> {
    await super.batch(operations)
    for (const operation of operations) {
      const isEntry = operation.type === 'put' && operation.key.startsWith(KEY_PREFIX)
      const entry = isEntry ? unpackEntry(operation.value) : undefined
      if (entry) this.written.push(entry)
    }
  }

  /** What it has of the pool's configuration, removed services included, by key. */
  async entries(): Promise<Map<string, PoolEntry>> {
    const pairs = await Array.fromAsync(this.iterate(KEY_PREFIX))
    return new Map(pairs.flatMap(([, bytes]) => unpackEntry(bytes) ?? []).map((entry) => [entryKey(entry), entry]))
  }
}

/** In words, what one store has otherwise than the other; undefined: nothing. */
export async function otherwise(one: WatchedStore, other: WatchedStore): Promise<string | undefined> {
  const [mine, theirs] = [await one.entries(), await other.entries()]
  for (const key of new Set([...mine.keys(), ...theirs.keys()])) {
    const [a, b] = [mine.get(key), theirs.get(key)].map((entry) => JSON.stringify(entry))
    if (a !== b) return `${a} and ${b}`
  }
  return undefined
}

/** Every change that a director has kept is in force, or was replaced by who knew it, or that it was overridden was said. */
export async function forgottenChange(
  author: string,
  store: WatchedStore,
  everything: readonly PoolEntry[],
  overridden: readonly string[],
): Promise<PoolEntry | undefined> {
  const entries = await store.entries()
  return store.written.find((change) => {
    const { stamp } = change
    if (stamp.director !== author) return false
    const key = entryKey(change)
    if (JSON.stringify(entries.get(key)?.stamp) === JSON.stringify(stamp)) return false
    if (everything.some((later) => entryKey(later) === key && hasSeen(later, stamp))) return false
    const end = ` by ${author}, ${new Date(stamp.wallMs).toISOString()}`
    return !overridden.some((line) => line.endsWith(end))
  })
}
