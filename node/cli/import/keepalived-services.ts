/**
 * keepalived's virtual servers as services of the pool. What a service here cannot have is an omission; what comes out is what
 * `director config apply` takes.
 *
 * Source: keepalived.conf(5) of keepalived 2.2.7, "virtual_server".
 */
import { isIP, isIPv4, isIPv6 } from 'node:net'
import { serviceKey } from '../../../forwarder/service.ts'
import { DEFAULT_SCHEDULER, schedulerByName } from '../../../scheduler/registry.ts'
import type { WholeService } from '../../director/control/api.ts'
import { UsageError } from '../vsadm/request.ts'
import { readSchedulerFlags } from '../vsadm/scheduler-flags.ts'
import { canonical, type Method, methodOf, RealServer, whyNoCounterpart } from './keepalived-real-server.ts'
import { type Statement, wholeNumber } from './keepalived-syntax.ts'
import type { Omissions } from './omissions.ts'
import { refusalOf } from './refusal.ts'

/** keepalived's, in seconds. */
const PERSISTENCE_TIMEOUT_S = 360
/** Of a range of addresses in a group. */
const RANGE_MAX = 256
const FAMILIES: ReadonlyMap<string, 4 | 6> = new Map([
  ['inet', 4],
  ['inet6', 6],
])
const MARKED =
  'packets are marked by the rules of `director mark` here, not by iptables or nftables. Write them to `marks`: it is empty, and applied so it removes those that the pool has'
const FLAGS = new Set(['flag-1', 'flag-2', 'flag-3', 'sh-port', 'sh-fallback', 'mh-port', 'mh-fallback'])

type Target = Pick<WholeService, 'protocol' | 'address' | 'port' | 'mark'>
type Values = Partial<WholeService>

/** Of a group; a virtual server without one is the only one of its own. */
interface Member {
  readonly line: number
  readonly words: readonly string[]
  readonly targets: readonly Target[]
}

export interface ImportedService {
  readonly service: WholeService
  /** Of its virtual server. */
  readonly statement: Statement
}

/** Those that are virtual servers. */
export function* importVirtualServers(
  statements: readonly Statement[],
  omissions: Omissions,
): Generator<ImportedService> {
  const servers = statements.filter(({ words }) => words[0] === 'virtual_server')
  const used = new Set(servers.map(({ words }) => (words[1] === 'group' ? words[2] : undefined)))
  const groups = new Map<string, Statement>()
  for (const statement of statements) {
    const { line, words } = statement
    const [keyword, name = ''] = words
    if (keyword !== 'virtual_server_group') continue
    if (groups.has(name)) omissions.add(line, words, 'there is a group of this name already')
    else if (!used.has(name)) omissions.add(line, words, 'no virtual_server is of this group')
    groups.set(name, groups.get(name) ?? statement)
  }
  const known = new Set<string>()
  for (const statement of servers) {
    for (const service of new VirtualServer(statement, omissions).services(groups)) {
      const key = serviceKey(service)
      if (known.has(key)) omissions.add(statement.line, statement.words, `${key} is there already`)
      else yield { service, statement }
      known.add(key)
    }
  }
}

class VirtualServer {
  readonly #statement: Statement
  readonly #omissions: Omissions
  #protocol: 'tcp' | 'udp' | 'sctp' = 'udp'
  #isProtocolSaid = false
  #family: 4 | 6 | undefined
  #method: Method = { method: 'nat' }
  #persistence: { timeoutS?: number; netmask?: string } | undefined
  /** Of servers that have none. */
  #weight = 1
  #onePacket: Statement | undefined
  readonly #flags: Statement[] = []
  readonly #values: Values = {}
  readonly #servers: readonly RealServer[]
  /** With those that cannot be read. */
  readonly #hasServers: boolean

