/**
 * A clock that moves only when it is told to. Tasks due at the same instant run in the order they were scheduled.
 */
import { setImmediate } from 'node:timers/promises'
import type { Clock } from './clock.ts'

interface Task {
  readonly at: number
  readonly order: number
  readonly run: () => void
  isCancelled: boolean
}

export class VirtualClock implements Clock {
  /** A binary heap, the earliest first. */
  readonly #tasks: Task[] = []
  #now = 0
  #scheduled = 0

  now(): number {
    return this.#now
  }

  schedule(delayMs: number, run: () => void): () => void {
    const task = { at: this.#now + Math.max(0, delayMs), order: this.#scheduled++, run, isCancelled: false }
    this.#push(task)
    return () => {
      task.isCancelled = true
    }
  }

  /** Lets the given time pass. What a task starts with promises has run before the next task. */
  async advance(ms: number): Promise<void> {
    const until = this.#now + ms
    await setImmediate()
    while (this.#tasks.length > 0 && this.#tasks[0].at <= until) {
      const task = this.#pop()
      if (task.isCancelled) continue
      this.#now = task.at
      task.run()
      await setImmediate()
    }
    this.#now = until
  }

  /** Lets time pass in steps until `condition` holds. @throws Error when it does not within limitMs */
  async until(condition: () => boolean, limitMs: number, stepMs = 1): Promise<void> {
    const end = this.#now + limitMs
    while (!condition()) {
      if (this.#now >= end) throw new Error(`not within ${limitMs} ms: ${condition}`)
      await this.advance(stepMs)
    }
  }

  #push(task: Task): void {
    const tasks = this.#tasks
    let child = tasks.push(task) - 1
    while (child > 0) {
      const parent = (child - 1) >> 1
      if (!isBefore(task, tasks[parent])) break
      tasks[child] = tasks[parent]
      child = parent
    }
    tasks[child] = task
  }

  #pop(): Task {
    const tasks = this.#tasks
    const first = tasks[0]
    const last = tasks.pop() as Task
    if (tasks.length === 0) return first
    let parent = 0
    for (;;) {
      let child = 2 * parent + 1
      if (child >= tasks.length) break
      if (child + 1 < tasks.length && isBefore(tasks[child + 1], tasks[child])) child++
      if (!isBefore(tasks[child], last)) break
      tasks[parent] = tasks[child]
      parent = child
    }
    tasks[parent] = last
    return first
  }
}

function isBefore(a: Task, b: Task): boolean {
  return a.at < b.at || (a.at === b.at && a.order < b.order)
}
