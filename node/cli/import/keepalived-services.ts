/**
 * keepalived's virtual servers as services of the pool. What a service here cannot have is an omission; what comes out is what
 * `director config apply` takes.
 *
 * Source: keepalived.conf(5) of keepalived 2.2.7, "virtual_server".
 */
import { isIP, isIPv4, isIPv6 } from 'node:net'
import { serviceKey } from '../../../forwarder/service.ts'
import { DirectorError } from '../../../protocol/errors.ts'
import { canonicalAddress } from '../../../protocol/packet/ipv6-address.ts'
import { DEFAULT_SCHEDULER, schedulerByName } from '../../../scheduler/registry.ts'
import { type TunnelInput, type WholeService, wholeServiceSchema } from '../../director/control/api.ts'
import { withWholeService } from '../../director/pool/service-changes.ts'
import { UsageError } from '../vsadm/request.ts'
import { readSchedulerFlags } from '../vsadm/scheduler-flags.ts'
import { type Statement, wholeNumber } from './keepalived-syntax.ts'
import { NO_COUNTERPART, type Omissions } from './omissions.ts'

/** keepalived's, in seconds. */
const PERSISTENCE_TIMEOUT_S = 360
/** Of a range of addresses in a group. */
const RANGE_MAX = 256
const OWN_FILE = "how servers are checked is in each director's own file (`health`), for all servers alike"
const CHECK_TIMES = new Set(['delay_loop', 'connect_timeout', 'retry', 'nb_get_retry', 'delay_before_retry', 'warmup'])
const FAMILIES: ReadonlyMap<string, 4 | 6> = new Map([
  ['inet', 4],
  ['inet6', 6],
])
const FLAGS = new Set(['flag-1', 'flag-2', 'flag-3', 'sh-port', 'sh-fallback', 'mh-port', 'mh-fallback'])
const NUMBERS = /^(weight|uthreshold|lthreshold)$/
const CHECKERS = /^(HTTP_GET|SSL_GET|SMTP_CHECK|DNS_CHECK|MISC_CHECK|BFD_CHECK|UDP_CHECK|PING_CHECK|FILE_CHECK)$/

type Method = Pick<WholeService['servers'][number], 'method' | 'tunnel'>
type Target = Pick<WholeService, 'protocol' | 'address' | 'port' | 'mark'>
type Server = WholeService['servers'][number]
type Values = Partial<WholeService>

