/**
 * A store without a disk, for tests and the simulation. What it holds outlives close(), as a disk would.
 */
import { DirectorError } from '../../../protocol/errors.ts'
import type { Store, StoreOperation } from './store.ts'

export class MemoryStore implements Store {
  readonly #values = new Map<string, Uint8Array>()
  #isOpen = false

  async open(): Promise<void> {
    if (this.#isOpen) throw new DirectorError('STORE_LOCKED', 'the memory store is open already')
    this.#isOpen = true
  }

  async close(): Promise<void> {
    this.#isOpen = false
  }

  async get(key: string): Promise<Uint8Array | undefined> {
    this.#demandOpen()
    return this.#values.get(key)?.slice()
  }

  async put(key: string, value: Uint8Array): Promise<void> {
    await this.batch([{ type: 'put', key, value }])
  }

  async delete(key: string): Promise<void> {
    await this.batch([{ type: 'delete', key }])
  }

  async batch(operations: readonly StoreOperation[]): Promise<void> {
    this.#demandOpen()
    for (const operation of operations) {
      if (operation.type === 'put') this.#values.set(operation.key, operation.value.slice())
      else this.#values.delete(operation.key)
    }
  }

  async *iterate(prefix: string): AsyncIterable<readonly [string, Uint8Array]> {
    this.#demandOpen()
    const entries = [...this.#values.entries().filter(([key]) => key.startsWith(prefix))]
    entries.sort(([a], [b]) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
    for (const [key, value] of entries) yield [key, value.slice()]
  }

  #demandOpen(): void {
    if (!this.#isOpen) throw new DirectorError('STORE_FAILED', 'the memory store is not open')
  }
}
