/**
 * From the words of a command line to what is asked for, with ipvsadm's own errors for what is wrong.
 *
 * A value is checked when its option is met, the combination of options afterwards, as ipvsadm does: which of two errors
 * is reported follows from that. Source: ipvsadm(8) 1.31 and recordings of it (test/reference/cli.jsonl).
 */
import { isIPv4, isIPv6 } from 'node:net'
import { modernSchedulerName } from '../../../scheduler/registry.ts'
import {
  type CommandName,
  LEGAL_OPTIONS,
  LEGAL_TUNNEL_OPTIONS,
  type Legality,
  OPTION_NAMES,
  type OptionName,
  SPELLINGS,
  SPELLINGS_OF_1999,
  type TunnelType,
} from './grammar.ts'
import type { NameDatabase } from './names.ts'
import { type Endpoint, type Protocol, readEndpoint, readIPv4, readNumber } from './values.ts'
import { type Option, readOptions } from './words.ts'

/** A command line that is not carried out: a line for stderr and an exit status. */
export class UsageError extends Error {
  readonly exitCode: number
  constructor(message: string, exitCode = 2) {
    super(message)
    this.name = 'UsageError'
    this.exitCode = exitCode
  }
}

export interface ServiceIdentity {
  readonly protocol: Protocol
  readonly family: 4 | 6
  /** Empty for a firewall mark. */
  readonly address: string
  /** 0: none was given. */
  readonly port: number
  /** 0: the service is an address and a port. */
  readonly firewallMark: number
}

export interface Request {
  readonly command: CommandName | 'help' | 'version'
  readonly options: ReadonlySet<OptionName>
  readonly service?: ServiceIdentity
  readonly scheduler: string
  readonly server?: { readonly family: 4 | 6; readonly address: string; readonly port: number }
  readonly method: 'nat' | 'tun' | 'dr'
  readonly tunnelType: TunnelType
  readonly weight: number
}

export interface Dialect {
  /** What the program was called by; stands in messages. */
  readonly program: string
  /** Nothing but ipvsadm's own language: not the spelling of 1999, none of its mistakes mended. */
  readonly strict: boolean
  readonly names: NameDatabase
}

const MAX_TIMEOUT_SECONDS = 31 * 86400
const MAX_INT = 2147483647

const methodOf: Record<string, Request['method']> = { masquerading: 'nat', ipip: 'tun', gatewaying: 'dr' }
const flagFamily: Record<string, string> = {
  'sh-fallback': 'sh',
  'sh-port': 'sh',
  'mh-fallback': 'mh',
  'mh-port': 'mh',
  'flag-1': '',
  'flag-2': '',
  'flag-3': '',
}

export function tryHelp(program: string): UsageError {
  return new UsageError(`Try \`${program} -h' or '${program} --help' for more information.`, 255)
}

/** @throws UsageError */
export async function parseCommandLine(words: readonly string[], dialect: Dialect): Promise<Request> {
  const leftover: string[] = []
  let spellings = SPELLINGS
  const steps = readOptions(words, leftover, () => spellings)
  const first = steps.next().value
  if (!first || first.kind === 'error' || !first.option.spelling.command) throw tryHelp(dialect.program)

  const command = first.option.spelling.command
  if (!dialect.strict && command.endsWith('-server')) spellings = SPELLINGS_OF_1999
  const draft = new Draft(command, dialect)
  if (command === 'start-daemon') requireState(first.option, 'illegal start-daemon parameter specified')
  if (command === 'stop-daemon') requireState(first.option, 'illegal start_daemon specified')
  if (command === 'help' || command === 'version') return draft.finish()

  for (const step of steps) {
    if (step.kind === 'error') throw new UsageError(`${step.word}: ${step.reason}`, 255)
    await draft.take(step.option)
  }
  if (command === 'set') {
    const timeouts = leftover.splice(0, 3)
    if (timeouts.length < 3) throw new UsageError('--set option requires 3 timeout values')
    for (const timeout of timeouts) checkTimeout(timeout, 0)
  }
  if (leftover.length > 0) throw new UsageError(`unexpected argument ${leftover[0]}`)
  checkOptions(command, draft.options)
  return draft.finish()
}

function requireState(option: Option, complaint: string): void {
  if (option.argument !== 'master' && option.argument !== 'backup') throw new UsageError(complaint)
}

