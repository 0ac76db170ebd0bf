/**
 * What a director keeps over a restart: its identity, its copy of the pool's configuration with its history, and a checkpoint of its connections, as
 * bytes under string keys.
 *
 * Implementations: level (level-store.ts) and memory (memory-store.ts, for tests and the simulation). Both pass
 * test/compliance/store.ts. Every failure is a DirectorError STORE_LOCKED, STORE_CORRUPT or STORE_FAILED. So is a disk that hangs, but for
 * open(): nobody waits longer for an answer than disk-answers.ts says, and a change that was refused is taken back if it comes to be written.
 */
export type StoreOperation =
  | { readonly type: 'put'; readonly key: string; readonly value: Uint8Array }
  | { readonly type: 'delete'; readonly key: string }

export interface Store {
  /** Resolves when everything that is kept can be read; a store that cannot be opened whole stays closed. */
  open(): Promise<void>
  /** Waits for writes under way. A closed store may be opened again. */
  close(): Promise<void>
  get(key: string): Promise<Uint8Array | undefined>
  /** Resolves when the value would survive a loss of power. The same holds for delete() and batch(). */
  put(key: string, value: Uint8Array): Promise<void>
  /** A key that is not there is no error. */
  delete(key: string): Promise<void>
  /** All of the operations, in their order, or none. */
  batch(operations: readonly StoreOperation[]): Promise<void>
  /** Entries whose key begins with `prefix`, ordered by the bytes of their keys, as they were when the walk began. */
  iterate(prefix: string): AsyncIterable<readonly [key: string, value: Uint8Array]>
}
