/**
 * The kernel's picks (test/reference/sched.jsonl) against a running director: every recorded case configured by vsadm, made by real
 * clients through NAT, and answered by real servers at the recorded addresses.
 *
 * All cases share a director, so each has a virtual port of its own, and source ports of its own unless they are hashed. A service
 * of a firewall mark, whose servers have no port of their own, is given its packets by a rule for as long as the case lasts.
 */
import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { test } from 'tap'
import type { ServiceListing } from '../../node/director/control/answers.ts'
import { request } from '../../node/director/control/client.ts'
import type { Lab } from '../../node/drill/lab.ts'
import { VIRTUAL_ADDRESS } from '../../node/drill/lab-plan.ts'
import { controlSocketOf } from '../../node/drill/lab-programs.ts'
import type { Recording } from '../scheduler/replay.ts'
import { ask, endProcess, eventually } from './lab-directors.ts'
import { runOn } from './lab-traffic.ts'
import { NamedClient, startNamedServer } from './named-programs.ts'
import { withTestLab } from './test-lab.ts'

const needsRoot = process.getuid?.() === 0 ? false : 'network namespaces need root'

const UDP_PORT = 5353
const TCP_PORT = 8000
const FIRST_VIRTUAL_PORT = 10_000
/** Of the services of firewall marks. */
const DESTINATIONS = '10.3.0.0/24'
/** Far from the recordings' own 50000, and below the ports that kernels choose. */
const FIRST_SOURCE_PORT = 20_000
const PORTS_PER_CASE = 64
/** What the recorded client had, besides 10.1.0.101 to 10.1.0.132. */
const USUAL_SOURCE = '10.1.0.2'
const VSADM = join(import.meta.dirname, '../../node/cli/vsadm.ts')

const recordings = readFileSync(new URL('../reference/sched.jsonl', import.meta.url), 'utf8')
  .trim()
  .split('\n')
  .map((line) => JSON.parse(line) as Recording)

test('a running director picks as the kernel was recorded to', { skip: needsRoot, timeout: 120_000 }, async (t) => {
  const options = { name: `t${process.pid}-k`, directors: 1, servers: 3, clients: 1, method: 'nat' } as const
  await withTestLab(options, async (lab) => {
    await silenceAgents(lab)
    const ports = { udpPort: UDP_PORT, tcpPort: TCP_PORT, addresses: ['0.0.0.0'] }
    const start = (number: number) => startNamedServer(lab, `s${number}`, { name: `rs${number}`, ...ports })
    await Promise.all([1, 2, 3].map(start))
    const sources = new Set([USUAL_SOURCE, ...recordings.flatMap(({ srcs }) => srcs ?? [])])
    const commands = [...sources].map((source) => `address add ${source}/24 dev outside`).join('\n')
    const route = `route add ${DESTINATIONS} via ${VIRTUAL_ADDRESS}`
    await runOn(lab, 'c1', ['ip', '-batch', '-'], `${commands}\n${route}\n`)

    for (const [number, recording] of recordings.entries()) {
      await t.test(recording.name, async (t) => {
        const run = new RecordedCase(lab, recording, number)
        t.equal(await run.configure(), '')
        const picks = await run.picks()
        if (recording.sched === 'twos') t.strictSame(new Set(picks), new Set(recording.seq), 'it draws lots')
        else t.strictSame(picks, recording.seq)
        await run.end()
      })
    }
  })
})

class RecordedCase {
  readonly #lab: Lab
  readonly #recording: Recording
  readonly #port: number
  readonly #firstSource: number
  readonly #mark: number

  constructor(lab: Lab, recording: Recording, number: number) {
    this.#lab = lab
    this.#recording = recording
    this.#port = recording.dsts ? UDP_PORT : FIRST_VIRTUAL_PORT + number
    this.#mark = 1 + number
    const hashesPort = /-b \w+-port/.test(recording.cmds[0])
    this.#firstSource = hashesPort ? recording.sport0 : FIRST_SOURCE_PORT + number * PORTS_PER_CASE
  }

  /** @returns what vsadm complains of */
  async configure(): Promise<string> {
    const { cmds, dsts } = this.#recording
    if (dsts) await request(this.#socket, 'POST', '/marks', { rule: this.#rule })
    return await this.#vsadm(cmds)
  }

  async end(): Promise<void> {
    if (this.#recording.dsts) await request(this.#socket, 'DELETE', '/marks', this.#rule)
  }

  get #socket(): string {
    return controlSocketOf(this.#lab.folder, 'd1')
  }

  get #rule(): object {
    return { mark: this.#mark, destination: DESTINATIONS, protocol: 'udp', firstPort: this.#port }
  }

  /** What each connection got. */
  async picks(): Promise<(string | null)[]> {
    const { kind, name, seq, ops, srcs, dsts } = this.#recording
    const client = new NamedClient(this.#lab)
    const picks: (string | null)[] = []
    for (let connection = 0; connection < seq.length; connection++) {
      for (const { before, op } of ops) if (before === connection) await this.#do(op, client)
      const port = this.#firstSource + (name === 'rr-same-port-udp' ? 0 : connection)
      const from = { address: srcs?.[connection % srcs.length] ?? USUAL_SOURCE, port }
      const to = { address: dsts?.[connection % dsts.length] ?? VIRTUAL_ADDRESS, port: this.#port }
      picks.push(await client.ask({ do: kind === 'udp' ? 'udp' : 'tcp', from, to }))
    }
    await client.end()
    return picks
  }

  async #do(op: string, client: NamedClient): Promise<void> {
    const closed = /^client closed \d+ held connections of \w+ \(no\.([\d,]+)\)$/.exec(op)
    if (!closed) {
      const refusal = await this.#vsadm([op.replace(/^\$ /, '')])
      if (refusal !== '') throw new Error(`${op}: ${refusal}`)
      return
    }
    const connections = closed[1].split(',').map((number) => Number(number) - 1)
    const before = await this.#active()
    await client.ask({ do: 'close', connections })
    await eventually('the director has seen them close', async () =>
      (await this.#active()) === before - connections.length ? true : undefined,
    )
  }

  async #active(): Promise<number> {
    const services = await ask<ServiceListing[]>(this.#lab, 'd1', '/services')
    const service = services.find(({ port }) => port === this.#port)
    return service!.servers.reduce((sum, server) => sum + server.activeConnections, 0)
  }

  async #vsadm(commands: readonly string[]): Promise<string> {
    const rules = commands.map((command) =>
      command.replace(/10\.1\.0\.100:\d+/, `${VIRTUAL_ADDRESS}:${this.#port}`).replace(/ -f \d+/, ` -f ${this.#mark}`),
    )
    const one = rules.length === 1
    const child = spawn(process.execPath, [VSADM, ...(one ? rules[0].split(' ').slice(1) : ['-R'])], {
      stdio: ['pipe', 'ignore', 'pipe'],
      env: { ...process.env, DIRECTOR_SOCKET: this.#socket },
    })
    child.stdin.end(one ? '' : `${rules.join('\n')}\n`)
    return await text(child.stderr)
  }
}

/** The recorded servers told nobody of their load. */
async function silenceAgents(lab: Lab): Promise<void> {
  const agents = lab.processes.filter(({ program }) => program === 'agent')
  await Promise.all(agents.map(({ child }) => endProcess(child, 'SIGTERM')))
  await eventually('no load counts any more', async () => {
    const services = await ask<ServiceListing[]>(lab, 'd1', '/services')
    const servers = services.flatMap(({ servers }) => servers)
    return servers.every(({ load, health }) => load === null && health !== 'down') ? true : undefined
  })
}
