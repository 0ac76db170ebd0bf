/**
 * Replays one recording of the kernel's picks (test/reference/sched.jsonl) against our schedulers: the ipvsadm commands, and
 * a connection after the other as the recorded client made them, counted as IPVS counts them.
 */
import { isIPv4 } from 'node:net'
import { schedulerByName } from '../../scheduler/registry.ts'
import type { Scheduler } from '../../scheduler/scheduler.ts'
import { ipv4Words, type ModelledServer, ModelledService, newServer } from './modelled-service.ts'

export interface Recording {
  readonly name: string
  readonly sched: string
  /** udp: one datagram from a new port, counted inactive; tcph: TCP held open, counted active. */
  readonly kind: 'udp' | 'tcph'
  readonly cmds: readonly string[]
  /** Clients, taken in turn; null: always the same. */
  readonly srcs: readonly string[] | null
  /** Destinations, taken in turn; null: the virtual address. */
  readonly dsts: readonly string[] | null
  readonly sport0: number
  /** Done after `before` connections. */
  readonly ops: readonly { readonly before: number; readonly op: string }[]
  readonly seq: readonly string[]
}

interface RecordedServer extends ModelledServer {
  upperThreshold: number
  lowerThreshold: number
}

/** The recorded client sent every datagram from one port; that is said in the name alone. */
const fromOnePort = new Set(['rr-same-port-udp'])

/** @returns what each connection got, in the words of the recording's `seq` */
export function replay(recording: Recording): string[] {
  const host = new RecordedHost()
  for (const command of recording.cmds) host.run(command)
  return recording.seq.map((_, connection) => {
    for (const { before, op } of recording.ops) if (before === connection) host.run(op)
    const source = recording.srcs?.[connection % recording.srcs.length] ?? '10.1.0.2'
    const port = recording.sport0 + (fromOnePort.has(recording.name) ? 0 : connection)
    const destination = recording.dsts?.[connection % recording.dsts.length] ?? '10.1.0.100'
    return host.connect(source, port, destination, recording.kind)?.name ?? 'ERR:ECONNREFUSED'
  })
}

class RecordedHost {
  #service: ModelledService | undefined
  /** Servers by name; deleted ones stay, since adding one back finds its connections. */
  readonly #known = new Map<string, RecordedServer>()
  readonly #connections: (RecordedServer | undefined)[] = []
  readonly #serverByClient = new Map<string, RecordedServer>()
  #persistenceMask: number | undefined

  run(line: string): void {
    const closed = /^client closed \d+ held connections of \w+ \(no\.([\d,]+)\)$/.exec(line)
    if (closed) this.#close(closed[1].split(',').map(Number))
    else this.#ipvsadm(line.replace(/^\$ /, ''))
  }

  connect(source: string, port: number, to: string, kind: Recording['kind']): RecordedServer | undefined {
    const client =
      this.#persistenceMask === undefined ? `${source}:${port} ${to}` : `${toNumber(source) & this.#persistenceMask}`
    const known = this.#serverByClient.get(client)
    const flow = { source: ipv4Words(toNumber(source)), sourcePort: port, destination: ipv4Words(toNumber(to)) }
    const server = known ?? (this.#service?.select(flow) as RecordedServer | undefined)
    this.#connections.push(server)
    if (!server) return undefined
    if (kind === 'tcph') server.activeConnections++
    else if (!known || this.#persistenceMask !== undefined) server.inactiveConnections++
    this.#serverByClient.set(client, server)
    checkThresholds(server)
    return server
  }

  /** Closed, but not forgotten: TIME_WAIT counts as inactive. */
  #close(numbers: readonly number[]): void {
    for (const number of numbers) {
      const server = this.#connections[number - 1]
      if (!server) throw new Error(`connection ${number} was refused and cannot be closed`)
      server.activeConnections--
      server.inactiveConnections++
      checkThresholds(server)
    }
  }

  #ipvsadm(command: string): void {
    const words = command.split(' ')
    const option = (name: string) => (words.includes(name) ? words[words.indexOf(name) + 1] : undefined)
    const verb = words[1]
    if (verb === '-A') {
      const flags = option('-b')?.split(',') ?? []
      this.#service = new ModelledService(schedulerNamed(option('-s')), { flags })
      const mask = option('-M')
      if (mask) this.#persistenceMask = toNumber(mask)
      return
    }
    const service = this.#service
    if (!service) throw new Error(`no service yet: ${command}`)
    if (verb === '-E') service.changeScheduler(schedulerNamed(option('-s')))
    else if (verb === '-d') service.remove(this.#serverAt(option('-r')))
    else if (verb === '-a' || verb === '-e') {
      const server = this.#serverAt(option('-r'))
      server.upperThreshold = Number(option('-x') ?? 0)
      server.lowerThreshold = Number(option('-y') ?? 0)
      const weight = Number(option('-w'))
      if (verb === '-a') service.add(Object.assign(server, { weight }))
      else service.edit(server, weight)
    } else throw new Error(`cannot replay ${command}`)
  }

  /** 10.2.0.11 is called rs1, and so on. */
  #serverAt(place: string | undefined): RecordedServer {
    const [address, port] = (place ?? '').split(':')
    const number = toNumber(address)
    const name = `rs${(number & 0xff) - 10}`
    const server = this.#known.get(name) ?? {
      ...newServer(name, 0, number),
      port: Number(port),
      upperThreshold: 0,
      lowerThreshold: 0,
    }
    this.#known.set(name, server)
    return server
  }
}

/** As ip_vs_bind_dest() and ip_vs_unbind_dest() in Linux net/netfilter/ipvs/ip_vs_conn.c; inactive connections count too. */
function checkThresholds(server: RecordedServer): void {
  const connections = server.activeConnections + server.inactiveConnections
  const { upperThreshold: upper, lowerThreshold: lower } = server
  if (upper > 0 && connections >= upper) server.overloaded = true
  else if (lower > 0 ? connections < lower : connections * 4 < upper * 3) server.overloaded = false
}

function schedulerNamed(name: string | undefined): Scheduler {
  const scheduler = schedulerByName(name ?? '')
  if (!scheduler) throw new Error(`no scheduler ${name}`)
  return scheduler
}

function toNumber(address: string): number {
  if (!isIPv4(address)) throw new Error(`not an address: ${address}`)
  return address.split('.').reduce((number, byte) => (number << 8) | Number(byte), 0)
}