  constructor(statement: Statement, omissions: Omissions) {
    this.#statement = statement
    this.#omissions = omissions
    for (const each of statement.block ?? []) this.#read(each)
    this.#setFlags()
    this.#setOnePacket()
    // What a server says counts before what its virtual server does, wherever that stands.
    const virtual = { ...this.#method, weight: this.#weight }
    const servers = (statement.block ?? []).filter(({ words }) => words[0] === 'real_server')
    this.#hasServers = servers.length > 0
    this.#servers = servers.flatMap((each) => RealServer.read(each, virtual, omissions) ?? [])
  }

  /** One, or of a group one for each of its members. */
  *services(groups: ReadonlyMap<string, Statement>): Generator<WholeService> {
    const members = [...this.#members(groups)]
    this.#setPersistence(members)
    for (const member of members) yield* this.#servicesAt(member)
  }

  *#members(groups: ReadonlyMap<string, Statement>): Generator<Member> {
    const { line, words } = this.#statement
    const [, first, ...more] = words
    if (first !== 'group') {
      yield this.#member(line, words, [first, ...more])
      return
    }
    const group = groups.get(more[0] ?? '')
    if (!group) this.#omissions.add(line, words, 'there is no such virtual_server_group in this file')
    for (const member of group?.block ?? []) yield this.#member(member.line, member.words, member.words)
  }

  #member(line: number, words: readonly string[], target: readonly (string | undefined)[]): Member {
    const targets = this.#targets(target)
    if (targets.length === 0)
      this.#omissions.add(
        line,
        words,
        `expected an address with a port, or fwmark with a number; ranges are taken as 10.0.0.1-9, of up to ${RANGE_MAX} addresses`,
      )
    return { line, words, targets }
  }

  /** Every port needs it, and one member that has every port makes the whole group persistent. */
  #setPersistence(members: readonly Member[]): void {
    if (this.#persistence) return
    const member = members.find(({ targets }) => targets.some(({ protocol, port }) => protocol !== 'fwm' && port === 0))
    if (!member) return
    this.#persistence = {}
    const why = `port 0 is every port, which only a service with persistence can have: it gets ${PERSISTENCE_TIMEOUT_S} s of it, as in keepalived`
    this.#omissions.add(member.line, member.words, why)
  }

  *#servicesAt({ line, words, targets }: Member): Generator<WholeService> {
    for (const each of targets) {
      const service = this.#service(each)
      const fault = refusalOf(service)
      if (fault === undefined) service.servers = this.#serversIn(service)
      if (fault !== undefined) this.#omissions.add(line, words, fault)
      else if (service.servers.length === 0 && this.#hasServers)
        this.#omissions.add(line, words, 'none of its servers can be there')
      else {
        if (service.protocol === 'fwm') this.#omissions.add(line, words, MARKED)
        yield service
      }
    }
  }

  /** Each by itself: as keepalived does, the service goes on without those that cannot be there. */
  #serversIn(service: WholeService): WholeService['servers'] {
    const known = new Set<string>()
    return this.#servers.flatMap((server) => server.in(service, known) ?? [])
  }

  #targets([first = '', second, third]: readonly (string | undefined)[]): Target[] {
    if (first === 'fwmark') {
      const mark = wholeNumber(second)
      const own = third === undefined ? this.#family : FAMILIES.get(third)
      if (mark === undefined || (third !== undefined && own === undefined)) return []
      // A tunnel may lead to the other one.
      const decisive = this.#servers.find(({ method }) => method !== 'tun') ?? this.#servers[0]
      const family = own ?? (decisive && isIPv6(decisive.address) ? 6 : 4)
      return [{ protocol: 'fwm', address: family === 6 ? '::' : '0.0.0.0', port: 0, mark }]
    }
    const port = second === undefined ? 0 : wholeNumber(second)
    if (port === undefined) return []
    const addresses = addressesOf(first)
    if (addresses.length > 0) this.#tellProtocol()
    return addresses.map((address) => ({ protocol: this.#protocol, address, port }))
  }

  /** Once. Whoever says nothing often means TCP. */
  #tellProtocol(): void {
    if (this.#isProtocolSaid) return
    this.#isProtocolSaid = true
    const { line, words } = this.#statement
    this.#omissions.add(line, words, 'has no `protocol`: it is UDP, as in keepalived')
  }

  /** Without its servers. */
  #service(target: Target): WholeService {
    const netmask = isIPv6(target.address) ? '128' : '255.255.255.255'
    return {
      ...target,
      scheduler: DEFAULT_SCHEDULER,
      ...this.#values,
      ...(this.#persistence && { persistence: { timeoutS: PERSISTENCE_TIMEOUT_S, netmask, ...this.#persistence } }),
      servers: [],
    }
  }

  /** Each by itself: one that does not fit leaves the others. */
  #setFlags(): void {
    const scheduler = this.#values.scheduler ?? DEFAULT_SCHEDULER
    const fitting = new Set<string>()
    for (const { line, words } of this.#flags) {
      const [flag] = words
      try {
        readSchedulerFlags(flag, scheduler)
        fitting.add(flag)
      } catch (error) {
        if (!(error instanceof UsageError)) throw error
        this.#omissions.add(line, words, error.message)
      }
    }
    if (fitting.size > 0) this.#values.schedulerFlags = [...readSchedulerFlags([...fitting].join(','), scheduler)]
  }

  #setOnePacket(): void {
    if (!this.#onePacket) return
    const { line, words } = this.#onePacket
    if (this.#protocol === 'udp' || this.#statement.words[1] === 'fwmark') this.#values.onePacket = true
    else this.#omissions.add(line, words, 'only UDP and firewall marks are scheduled by the packet: it is passed over')
  }

  #read(statement: Statement): void {
    const { line, words } = statement
    const [keyword, value = ''] = words
    const omit = (why: string) => this.#omissions.add(line, words, why)
    switch (keyword) {
      case 'real_server':
        break
      case 'lb_algo':
      case 'lvs_sched':
        if (schedulerByName(value)) this.#values.scheduler = value
        else omit('there is no such scheduler here: it becomes wlc')
        break
      case 'lb_kind':
      case 'lvs_method': {
        const method = methodOf(words.slice(1))
        if (method) this.#method = method
        else omit('expected NAT, DR or TUN with a known tunnel: it becomes NAT')
        break
      }
      case 'protocol':
        this.#isProtocolSaid = true
        if (/^(tcp|udp|sctp)$/i.test(value)) this.#protocol = value.toLowerCase() as 'tcp' | 'udp' | 'sctp'
        else omit('expected TCP, UDP or SCTP: it becomes UDP, as in keepalived')
        break
      case 'persistence_timeout': {
        const timeoutS = value === '' ? PERSISTENCE_TIMEOUT_S : wholeNumber(value)
        if (timeoutS) this.#persistence = { ...this.#persistence, timeoutS }
        else omit('expected seconds: it is passed over')
        break
      }
      case 'persistence_granularity':
        this.#persistence = { ...this.#persistence, netmask: value }
        break
      case 'persistence_engine':
        this.#values.persistenceEngine = value
        break
      case 'weight':
        if (wholeNumber(value) === undefined) omit('expected a whole number')
        this.#weight = wholeNumber(value) ?? this.#weight
        break
      case 'ops':
        this.#onePacket = statement
        break
      case 'ip_family':
        this.#family = FAMILIES.get(value)
        if (this.#family === undefined) omit('expected inet or inet6')
        break
      case 'sorry_server':
        omit('there are no sorry servers: without a live server new connections are refused')
        break
      default:
        if (FLAGS.has(keyword)) this.#flags.push(statement)
        else omit(whyNoCounterpart(keyword))
    }
  }
}

/** "10.0.0.1", or those of "10.0.0.1-9" and "fd00::1-9"; none for what is neither. */
function addressesOf(text: string): string[] {
  if (isIP(text) !== 0) return [canonical(text)]
  const [, network, first, last] = /^(.*[.:])([0-9a-f]+)-([0-9a-f]+)$/i.exec(text) ?? []
  if (network === undefined || isIP(network + first) === 0) return []
  const base = isIPv4(network + first) ? 10 : 16
  const [from, to] = [Number.parseInt(first, base), Number.parseInt(last, base)]
  if (!(to >= from) || to - from >= RANGE_MAX) return []
  const addresses = Array.from({ length: to - from + 1 }, (_, index) => network + (from + index).toString(base))
  return addresses.every((address) => isIP(address) !== 0) ? addresses.map(canonical) : []
}
