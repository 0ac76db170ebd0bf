/** When a forwarder that stands still is a fault, and when it only seems to. */
import { test } from 'tap'
import { silenceLimit, watchForwarder } from '../../../node/director/forwarder-watch.ts'

const STEP_MS = 10
const LIMIT_MS = 500

class Host {
  nowMs = 1_000_000
  readonly faults: (string | undefined)[] = []
  readonly stop: () => void
  #breathedMs = this.nowMs
  #answersUntilMs = this.nowMs
  #task: { readonly dueMs: number; readonly run: () => void } | undefined

  constructor(limitMs = LIMIT_MS) {
    const host = this
    const clock = {
      now: () => this.nowMs,
      schedule: (delayMs: number, run: () => void) => {
        this.#task = { dueMs: this.nowMs + delayMs, run }
        return () => {
          this.#task = undefined
        }
      },
    }
    const forwarder = {
      get silentForMs() {
        return host.nowMs - host.#breathedMs
      },
      answerFor: (ms: number) => {
        this.#answersUntilMs = this.nowMs + ms
      },
    }
    this.stop = watchForwarder(forwarder, limitMs, clock, (fault) => this.faults.push(fault))
  }

  /** Time passes for the threads that are named; the others stand still. */
  pass(ms: number, ...threads: ('main' | 'forwarder')[]): void {
    for (const endMs = this.nowMs + ms; this.nowMs < endMs; ) {
      this.nowMs += STEP_MS
      if (threads.includes('forwarder')) this.#breathedMs = this.nowMs
      const task = this.#task
      if (!threads.includes('main') || task === undefined || task.dueMs > this.nowMs) continue
      this.#task = undefined
      task.run()
    }
  }

  /** Whether the forwarder answers for active addresses. */
  get answers(): boolean {
    return this.nowMs <= this.#answersUntilMs
  }

  /** How many faults there were, and whether there is one now. */
  get seen(): [number, boolean] {
    return [this.faults.filter((fault) => fault !== undefined).length, this.faults.at(-1) !== undefined]
  }
}

test('a forwarder that stands still is a fault, once, until it breathes again', async (t) => {
  const host = new Host()
  host.pass(10_000, 'main', 'forwarder')
  t.same(host.faults, [])
  host.pass(LIMIT_MS, 'main')
  t.same(host.faults, [])
  host.pass(10_000, 'main')
  t.equal(host.faults.length, 1)
  t.match(host.faults[0], /^the forwarding thread has stood still for [56]\d\d ms$/)
  host.pass(LIMIT_MS, 'main', 'forwarder')
  t.same(host.faults.slice(1), [undefined])
  host.pass(10_000, 'main', 'forwarder')
  t.equal(host.faults.length, 2)
})

test('a process that was stopped and goes on has no fault, however long it stood and however often', async (t) => {
  const host = new Host()
  for (const ms of [300, 700, 5000, 100_000, 600]) {
    host.pass(2000, 'main', 'forwarder')
    host.pass(ms)
    // The main thread comes first.
    host.pass(200, 'main')
  }
  host.pass(2000, 'main', 'forwarder')
  t.same(host.faults, [])
})

test('a main thread that comes late judges nobody until it has been on time for as long', async (t) => {
  const host = new Host()
  host.pass(1000, 'main', 'forwarder')
  host.pass(3000)
  host.pass(LIMIT_MS - STEP_MS, 'main')
  t.same(host.faults, [])
  host.pass(LIMIT_MS, 'main')
  t.same(host.seen, [1, true])
  // What is wrong stays so while this thread is late.
  host.pass(3000)
  host.pass(50, 'main')
  t.same(host.seen, [1, true])
})

test('the forwarder answers for the addresses until the main thread has stood still for too long', async (t) => {
  const host = new Host()
  host.pass(1000, 'main', 'forwarder')
  // A thread that is late now and then, on a busy host, is no such thing.
  for (const ms of [LIMIT_MS - 150, 100, LIMIT_MS - 150, 100]) {
    host.pass(ms, 'forwarder')
    t.ok(host.answers)
    host.pass(ms / 4, 'main', 'forwarder')
    t.ok(host.answers)
  }
  host.pass(LIMIT_MS + STEP_MS, 'forwarder')
  t.notOk(host.answers)
})

test('after such a standstill it answers again when VRRP has listened for an interval', async (t) => {
  for (const intervalMs of [50, 200, 1000]) {
    const host = new Host(silenceLimit([intervalMs]))
    host.pass(5000, 'main', 'forwarder')
    host.pass(10_000, 'forwarder')
    host.pass(Math.max(intervalMs, 100), 'main', 'forwarder')
    t.notOk(host.answers)
    host.pass(Math.max(intervalMs, 100) + 2 * STEP_MS, 'main', 'forwarder')
    t.ok(host.answers)
  }
})

test('nothing is said after the watch has ended', async (t) => {
  const host = new Host()
  host.pass(1000, 'main', 'forwarder')
  host.stop()
  host.pass(10_000, 'main')
  t.same(host.faults, [])
})

test('half a second may pass, or three of the shortest advertisement intervals', async (t) => {
  t.same([[], [10], [50, 1000], [200], [1000, 2000]].map(silenceLimit), [500, 500, 500, 600, 3000])
})