function checkTimeout(text: string, minimum: number): void {
  if (readNumber(text, minimum, MAX_TIMEOUT_SECONDS) === undefined)
    throw new UsageError(`invalid timeout value \`${text}' specified`)
}

function checkOptions(command: CommandName, given: ReadonlySet<OptionName>): void {
  checkLegality(OPTION_NAMES, LEGAL_OPTIONS[command], given, `'${command}' command`, 'in')
  const listsMore = ['connection', 'timeout', 'daemon'].some((name) => given.has(name as OptionName))
  const listsCounters = ['stats', 'rate', 'thresholds'].some((name) => given.has(name as OptionName))
  const listsSettings = given.has('timeout') || given.has('daemon')
  if (command === 'list' && ((listsMore && listsCounters) || (listsSettings && given.has('persistent-conn'))))
    throw new UsageError('options conflicts in the list command')
}

function checkLegality(
  names: readonly OptionName[],
  legal: Partial<Record<OptionName, Legality>>,
  given: ReadonlySet<OptionName>,
  where: string,
  preposition: string,
): void {
  let exclusive: OptionName | undefined
  for (const name of names) {
    if (!given.has(name)) {
      if (legal[name] === 'required') throw new UsageError(`You need to supply the '${name}' option for the ${where}`)
      continue
    }
    if (!legal[name]) throw new UsageError(`Illegal '${name}' option with the ${where}`)
    if (legal[name] !== 'exclusive') continue
    if (exclusive)
      throw new UsageError(`The option '${name}' conflicts with the '${exclusive}' option ${preposition} the ${where}`)
    exclusive = name
  }
}

/** A request that is being read. */
class Draft {
  readonly options = new Set<OptionName>()
  readonly #command: Request['command']
  readonly #dialect: Dialect
  #service: ServiceIdentity | undefined
  #server: Endpoint | undefined
  /** The service's port at the moment -r was read; ipvsadm copies that one. */
  #portSoFar = 0
  #scheduler = ''
  #flags = ''
  #method: Request['method'] = 'dr'
  #tunnelType: TunnelType = 'ipip'
  #weight = 1

  constructor(command: Request['command'], dialect: Dialect) {
    this.#command = command
    this.#dialect = dialect
  }

