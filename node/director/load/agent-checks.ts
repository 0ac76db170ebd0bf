/**
 * The HAProxy agents of the real servers, each asked in turn by this director, and what they have said. The clock is the caller's.
 *
 * An agent that does not answer changes nothing: what it said last counts on, as with HAProxy.
 */
import { DueQueue } from '../health/due-queue.ts'
import { StartCredit } from '../health/start-credit.ts'
import { type AgentState, afterAnswer, isAway, isDrained, NOTHING_SAID } from './agent-answer.ts'
import type { AskAgent } from './agent-check.ts'

export interface AgentChecksOptions {
  readonly intervalMs: number
  readonly ask: AskAgent
  /** What is known of the server with this address is another than before. @param isNews also whether it is used, or takes new clients */
  readonly onChange: (address: string, state: AgentState, isNews: boolean) => void
  /** Milliseconds that never jump. */
  readonly monotonicMs: () => number
  /** 0 to below 1. */
  readonly random: () => number
}

interface Agent {
  readonly address: string
  dueAtMs: number
  place: number
  state: AgentState
  running: AbortController | undefined
}

const STARTED_MAX = 20
const RUNNING_MAX = 128
const TICK_MS = 20
/** So that not all directors ask one agent in step. */
const JITTER = 0.1

export class AgentChecks {
  readonly #options: AgentChecksOptions
  readonly #agents = new Map<string, Agent>()
  readonly #queue = new DueQueue<Agent>()
  #running = 0
  readonly #credit = new StartCredit(STARTED_MAX)
  #timer: NodeJS.Timeout | undefined

  constructor(options: AgentChecksOptions) {
    this.#options = options
  }

  start(): void {
    this.#timer ??= setInterval(() => this.tick(), TICK_MS)
  }

  stop(): void {
    clearInterval(this.#timer)
    for (const address of [...this.#agents.keys()]) this.release(address)
  }

  /** There is a real server with this address. It is asked at once: its agent may want it to be left alone. */
  use(address: string): void {
    if (this.#agents.has(address)) return
    const agent = { address, dueAtMs: this.#options.monotonicMs(), place: -1, state: NOTHING_SAID, running: undefined }
    this.#agents.set(address, agent)
    this.#queue.add(agent)
  }

  /** There is none any more: what its agent said is forgotten. */
  release(address: string): void {
    const agent = this.#agents.get(address)
    if (!agent) return
    this.#agents.delete(address)
    this.#queue.remove(agent)
    agent.running?.abort()
  }

  /** NOTHING_SAID unless its agent has answered. */
  get(address: string): AgentState {
    return this.#agents.get(address)?.state ?? NOTHING_SAID
  }

  /** Asks those whose turn it is; runs by itself after start(). */
  tick(): void {
    const nowMs = this.#options.monotonicMs()
    this.#credit.earn(nowMs)
    for (; this.#credit.isLeft && this.#running < RUNNING_MAX; this.#credit.spend()) {
      const { first } = this.#queue
      if (first === undefined || first.dueAtMs > nowMs) return
      this.#queue.remove(first)
      void this.#ask(first, nowMs)
    }
  }

  async #ask(agent: Agent, nowMs: number): Promise<void> {
    const { intervalMs, ask, onChange, random } = this.#options
    agent.dueAtMs = nowMs + intervalMs * (1 - JITTER + 2 * JITTER * random())
    agent.running = new AbortController()
    this.#running++
    const line = await ask(agent.address, agent.running.signal)
    this.#running--
    agent.running = undefined
    if (this.#agents.get(agent.address) !== agent) return
    this.#queue.add(agent)
    if (line === undefined) return
    const before = agent.state
    agent.state = afterAnswer(before, line)
    if (JSON.stringify(agent.state) === JSON.stringify(before)) return
    const isNews = isAway(agent.state) !== isAway(before) || isDrained(agent.state) !== isDrained(before)
    onChange(agent.address, agent.state, isNews)
  }
}
