/**
 * What the client of test/reference/traffic.jsonl did, which the recordings tell in prose: each sentence is carried out anew, and
 * told again with what came of it this time.
 */
import type { ConnectionListing, DirectorStatus } from '../../node/director/control/answers.ts'
import type { Lab } from '../../node/drill/lab.ts'
import { type Family, VIRTUAL_ADDRESS, VIRTUAL_ADDRESSES } from '../../node/drill/lab-plan.ts'
import { ask, eventually } from './lab-directors.ts'
import { NamedClient } from './named-programs.ts'
import { CLIENT_ADDRESS, CLIENT_ADDRESSES, SHUNNED_PORT, SINK_PORT, TCP_PORT, UDP_PORT } from './recorded-lab.ts'

const NO_SERVICE_PORT = 9999
const HELD_PORT = 44000
const BULK_BYTES = 120 << 20
/** The client's kernel chooses. */
const ANY_PORT = 0

export class RecordedClient {
  /** Those that were asked for, and no kernel chose. */
  readonly ports = new Set<number>()
  readonly #lab: Lab
  readonly #client: NamedClient
  /** Ports of TCP connections in the order in which they were opened. */
  readonly #opened: number[] = []
  readonly #ended = new Set<number>()

  constructor(lab: Lab) {
    this.#lab = lab
    this.#client = new NamedClient(lab)
  }

  /** Does what a sentence says. @returns the sentence as it now is */
  async act(event: string): Promise<string> {
    for (const [sentence, act] of this.#actions) {
      const match = sentence.exec(event)
      if (match) return event.slice(0, match[0].length - (match[1]?.length ?? 0)) + (await act(match[1], event))
    }
    throw new Error(`what did the client do? ${event}`)
  }

