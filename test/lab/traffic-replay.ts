/**
 * Real traffic as the kernel was recorded to take it (test/reference/traffic.jsonl): every line carried out against a running
 * director, whose listings, picks and refusals have to be the recorded ones.
 *
 * A line is a command, or says in prose what the recorded client did next; recorded-events.ts does the same. Listings are compared
 * when the traffic has settled, after what is not stable has been taken out of both (recorded-listing.ts). The files of the kernel
 * that some lines print are not ours to imitate.
 */
import { readFileSync } from 'node:fs'
import { type Test, test } from 'tap'
import type { ServiceListing } from '../../node/director/control/answers.ts'
import { request, requestChanges } from '../../node/director/control/client.ts'
import type { Lab } from '../../node/drill/lab.ts'
import { controlSocketOf } from '../../node/drill/lab-programs.ts'
import { vsadm } from '../node/cli/run-vsadm.ts'
import { shellCommands } from '../node/cli/shell-line.ts'
import { ask, eventually } from './lab-directors.ts'
import { runOn } from './lab-traffic.ts'
import { RecordedClient } from './recorded-events.ts'
import { withFreshDirector, withRecordedLab } from './recorded-lab.ts'
import { stableListing } from './recorded-listing.ts'

const needsRoot = process.getuid?.() === 0 ? false : 'network namespaces need root'

/** Longer than the kernel's shortest timeout that a recording waits for. */
const SETTLED_WITHIN_MS = 20_000
const FRESH_TABLE = '-- fresh table'

interface Recording {
  readonly case: string
  readonly ns?: 'dir' | 'client'
  readonly cmd?: string
  readonly event?: string
  readonly stdout?: string
  readonly rc?: number
}

const recordings = readFileSync(new URL('../reference/traffic.jsonl', import.meta.url), 'utf8')
  .trimEnd()
  .split('\n')
  .map((line) => JSON.parse(line) as Recording)
  .filter(({ cmd = '' }) => !cmd.includes('/proc/'))
const cases = Map.groupBy(recordings, (recording) => recording.case)

/** Replays the cases of a forwarding method, in a lab of their own. */
export function replayTraffic(method: 'nat' | 'dr' | 'tun'): void {
  const name = `real traffic by ${method} is taken as the kernel was recorded to take it`
  test(name, { skip: needsRoot, timeout: 170_000 }, async (t) => {
    await withRecordedLab(`t${process.pid}-r`, async (lab) => {
      for (const [name, lines] of cases) {
        if (!name.startsWith(`${method}-`)) continue
        await t.test(name, async (t) => {
          for (const [number, part] of parts(lines).entries()) {
            await withFreshDirector(lab, `${name}-${number}`, () => new RecordedCase(t, lab).replay(part))
          }
        })
      }
    })
  })
}

/** The lines between which the table was emptied. */
function parts(lines: readonly Recording[]): Recording[][] {
  const parts: Recording[][] = [[]]
  for (const line of lines) {
    if (line.event === FRESH_TABLE) parts.push([])
    else parts.at(-1)!.push(line)
  }
  return parts
}

class RecordedCase {
  readonly #t: Test
  readonly #lab: Lab
  readonly #client: RecordedClient
  readonly #director

  constructor(t: Test, lab: Lab) {
    this.#t = t
    this.#lab = lab
    this.#client = new RecordedClient(lab)
    const socket = controlSocketOf(lab.folder, 'd1')
    this.#director = {
      control: (method: string, path: string, body?: unknown) => request(socket, method, path, body),
      change: (edits: Parameters<typeof requestChanges>[1]) => requestChanges(socket, edits),
    }
  }

  async replay(lines: readonly Recording[]): Promise<void> {
    for (const line of lines) {
      const { ns, cmd = '', event, stdout = '' } = line
      if (event?.startsWith('waited ')) await this.#estimated()
      else if (event !== undefined) this.#t.equal(await this.#client.act(event), event, event)
      else if (ns === 'client') this.#t.equal(await runOn(this.#lab, 'c1', ['sh', '-c', cmd]), stdout, cmd)
      else if (cmd.startsWith('iptables ')) await this.#mark(cmd)
      else await this.#command(line)
    }
    await this.#client.end()
  }

  async #command({ cmd = '', stdout = '' }: Recording): Promise<void> {
    if (cmd.startsWith('ipvsadm -D ')) await this.#client.closeAll()
    // Which rows come first is not stable.
    const stable = (listing: string) => {
      const lines = stableListing(listing, this.#client.ports)
      return cmd.includes('| head ') ? lines.replace(/( of \d+ s).*$/gm, '$1') : lines
    }
    const wanted = stable(stdout)
    let answer = ''
    const look = async () => {
      answer = stable(await this.#vsadm(cmd))
      return answer === wanted ? true : undefined
    }
    // A command that changes something is given once.
    if (stdout === '') await look()
    else await eventually(cmd, look, SETTLED_WITHIN_MS).catch(() => {})
    this.#t.equal(answer, wanted, cmd)
  }

  /** Without errors. */
  async #vsadm(line: string): Promise<string> {
    let output = ''
    for (const { words, filter } of shellCommands(line.replace(/ \| sort .*$/, ''))!) {
      const answer = await vsadm(words.slice(1), this.#director, { program: 'ipvsadm' })
      if (answer.rc !== 0) throw new Error(`${line}: ${answer.stderr}`)
      output += filter(answer.stdout)
    }
    return output
  }

  /** The counters that IPVS shows are those of now: they have been read since the traffic. */
  async #estimated(): Promise<void> {
    await eventually('the counters have been read', async () => {
      const [snapshot, now] = await Promise.all(
        ['?counters=snapshot', ''].map((query) => ask<ServiceListing[]>(this.#lab, 'd1', `/services${query}`)),
      )
      return JSON.stringify(snapshot) === JSON.stringify(now) ? true : undefined
    })
  }

  /** The rule of the director's own for one of the host's netfilter. */
  async #mark(command: string): Promise<void> {
    const [, destination, protocol, ports, mark] =
      /-d (\S+) -p (\w+) -m multiport --dports (\S+) -j MARK --set-mark (\d+)$/.exec(command)!
    for (const port of ports.split(',')) {
      const rule = { mark: Number(mark), destination, protocol, firstPort: Number(port) }
      await this.#director.control('POST', '/marks', { rule })
    }
  }
}