  async take({ spelling, argument = '', word }: Option): Promise<void> {
    if (spelling.command) throw new UsageError(`invalid option \`${word}'`)
    if (spelling.option) {
      if (this.options.has(spelling.option)) throw new UsageError(`multiple '${spelling.option}' options specified`)
      this.options.add(spelling.option)
    }
    switch (spelling.long) {
      case 'tcp-service':
      case 'udp-service':
      case 'sctp-service':
        return this.#takeService(spelling.long.slice(0, -'-service'.length) as Protocol, argument)
      case 'fwmark-service': {
        const firewallMark = readNumber(argument, 1, 4294967295)
        if (firewallMark === undefined) throw new UsageError(`invalid fwmark value \`${argument}' specified`)
        this.#service = { protocol: 'tcp', family: 4, address: '', port: 0, firewallMark }
        return
      }
      case 'ipv6':
        // The blank line is ipvsadm's.
        if (!this.#service?.firewallMark) throw new UsageError('-6 used before -f\n')
        this.#service = { ...this.#service, family: 6 }
        return
      case 'scheduler':
        this.#scheduler = this.#dialect.strict ? argument : modernSchedulerName(argument)
        return
      case 'persistent':
        if (argument !== '') checkTimeout(argument, 1)
        return
      case 'netmask':
        return this.#checkNetmask(argument)
      case 'real-server':
        this.#server = await readEndpoint(argument, this.#service?.protocol ?? 'tcp', this.#dialect.names)
        if (!this.#server) throw new UsageError('illegal real server address[:port] specified')
        this.#portSoFar = this.#service?.port ?? 0
        return
      case 'masquerading':
      case 'ipip':
      case 'gatewaying':
        this.#method = methodOf[spelling.long]
        return
      case 'weight':
        this.#weight = checkNumber(argument, 0, MAX_INT, 'weight')
        return
      case 'u-threshold':
      case 'l-threshold':
        checkNumber(argument, 0, MAX_INT, spelling.long.replace('-', '_'))
        return
      case 'syncid':
        checkNumber(argument, 0, 255, 'syncid')
        return
      case 'sync-maxlen':
        checkNumber(argument, 1, 65535 - 20 - 8, 'sync-maxlen')
        return
      case 'mcast-port':
      case 'tun-port':
        checkNumber(argument, 1, 65535, spelling.long)
        return
      case 'mcast-ttl':
        checkNumber(argument, 1, 255, 'mcast-ttl')
        return
      case 'mcast-group':
        return checkMulticastGroup(argument)
      case 'tun-type':
        if (!Object.hasOwn(LEGAL_TUNNEL_OPTIONS, argument)) throw new UsageError('illegal tunnel type specified')
        this.#tunnelType = argument as TunnelType
        return
      case 'sched-flags':
        this.#flags = argument
    }
  }

  async #takeService(protocol: Protocol, text: string): Promise<void> {
    const endpoint = await readEndpoint(text, protocol, this.#dialect.names)
    if (!endpoint) throw new UsageError('illegal virtual server address[:port] specified')
    const { family, address, port = 0 } = endpoint
    this.#service = { protocol, family, address, port, firewallMark: 0 }
  }

  async #checkNetmask(text: string): Promise<void> {
    if (this.#service?.family === 6) checkNumber(text, 1, 128, 'ipv6 netmask')
    else if (readIPv4(text) === undefined && (await this.#dialect.names.addressOf(text)) === undefined)
      throw new UsageError('illegal virtual server persistent mask specified')
  }

  /** @throws UsageError for what is wrong only in combination */
  finish(): Request {
    const scheduler = this.#scheduler || 'wlc'
    if (this.#command === 'add-service' || this.#command === 'edit-service') this.#checkService(scheduler)
    if (this.#command === 'add-server' || this.#command === 'edit-server') this.#checkServer()
    return {
      command: this.#command,
      options: this.options,
      service: this.#service,
      scheduler,
      server: this.#server && { ...this.#server, port: this.#serverPort(this.#server) },
      method: this.#method,
      tunnelType: this.#tunnelType,
      weight: this.#weight,
    }
  }

  #checkService(scheduler: string): void {
    const service = this.#service as ServiceIdentity
    if (!service.firewallMark && service.port === 0 && !this.options.has('persistent'))
      throw new UsageError('Zero port specified for non-persistent service')
    if (this.options.has('ops') && !service.firewallMark && service.protocol !== 'udp')
      throw new UsageError('One-Packet Scheduling is only for UDP virtual services')
    for (const flag of this.#flags.split(',').filter(Boolean)) {
      if (!Object.hasOwn(flagFamily, flag)) throw new UsageError(`invalid scheduler flag \`${flag}'`)
      if (flagFamily[flag] && flagFamily[flag] !== scheduler)
        throw new UsageError(`incompatible scheduler flag \`${flag}'`)
    }
  }

  #checkServer(): void {
    if (this.#server?.family !== this.#service?.family && this.#method !== 'tun')
      throw new UsageError('Different address family is allowed only for tunneling servers')
    const tunnelOptions = OPTION_NAMES.filter((name) => name.startsWith('tun-') && name !== 'tun-info')
    if (this.#method !== 'tun' && tunnelOptions.some((name) => this.options.has(name)))
      throw new UsageError('Tunnel options conflict with forward method')
    const legal = { 'tun-type': 'optional', ...LEGAL_TUNNEL_OPTIONS[this.#tunnelType] } as const
    checkLegality(tunnelOptions, legal, this.options, `'${this.#tunnelType}' tunnel type`, 'for')
  }

  /** Routed and tunnelled packets keep their port, so these servers have the service's. */
  #serverPort(server: Endpoint): number {
    const service = this.#service
    const keepsPort = this.#method !== 'nat' && this.#command !== 'delete-server' && !service?.firewallMark
    if (service && keepsPort) return service.port
    // Strictly, a server named before its service gets port 0 instead of the service's.
    return server.port ?? (this.#dialect.strict ? this.#portSoFar : (service?.port ?? 0))
  }
}

function checkNumber(text: string, minimum: number, maximum: number, what: string): number {
  const number = readNumber(text, minimum, maximum)
  if (number === undefined) throw new UsageError(`illegal ${what} specified`)
  return number
}

function checkMulticastGroup(text: string): void {
  const family = text.includes(':') ? 6 : 4
  const isMulticast =
    family === 6
      ? isIPv6(text) && /^ff/i.test(text)
      : isIPv4(text) && Number(text.split('.')[0]) >= 224 && Number(text.split('.')[0]) < 240
  if (!isMulticast) throw new UsageError(`invalid IPv${family} mcast-group \`${text}'`)
}
