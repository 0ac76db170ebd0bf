/** What is due at some time, the longest due first: a binary heap whose members know their place, so that any can be taken out. */
export interface Due {
  dueAtMs: number
  /** Its place in the heap; -1 when it is in none. The queue's own. */
  place: number
}

export class DueQueue<T extends Due> {
  readonly #heap: T[] = []

  /** The one that is due first. */
  get first(): T | undefined {
    return this.#heap[0]
  }

  add(item: T): void {
    this.#rise(item, this.#heap.length)
  }

  /** Does nothing about one that is not in the queue. */
  remove(item: T): void {
    const { place } = item
    if (this.#heap[place] !== item) return
    item.place = -1
    const last = this.#heap.pop() as T
    if (last === item) return
    if (place > 0 && last.dueAtMs < this.#heap[(place - 1) >> 1].dueAtMs) this.#rise(last, place)
    else this.#sink(last, place)
  }

  #rise(item: T, from: number): void {
    let place = from
    while (place > 0) {
      const parent = this.#heap[(place - 1) >> 1]
      if (parent.dueAtMs <= item.dueAtMs) break
      this.#put(parent, place)
      place = (place - 1) >> 1
    }
    this.#put(item, place)
  }

  #sink(item: T, from: number): void {
    const heap = this.#heap
    let place = from
    for (;;) {
      let child = place * 2 + 1
      if (child >= heap.length) break
      if (child + 1 < heap.length && heap[child + 1].dueAtMs < heap[child].dueAtMs) child++
      if (heap[child].dueAtMs >= item.dueAtMs) break
      this.#put(heap[child], place)
      place = child
    }
    this.#put(item, place)
  }

  #put(item: T, place: number): void {
    this.#heap[place] = item
    item.place = place
  }
}