/** Those that are virtual servers. */
export function* importVirtualServers(statements: readonly Statement[], omissions: Omissions): Generator<WholeService> {
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
      else yield service
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
  readonly #servers: Server[] = []
  /** Their addresses and ports. */
  readonly #known = new Set<string>()

  constructor(statement: Statement, omissions: Omissions) {
    this.#statement = statement
    this.#omissions = omissions
    for (const each of statement.block ?? []) this.#read(each)
    this.#setFlags()
    this.#setOnePacket()
    // What a server says counts before what its virtual server does, wherever that stands.
    for (const each of statement.block ?? []) if (each.words[0] === 'real_server') this.#readServer(each)
  }

  /** One, or of a group one for each of its members. */
  *services(groups: ReadonlyMap<string, Statement>): Generator<WholeService> {
    const { line, words } = this.#statement
    const [, first, ...more] = words
    if (first !== 'group') {
      yield* this.#servicesAt(line, words, [first, ...more])
      return
    }
    const group = groups.get(more[0] ?? '')
    if (!group) this.#omissions.add(line, words, 'there is no such virtual_server_group in this file')
    for (const member of group?.block ?? []) yield* this.#servicesAt(member.line, member.words, member.words)
  }

  *#servicesAt(
    line: number,
    words: readonly string[],
    target: readonly (string | undefined)[],
  ): Generator<WholeService> {
    const targets = this.#targets(target)
    if (targets.length === 0)
      this.#omissions.add(
        line,
        words,
        `expected an address with a port, or fwmark with a number; ranges are taken as 10.0.0.1-9, of up to ${RANGE_MAX} addresses`,
      )
    for (const each of targets) {
      const service = this.#service(each)
      const fault = faultOf(service)
      if (fault === undefined) yield service
      else this.#omissions.add(line, words, fault)
    }
  }

  #targets([first = '', second, third]: readonly (string | undefined)[]): Target[] {
    if (first === 'fwmark') {
      const mark = wholeNumber(second)
      const own = third === undefined ? this.#family : FAMILIES.get(third)
      if (mark === undefined || (third !== undefined && own === undefined)) return []
      const family = own ?? (this.#servers.some(({ address }) => isIPv6(address)) ? 6 : 4)
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

  #service(target: Target): WholeService {
    const netmask = isIPv6(target.address) ? '128' : '255.255.255.255'
    return {
      ...target,
      scheduler: DEFAULT_SCHEDULER,
      ...this.#values,
      ...(this.#persistence && { persistence: { timeoutS: PERSISTENCE_TIMEOUT_S, netmask, ...this.#persistence } }),
      servers: this.#servers.map((server) => ({ ...server, port: server.port === 0 ? target.port : server.port })),
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
        else omit(CHECK_TIMES.has(keyword) ? OWN_FILE : NO_COUNTERPART)
    }
  }

  #readServer({ line, words, block = [] }: Statement): void {
    const [, text = '', portWord = '0'] = words
    const port = wholeNumber(portWord)
    if (isIP(text) === 0 || port === undefined) {
      this.#omissions.add(line, words, 'expected an address and a port')
      return
    }
    const address = canonical(text)
    const key = `${address} ${port}`
    if (this.#known.has(key)) {
      this.#omissions.add(line, words, 'this server is there already')
      return
    }
    this.#known.add(key)
    const server: Server = { address, port, method: 'nat', weight: this.#weight }
    let method: Method | undefined = this.#method
    for (const statement of block) {
      const [keyword, value] = statement.words
      const omit = (why: string) => this.#omissions.add(statement.line, statement.words, why)
      const number = wholeNumber(value)
      if (keyword === 'weight' && number !== undefined) server.weight = number
      else if (keyword === 'uthreshold' && number !== undefined) server.upperThreshold = number
      else if (keyword === 'lthreshold' && number !== undefined) server.lowerThreshold = number
      else if (keyword === 'lvs_method' || keyword === 'lb_kind') {
        method = methodOf(statement.words.slice(1)) ?? method
        if (!methodOf(statement.words.slice(1))) omit("expected NAT, DR or TUN: it becomes the virtual server's")
      } else if (keyword === 'TCP_CHECK') this.#readTcpCheck(statement, port)
      else if (NUMBERS.test(keyword)) omit('expected a whole number')
      else if (CHECKERS.test(keyword)) omit('servers are checked by a TCP connection alone')
      else omit(CHECK_TIMES.has(keyword) ? OWN_FILE : NO_COUNTERPART)
    }
    this.#servers.push({ ...server, ...method })
  }

  #readTcpCheck({ line, words, block = [] }: Statement, port: number): void {
    if (this.#protocol !== 'tcp' || this.#statement.words[1] === 'fwmark') {
      this.#omissions.add(line, words, 'only servers of TCP services with an address are checked')
      return
    }
    for (const statement of block) {
      const [keyword, value] = statement.words
      if (keyword === 'connect_port' && wholeNumber(value) === port) continue
      const why = CHECK_TIMES.has(keyword) ? OWN_FILE : 'a server is checked at its own address and port'
      this.#omissions.add(statement.line, statement.words, why)
    }
  }
}

/** @param words after lvs_method */
function methodOf([name = '', ...options]: readonly string[]): Method | undefined {
  if (/^NAT$/i.test(name)) return { method: 'nat' }
  if (/^DR$/i.test(name)) return { method: 'dr' }
  if (!/^TUN$/i.test(name)) return undefined
  const [, type, port, checksum] =
    /^(?:type (ipip|gre|gue)(?: port (\d+))?)?(?: ?(nocsum|csum|remcsum))?$/.exec(options.join(' ')) ?? []
  if (options.length === 0 || type === 'ipip') return { method: 'tun' }
  const checksums = { nocsum: 'none', csum: 'plain', remcsum: 'remote' } as const
  const kind = checksums[(checksum ?? 'nocsum') as keyof typeof checksums]
  return type === undefined ? undefined : { method: 'tun', tunnel: tunnelOf(type, Number(port ?? 0), kind) }
}

function tunnelOf(type: string, port: number, checksum: TunnelInput['checksum']): TunnelInput {
  return { type: type as TunnelInput['type'], port, checksum }
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

/** In the form in which addresses are compared. One with a zone stays as it is: it is refused. */
function canonical(address: string): string {
  return address.includes('%') ? address : canonicalAddress(address)
}

/** Why the pool would not take the service. */
function faultOf(service: WholeService): string | undefined {
  const { error, data } = wholeServiceSchema.safeParse(service)
  if (error) return `${error.issues[0].path.join('.')}: ${error.issues[0].message}`
  try {
    withWholeService(undefined, data, () => true)
    return undefined
  } catch (fault) {
    if (fault instanceof DirectorError) return fault.message
    throw fault
  }
}