  /** Closes what is open, and waits until the director has seen it. */
  async closeAll(): Promise<void> {
    await this.#close(this.#opened.filter((port) => port !== SHUNNED_PORT && !this.#ended.has(port)))
    await this.#eventually('no connection is open', (connections) =>
      connections.every(({ state }) => state !== 'ESTABLISHED'),
    )
  }

  end(): Promise<void> {
    return this.#client.end()
  }

  /** A sentence ends with the group in brackets, which is what came of it. */
  readonly #actions: [sentence: RegExp, act: (told: string, event: string) => Promise<string>][] = [
    [/^opened 6 connections from ports 42000\.\.42005: (.*)$/, () => this.#openSix()],
    [/^42000 closed by client .*; 42001 shutdown.*; 42002 RST by client; 42003\.\. open$/, () => this.#endThree()],
    [/^42010: SYN sent, real server drops it$/, () => this.#knock()],
    // What the command before it did.
    [/^service deleted: connection entries remain$/, async () => ''],
    [/^(?:no real server|one weight-0 server): (.*)$/, () => this.#tryBoth(TCP_PORT, UDP_PORT)],
    [/^port without a service: (.*)$/, () => this.#tryBoth(NO_SERVICE_PORT, NO_SERVICE_PORT)],
    [/^opened 44000: (.*)$/, () => this.#hold(HELD_PORT)],
    [/^new connection: (.*)$/, () => this.#hold(ANY_PORT)],
    [/^(?:after weight 0 the open connection answers|after the server was added again): (.*)$/, () => this.#askHeld()],
    [/^after server deletion: (.*)$/, () => this.#askInVain()],
    [/^\d+ held connections(?: with -x 2 each)?: (.*)$/, (told) => this.#holdMany(told.split(' ').length)],
    [/^8000 from \.105: (.*)$/, () => this.#hold(ANY_PORT, '10.1.0.105')],
    [/^120 MiB through NAT in .*$/, () => this.#sendBulk()],
    [/^replies per socket: (.*)$/, () => this.#askFromManySockets()],
    [/^6 datagrams of one socket: (.*)$/, () => this.#askSixTimes()],
    [/^client,server: (.*)$/, (told) => this.#visit(JSON.parse(told))],
    [/^port 0 service: (.*)$/, (told) => this.#visitPorts(JSON.parse(told))],
    [/^mask \/24 client,server: (.*)$/, (told) => this.#askFromClients(JSON.parse(told), 43100, 'ipv4')],
    [/^IPv6 mask 64: (.*)$/, (told) => this.#askFromClients(JSON.parse(told), 43200, 'ipv6')],
  ]

  async #openSix(): Promise<string> {
    const names: (string | null)[] = []
    for (let port = 42000; port <= 42005; port++) names.push(await this.#hold(port))
    return `[${names.map((name) => `'${name}'`).join(', ')}]`
  }

  async #endThree(): Promise<string> {
    await this.#close([42000, 42001])
    this.#ended.add(42002)
    await this.#client.ask({ do: 'reset', connections: this.#numbersOf([42002]) })
    return ''
  }

  async #knock(): Promise<string> {
    await this.#client.ask({ do: 'knock', ...this.#tcp(CLIENT_ADDRESS, SHUNNED_PORT, TCP_PORT) })
    await this.#eventually('the SYN has come', (connections) => connections.some(({ state }) => state === 'SYN_RECV'))
    // Its second SYN, after a second, would be refused when the service is gone by then.
    await this.#client.ask({ do: 'leave', connection: this.#numbersOf([SHUNNED_PORT])[0] })
    return ''
  }

  async #tryBoth(tcpPort: number, udpPort: number): Promise<string> {
    const byTcp = await this.#client.ask({ do: 'tcp', ...this.#tcp(CLIENT_ADDRESS, ANY_PORT, tcpPort) })
    return `tcp ${byTcp} udp ${await this.#datagram(CLIENT_ADDRESS, ANY_PORT, VIRTUAL_ADDRESS, 'x', udpPort)}`
  }

  async #hold(port: number, address = CLIENT_ADDRESS): Promise<string> {
    return String(await this.#client.ask({ do: 'tcp', ...this.#tcp(address, port, TCP_PORT) }))
  }

  async #askHeld(): Promise<string> {
    return String(await this.#client.ask({ do: 'ask', connection: this.#numbersOf([HELD_PORT])[0] }))
  }

  async #askInVain(): Promise<string> {
    await this.#client.ask({ do: 'say', connection: this.#numbersOf([HELD_PORT])[0] })
    await eventually('the director has dropped it', async () => {
      const { drops } = await ask<DirectorStatus>(this.#lab, 'd1', '/status')
      return drops['server-gone'] > 0 ? true : undefined
    })
    return 'timed out'
  }

  async #holdMany(count: number): Promise<string> {
    const names: string[] = []
    for (let i = 0; i < count; i++) names.push(await this.#hold(ANY_PORT))
    return names.join(' ')
  }

  async #sendBulk(): Promise<string> {
    await this.#client.ask({ do: 'send', ...this.#tcp(CLIENT_ADDRESS, ANY_PORT, SINK_PORT), bytes: BULK_BYTES })
    return ''
  }

  /** Nine of each family. */
  async #askFromManySockets(): Promise<string> {
    const replies: string[][] = []
    for (const [family, first] of [
      ['ipv4', 40001],
      ['ipv6', 41001],
    ] as const) {
      for (let port = first; port < first + 9; port++) {
        const [client, virtual] = [CLIENT_ADDRESSES[family], VIRTUAL_ADDRESSES[family]]
        const names: string[] = []
        for (let i = 0; i < 4; i++) names.push(await this.#datagram(client, port, virtual, 'x'.repeat(100)))
        replies.push(names)
      }
    }
    return listed(replies)
  }

  async #askSixTimes(): Promise<string> {
    const names: string[] = []
    for (let i = 0; i < 6; i++) names.push(await this.#datagram(CLIENT_ADDRESS, ANY_PORT, VIRTUAL_ADDRESS, 'x'))
    return names.join(' ')
  }

  async #visit(visits: [client: string, server: string][]): Promise<string> {
    const seen: [string, string][] = []
    for (const [index, [client]] of visits.entries()) {
      seen.push([client, await this.#hold(43000 + index, client)])
      await this.#close([43000 + index])
    }
    return listed(seen)
  }

  async #visitPorts(visits: [client: string, port: number, server: string][]): Promise<string> {
    const seen: [string, number, string][] = []
    for (const [client, port] of visits) {
      const name = String(await this.#client.ask({ do: 'tcp', ...this.#tcp(client, ANY_PORT, port) }))
      await this.#client.ask({ do: 'close', connections: [this.#opened.length - 1] })
      seen.push([client, port, name])
    }
    return listed(seen)
  }

  async #askFromClients(visits: [client: string, server: string][], port: number, family: Family): Promise<string> {
    const seen: [string, string][] = []
    for (const [client] of visits) {
      seen.push([client, await this.#datagram(client, port, VIRTUAL_ADDRESSES[family], 'x')])
    }
    return listed(seen)
  }

  async #datagram(client: string, port: number, virtual: string, payload: string, to = UDP_PORT): Promise<string> {
    if (port !== ANY_PORT) this.ports.add(port)
    const from = { address: client, port }
    return String(await this.#client.ask({ do: 'udp', from, to: { address: virtual, port: to }, payload }))
  }

  /** The ends of a connection that is about to be opened. */
  #tcp(client: string, clientPort: number, port: number) {
    if (clientPort !== ANY_PORT) this.ports.add(clientPort)
    this.#opened.push(clientPort)
    return { from: { address: client, port: clientPort }, to: { address: VIRTUAL_ADDRESS, port } }
  }

  async #close(ports: readonly number[]): Promise<void> {
    for (const port of ports) this.#ended.add(port)
    await this.#client.ask({ do: 'close', connections: this.#numbersOf(ports) })
  }

  #numbersOf(ports: readonly number[]): number[] {
    return ports.map((port) => this.#opened.indexOf(port))
  }

  async #eventually(what: string, holds: (connections: ConnectionListing[]) => boolean): Promise<void> {
    await eventually(what, async () => {
      return holds(await ask<ConnectionListing[]>(this.#lab, 'd1', '/connections')) ? true : undefined
    })
  }
}

/** As Python prints it. */
function listed(value: unknown): string {
  return JSON.stringify(value).replaceAll(',', ', ')
}
