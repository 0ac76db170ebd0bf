/** The servers' network: two agents with a key each, and somebody who records them, forges, and holds the first one's key. */
import { createHmac } from 'node:crypto'
import { ReportListener } from '../../../node/director/load/report-listener.ts'
import { createAgentKey } from '../../../protocol/wire/agent-key.ts'
import { AGENT_REPORT_VERSION, type AgentReport, encodeAgentReport } from '../../../protocol/wire/agent-report.ts'
import type { Random } from '../../random.ts'
import { sharedReferences } from '../../support/shared-references.ts'
import { count, demand, mutated, oneOf, randomBytes, type Wire } from './wire.ts'

const START_MS = 1_760_000_000_000
/** As many genuine datagrams are known to whoever sends them again. */
const RECORDED_MAX = 64
/** Levels of lists that fit into a datagram; who walked them all would never end. */
const REFERENCES_MAX = 80
const servers = ['10.0.0.1', '2001:db8::2']
const keys = servers.map((address, index) => createAgentKey(new Uint8Array(32).fill(index + 1), [address]))
const [own, others] = keys

export class AgentWire implements Wire {
  readonly outcomes = new Map<string, number>()
  readonly #recorded: Uint8Array[] = []
  #nowMs = 0
  #sequence = 0
  readonly #listener = new ReportListener({
    listen: '127.0.0.1:0',
    keys,
    onChange: () => {},
    monotonicMs: () => this.#nowMs,
    wallClockMs: () => START_MS + this.#nowMs,
  })

  constructor() {
    this.#genuine()
  }

  bring(random: Random): number {
    if (random.oneIn(200)) {
      this.#nowMs += 1000
      this.#genuine()
      return keys.length
    }
    const attempt = oneOf(random, [
      'replay',
      'mutation',
      'forgery',
      'stranger',
      'old',
      'impersonation',
      'noise',
    ] as const)
    const before = this.#state(servers)
    const { accepted } = this.#listener.statistics
    const datagram = this.#attempt(random, attempt)
    this.#listener.take(datagram)
    count(this.outcomes, attempt)
    demand(this.#listener.statistics.accepted === accepted, `${attempt} was believed`, datagram)
    demand(this.#state(servers) === before, `${attempt} had an effect`, datagram)
    if (random.oneIn(4)) this.#ownNonsense(random)
    return 1
  }

  async close(): Promise<void> {
    const { refused } = this.#listener.statistics
    for (const [reason, times] of Object.entries(refused)) if (times > 0) this.outcomes.set(`refused: ${reason}`, times)
    this.#nowMs += 1000
    this.#genuine()
  }

  #attempt(random: Random, attempt: string): Uint8Array {
    const recorded = oneOf(random, this.#recorded)
    const now = this.#report(others.addresses)
    switch (attempt) {
      case 'replay':
        return recorded
      case 'mutation':
        return mutated(random, recorded, this.#recorded)
      case 'forgery':
        return encodeAgentReport(now, { ...others, secret: randomBytes(random, 32) })
      case 'stranger':
        return encodeAgentReport(now, createAgentKey(randomBytes(random, 32), others.addresses))
      case 'old':
        return encodeAgentReport({ ...now, timeMs: now.timeMs - 30_001 - random.below(1e9) }, others)
      case 'impersonation':
        return encodeAgentReport(now, random.oneIn(2) ? own : { ...own, id: others.id })
      default:
        return randomBytes(random, random.below(1300))
    }
  }

  /** Whoever has a key can say what he likes, but of his own server. */
  #ownNonsense(random: Random): void {
    const genuine = encodeAgentReport(this.#report(servers), own)
    const head = Buffer.concat([Uint8Array.of(AGENT_REPORT_VERSION), Buffer.from(own.id, 'hex')])
    const mayRefer = random.oneIn(8)
    const body = mayRefer
      ? sharedReferences(1 + random.below(REFERENCES_MAX))
      : mutated(random, genuine.subarray(head.length, -32))
    const signed = Buffer.concat([head, body])
    const datagram = Buffer.concat([signed, createHmac('sha256', own.secret).update(signed).digest()])
    const before = this.#state(others.addresses)
    this.#listener.take(datagram)
    demand(this.#state(others.addresses) === before, 'a key counted for another server', datagram)
  }

  /** Both agents report; whatever was sent meanwhile, the one whose key nobody else has is heard. */
  #genuine(): void {
    this.#sequence++
    for (const key of keys) {
      const datagram = encodeAgentReport(this.#report(key.addresses), key)
      const { accepted } = this.#listener.statistics
      this.#listener.take(datagram)
      const isBelieved = this.#listener.statistics.accepted > accepted
      demand(key === own || isBelieved, 'a genuine report was not believed', datagram)
      count(this.outcomes, 'genuine')
      if (isBelieved) this.#recorded.push(datagram)
    }
    this.#recorded.splice(0, this.#recorded.length - RECORDED_MAX)
    this.#listener.expire(this.#nowMs)
  }

  #report(addresses: readonly string[]): AgentReport {
    const runId = '0123456789abcdef'
    const load = { cpu: (this.#sequence % 10) / 10, memory: 0, loadPerCore: 0, establishedConnections: 5 }
    const timeMs = START_MS + this.#nowMs
    return { addresses: [...addresses], runId, sequence: this.#sequence, timeMs, intervalMs: 1000, ...load }
  }

  #state(addresses: readonly string[]): string {
    return JSON.stringify(addresses.map((address) => this.#listener.get(address)))
  }
}
