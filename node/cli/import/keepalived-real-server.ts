/**
 * One of keepalived's real servers, and what it is in each of the services that its virtual server becomes: a group may have
 * addresses with several ports, and marks.
 *
 * Source: keepalived.conf(5) of keepalived 2.2.7, "real_server", and keepalived/check/check_data.c, validate_check_config().
 */
import { isIP } from 'node:net'
import { serverKey } from '../../../forwarder/service.ts'
import { canonicalAddress } from '../../../protocol/packet/ipv6-address.ts'
import type { TunnelInput, WholeService } from '../../director/control/api.ts'
import { type Statement, wholeNumber } from './keepalived-syntax.ts'
import { NO_COUNTERPART, type Omissions } from './omissions.ts'
import { refusalOf } from './refusal.ts'

type Server = WholeService['servers'][number]
export type Method = Pick<Server, 'method' | 'tunnel'>

const OWN_FILE = "how servers are checked is in each director's own file (`health`), for all servers alike"
const OWN_PORT = 'a server is checked at its own address and port'
const CHECK_TIMES = new Set(['delay_loop', 'connect_timeout', 'retry', 'nb_get_retry', 'delay_before_retry', 'warmup'])
const CHECKERS = /^(HTTP_GET|SSL_GET|SMTP_CHECK|DNS_CHECK|MISC_CHECK|BFD_CHECK|UDP_CHECK|PING_CHECK|FILE_CHECK)$/
const NUMBERS: ReadonlyMap<string, 'weight' | 'upperThreshold' | 'lowerThreshold'> = new Map([
  ['weight', 'weight'],
  ['uthreshold', 'upperThreshold'],
  ['lthreshold', 'lowerThreshold'],
])

export class RealServer {
  readonly #statement: Statement
  readonly #omissions: Omissions
  readonly #values: Omit<Server, keyof Method>
  #method: Method
  readonly #checks: Statement[] = []

  /**
   * Undefined, and told, for one without an address.
   * @param virtual what a server has unless it says otherwise
   */
  static read(
    statement: Statement,
    virtual: Method & { weight: number },
    omissions: Omissions,
  ): RealServer | undefined {
    const [, address = '', port = '0'] = statement.words
    if (isIP(address) !== 0 && wholeNumber(port) !== undefined) return new RealServer(statement, virtual, omissions)
    omissions.add(statement.line, statement.words, 'expected an address and a port')
    return undefined
  }

  private constructor(statement: Statement, { weight, ...method }: Method & { weight: number }, omissions: Omissions) {
    const [, address, port] = statement.words
    this.#statement = statement
    this.#omissions = omissions
    this.#values = { address: canonical(address), port: wholeNumber(port) ?? 0, weight }
    this.#method = method
    for (const each of statement.block ?? []) this.#read(each)
  }

  get address(): string {
    return this.#values.address
  }

  get method(): Server['method'] {
    return this.#method.method
  }

  /**
   * What it is in a service. Undefined, and told, where there is such a server already, or the pool would refuse it.
   * @param known keys of those before it, to which it is added
   */
  in(service: WholeService, known: Set<string>): Server | undefined {
    const { address, port: written, weight, ...thresholds } = this.#values
    const { method, ...tunnel } = this.#method
    const hasOwnPort = written !== 0 && (method === 'nat' || service.protocol === 'fwm')
    const server = { address, port: hasOwnPort ? written : service.port, method, weight, ...thresholds, ...tunnel }
    const key = serverKey(server)
    const fault = known.has(key) ? 'this server is there already' : refusalOf({ ...service, servers: [server] })
    if (fault !== undefined) {
      this.#omit(this.#statement, fault)
      return undefined
    }
    known.add(key)
    if (written !== 0 && written !== server.port)
      this.#omit(
        this.#statement,
        'with DR and TUN packets keep their port: it becomes the virtual server’s, as in keepalived',
      )
    for (const check of this.#checks) this.#tellCheck(check, service, server.port)
    return server
  }

  #read(statement: Statement): void {
    const { words } = statement
    const [keyword, value] = words
    const number = NUMBERS.get(keyword)
    if (number) {
      const wanted = wholeNumber(value)
      if (wanted === undefined) this.#omit(statement, 'expected a whole number')
      else this.#values[number] = wanted
    } else if (keyword === 'lvs_method' || keyword === 'lb_kind') {
      const method = methodOf(words.slice(1))
      if (method) this.#method = method
      else this.#omit(statement, "expected NAT, DR or TUN: it becomes the virtual server's")
    } else if (keyword === 'TCP_CHECK') this.#checks.push(statement)
    else if (CHECKERS.test(keyword)) this.#omit(statement, 'servers are checked by a TCP connection alone')
    else this.#omit(statement, whyNoCounterpart(keyword))
  }

  /** keepalived checks `connect_port`, or the port that is written for the server, whatever port it has then. */
  #tellCheck(check: Statement, { protocol }: WholeService, port: number): void {
    const { block = [] } = check
    const written = this.#values.port
    if (protocol !== 'tcp') this.#omit(check, 'only servers of TCP services with an address are checked')
    else if (port === 0) this.#omit(check, 'only servers of one port are checked, and this one has every port')
    else {
      const hasPort = block.some(({ words }) => words[0] === 'connect_port')
      if (!hasPort && written !== 0 && written !== port) this.#omit(check, OWN_PORT)
      for (const statement of block) {
        const [keyword, value] = statement.words
        if (keyword === 'connect_port' && wholeNumber(value) === port) continue
        this.#omit(statement, CHECK_TIMES.has(keyword) ? OWN_FILE : OWN_PORT)
      }
    }
  }

  #omit({ line, words }: Statement, why: string): void {
    this.#omissions.add(line, words, why)
  }
}

/** Why what a server, or a virtual server for all of its own, says is not carried over. */
export function whyNoCounterpart(keyword: string): string {
  return CHECK_TIMES.has(keyword) ? OWN_FILE : NO_COUNTERPART
}

/** In the form in which addresses are compared. One with a zone stays as it is: it is refused. */
export function canonical(address: string): string {
  return address.includes('%') ? address : canonicalAddress(address)
}

/** What a type of tunnel does not have is none of its. @param words after lvs_method */
export function methodOf([name = '', ...options]: readonly string[]): Method | undefined {
  if (/^NAT$/i.test(name)) return { method: 'nat' }
  if (/^DR$/i.test(name)) return { method: 'dr' }
  if (!/^TUN$/i.test(name)) return undefined
  const [, type, port, checksum] =
    /^(?:type (ipip|gre|gue)(?: port (\d+))?)?(?: ?(nocsum|csum|remcsum))?$/.exec(options.join(' ')) ?? []
  const checksums = { nocsum: 'none', csum: 'plain', remcsum: 'remote' } as const
  const kind = checksums[(checksum ?? 'nocsum') as keyof typeof checksums]
  if ((type !== 'gue' && Number(port ?? 0) !== 0) || (type === 'ipip' && kind !== 'none')) return undefined
  if (options.length === 0 || type === 'ipip') return { method: 'tun' }
  return type === undefined ? undefined : { method: 'tun', tunnel: tunnelOf(type, Number(port ?? 0), kind) }
}

function tunnelOf(type: string, port: number, checksum: TunnelInput['checksum']): TunnelInput {
  return { type: type as TunnelInput['type'], port, checksum }
}
