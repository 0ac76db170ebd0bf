/**
 * A store on a disk that is full or read-only when the director starts: what is sound in it can be read, and changes are refused. Each
 * change tries anew to open the store on the disk; from then on it is that one.
 *
 * LevelDB does not open a folder in which it cannot write, so what is in it is read as for a salvage (level-files.ts), once.
 */
import { DirectorError } from '../../../protocol/errors.ts'
import { DiskAnswers } from './disk-answers.ts'
import { MemoryStore } from './memory-store.ts'
import type { Store, StoreOperation } from './store.ts'

export class UnwritableStore implements Store {
  readonly #read = new MemoryStore()
  readonly #open: () => Promise<Store>
  readonly #onWritable: () => void
  readonly #disk: DiskAnswers
  #opened: Store | undefined
  /** The end of the queue in which the disk is tried. */
  #last: Promise<unknown> = Promise.resolve()

  /**
   * @param open the store on the disk
   * @param onWritable it is open
   */
  constructor(open: () => Promise<Store>, onWritable: () => void, disk = new DiskAnswers()) {
    this.#open = open
    this.#onWritable = onWritable
    this.#disk = disk
  }

  /** @param values what is sound in the folder, which nobody else may change from now on */
  async begin(values: ReadonlyMap<string, Uint8Array>): Promise<void> {
    await this.#read.open()
    await this.#read.batch([...values].map(([key, value]): StoreOperation => ({ type: 'put', key, value })))
  }

  async open(): Promise<void> {
    throw new DirectorError('STORE_LOCKED', 'this process has opened the store already')
  }

  async close(): Promise<void> {
    await this.#last
    await this.#read.close()
    await this.#opened?.close()
  }

  get(key: string): Promise<Uint8Array | undefined> {
    return this.#current.get(key)
  }

  put(key: string, value: Uint8Array): Promise<void> {
    return this.batch([{ type: 'put', key, value }])
  }

  delete(key: string): Promise<void> {
    return this.batch([{ type: 'delete', key }])
  }

  async batch(operations: readonly StoreOperation[]): Promise<void> {
    const turn = this.#last.then(() => this.#writable())
    this.#last = turn.catch(() => undefined)
    await (await turn).batch(operations)
  }

  iterate(prefix: string): AsyncIterable<readonly [string, Uint8Array]> {
    return this.#current.iterate(prefix)
  }

  get #current(): Store {
    return this.#opened ?? this.#read
  }

  /** Opening goes on when nobody waits for it any more. @throws DirectorError STORE_FAILED while the disk takes nothing, or hangs */
  async #writable(): Promise<Store> {
    if (this.#opened) return this.#opened
    return this.#disk.wait(async () => {
      this.#opened = await this.#open()
      this.#onWritable()
      return this.#opened
    })
  }
}
