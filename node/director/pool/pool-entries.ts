/**
 * The entries that are in force at a director, by their keys, and what identifies them as a whole.
 *
 * Two exclusive ors of a hash of each entry's key and stamp: the digest, over all entries, tells peers that they differ; the
 * revision, over services, settings and marks, names a configuration to people. A tombstone says nothing of what is configured, and goes
 * after its time; the revision stays.
 */
import { hash } from 'node:crypto'
import { DIGEST_BYTES } from './config-message.ts'
import { CountedEntries } from './counted-entries.ts'
import { isMembership, type PoolEntry } from './pool-entry.ts'

/** As long as it must be for two not to be the same by chance, and to be typed. */
const REVISION_DIGITS = 12

export class PoolEntries extends CountedEntries {
  readonly #digest = Buffer.alloc(DIGEST_BYTES)
  readonly #inForce = Buffer.alloc(DIGEST_BYTES)

  /** The same at every director that has the same entries. */
  get digest(): Buffer {
    return this.#digest
  }

  /** The same at every director that has the same configuration. */
  get revision(): string {
    return revisionOf(this.#inForce)
  }

  override put(key: string, entry: PoolEntry | undefined): PoolEntry | undefined {
    const before = super.put(key, entry)
    for (const each of [before, entry]) {
      if (!each) continue
      const line = lineOf(key, each)
      toggle(this.#digest, line)
      if (isRevised(each)) toggle(this.#inForce, line)
    }
    return before
  }

  /** What the revision will be when entries are put; undefined: none is there any more. */
  forecast(): {
    get(key: string): PoolEntry | undefined
    put(key: string, entry: PoolEntry | undefined): void
    readonly revision: string
  } {
    const inForce = Buffer.from(this.#inForce)
    const others = new Map<string, PoolEntry | undefined>()
    const get = (key: string) => (others.has(key) ? others.get(key) : this.get(key))
    return {
      get,
      put: (key, entry) => {
        for (const each of [get(key), entry]) {
          if (each && isRevised(each)) toggle(inForce, lineOf(key, each))
        }
        others.set(key, entry)
      },
      get revision() {
        return revisionOf(inForce)
      },
    }
  }
}

/** Whether it is of what revisions are about. Who belongs to the pool is not (revisions.ts). */
export function isRevised(entry: PoolEntry): boolean {
  return entry.kind !== 'tombstone' && !isMembership(entry)
}

function lineOf(key: string, { stamp }: PoolEntry): Buffer {
  return hash('sha256', `${key} ${stamp.wallMs} ${stamp.counter} ${stamp.director}`, 'buffer')
}

function toggle(digest: Buffer, line: Buffer): void {
  for (let at = 0; at < DIGEST_BYTES; at++) digest[at] ^= line[at]
}

function revisionOf(digest: Buffer): string {
  return digest.toString('hex').slice(0, REVISION_DIGITS)
}
