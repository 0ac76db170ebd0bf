/**
 * A request that is being read: each option is checked and taken when it is met, whole requests are put together at the end.
 * Which of two errors is reported follows from that, and what an option means can depend on those before it: a server that is
 * named before its service knows neither its port nor its protocol. Source: ipvsadm(8) 1.31 and recordings of it.
 */
import { isIPv4, isIPv6 } from 'node:net'
import { modernSchedulerName } from '../../../scheduler/scheduler-name.ts'
import type { ServerInput, ServiceInput } from '../../director/control/api.ts'
import { type CommandName, LEGAL_TUNNEL_OPTIONS, type OptionName, TUNNEL_OPTIONS, type TunnelType } from './grammar.ts'
import { checkOptions, checkTunnelOptions } from './legality.ts'
import { type Dialect, type Request, type SyncDaemon, UsageError } from './request.ts'
import { readSchedulerFlags, type SchedulerFlag } from './scheduler-flags.ts'
import {
  type Endpoint,
  MAX_INT,
  MAX_TIMEOUT_SECONDS,
  maskOfPrefix,
  type Protocol,
  readEndpoint,
  readIPv4,
  readNumber,
} from './values.ts'
import type { Option } from './words.ts'

/** IPVS's: a little more than the time that a closed connection takes to go. */
const PERSISTENT_TIMEOUT_SECONDS = 360
const DEFAULT_SCHEDULER = 'wlc'
const DEFAULT_INTERFACE = 'eth0'
/** A name of a scheduler or an interface has this many characters; what is behind them is ignored. */
const NAME_LENGTH = 15
const EVERY_BIT = '255.255.255.255'

const methodOf = { masquerading: 'nat', ipip: 'tun', gatewaying: 'dr' } as const

export class Draft {
  readonly #options = new Set<OptionName>()
  readonly #command: CommandName
  readonly #dialect: Dialect
  #protocol: Protocol | undefined
  #family: 4 | 6 | undefined
  #address = ''
  #port = 0
  #mark = 0
  #netmask = EVERY_BIT
  /** Read at the end, since it depends on the service, which may stand behind it; strictly, when it is met. */
  #netmaskText: string | undefined
  #scheduler = ''
  #flagWords = ''
  #flags: readonly SchedulerFlag[] = []
  #timeoutS = 0
  #engine = ''
  #mss = false
  #sync: ServiceInput['sync']
  #server: Endpoint | undefined
  /** The service's port at the moment -r was read; ipvsadm copies that one. */
  #portSoFar = 0
  #method: ServerInput['method'] = 'dr'
  #tunnelType: TunnelType = 'ipip'
  #tunnelPort = 0
  #weight = 1
  #upperThreshold = 0
  #lowerThreshold = 0
  #timeouts: number[] = []
  #daemon: { -readonly [field in keyof SyncDaemon]: SyncDaemon[field] }

  constructor(command: CommandName, state: SyncDaemon['state'] | undefined, dialect: Dialect) {
    this.#command = command
    this.#dialect = dialect
    this.#daemon = { state: state ?? 'master', interface: DEFAULT_INTERFACE, syncId: 0 }
  }

  /** @throws UsageError */
  async take({ spelling, argument, word }: Option): Promise<void> {
    if (spelling.command) throw new UsageError(`invalid option \`${this.#wordOf(argument, word)}'`)
    if (spelling.option) {
      if (this.#options.has(spelling.option)) throw new UsageError(`multiple '${spelling.option}' options specified`)
      this.#options.add(spelling.option)
    }
    const text = argument ?? ''
    switch (spelling.long) {
      case 'tcp-service':
      case 'udp-service':
      case 'sctp-service':
        return this.#takeService(spelling.long.slice(0, -'-service'.length) as Protocol, text)
      case 'fwmark-service': {
        const mark = readNumber(text, 1, 4294967295)
        if (mark === undefined) throw new UsageError(`invalid fwmark value \`${text}' specified`)
        this.#mark = mark
        this.#family = 4
        this.#protocol = 'tcp'
        return
      }
      case 'ipv6':
        // The blank line is ipvsadm's.
        if (this.#mark === 0) throw new UsageError('-6 used before -f\n')
        this.#family = 6
        this.#netmask = '128'
        return
      case 'scheduler':
        this.#scheduler = (this.#dialect.strict ? text : modernSchedulerName(text)).slice(0, NAME_LENGTH)
        return
      case 'persistent':
        this.#timeoutS = argument === undefined ? PERSISTENT_TIMEOUT_SECONDS : readTimeout(text, 1)
        return
      case 'netmask':
        if (this.#dialect.strict) return this.#takeNetmask(text)
        this.#netmaskText = text
        return
      case 'pe':
        this.#engine = text.slice(0, NAME_LENGTH + 1)
        return
      case 'mss':
        if (text !== 'clamp') throw new UsageError(`illegal mss \`${text}' specified: expected clamp`)
        this.#mss = true
        return
      case 'sync':
        if (text !== 'established' && text !== 'confirmed' && text !== 'confirmed-only') {
          const expected = 'established, confirmed or confirmed-only'
          throw new UsageError(`illegal sync \`${text}' specified: expected ${expected}`)
        }
        this.#sync = text
        return
      case 'sched-flags':
        this.#flagWords = text
        return
      case 'real-server':
        return this.#takeServer(text)
      case 'masquerading':
      case 'ipip':
      case 'gatewaying':
        this.#method = methodOf[spelling.long]
        return
      case 'weight':
        this.#weight = checkNumber(text, 0, MAX_INT, 'weight')
        return
      case 'u-threshold':
        this.#upperThreshold = checkNumber(text, 0, MAX_INT, 'u_threshold')
        return
      case 'l-threshold':
        this.#lowerThreshold = checkNumber(text, 0, MAX_INT, 'l_threshold')
        return
      case 'tun-type':
        if (!Object.hasOwn(LEGAL_TUNNEL_OPTIONS, text)) throw new UsageError('illegal tunnel type specified')
        this.#tunnelType = text as TunnelType
        return
      case 'tun-port':
        this.#tunnelPort = checkNumber(text, 1, 65535, 'tunnel port')
        return
      case 'mcast-interface':
        this.#daemon.interface = text.slice(0, NAME_LENGTH) || DEFAULT_INTERFACE
        return
      case 'syncid':
        this.#daemon.syncId = checkNumber(text, 0, 255, 'syncid')
        return
      case 'sync-maxlen':
        this.#daemon.maxLength = checkNumber(text, 1, 65535 - 20 - 8, 'sync-maxlen')
        return
      case 'mcast-group':
        this.#daemon.group = checkGroup(text)
        return
      case 'mcast-port':
        this.#daemon.port = checkNumber(text, 1, 65535, 'mcast-port')
        return
      case 'mcast-ttl':
        this.#daemon.ttl = checkNumber(text, 1, 255, 'mcast-ttl')
    }
  }

  /** The words behind the options. @throws UsageError for what is wrong only in combination */
  async finish(leftover: readonly string[]): Promise<Request> {
    if (this.#netmaskText !== undefined) await this.#takeNetmask(this.#netmaskText)
    const words = [...leftover]
    if (this.#command === 'set') {
      const timeouts = words.splice(0, 3)
      if (timeouts.length < 3) throw new UsageError('--set option requires 3 timeout values')
      this.#timeouts = timeouts.map((timeout) => readTimeout(timeout, 0))
    }
    if (words.length > 0) throw new UsageError(`unexpected argument ${words[0]}`)
    const scheduler = this.#scheduler || DEFAULT_SCHEDULER
    this.#flags = readSchedulerFlags(this.#flagWords, scheduler)
    checkOptions(this.#command, this.#options)
    const service = this.#options.has('service-address') ? this.#serviceInput(scheduler) : undefined
    if (service && (this.#command === 'add-service' || this.#command === 'edit-service')) this.#checkService(service)
    if (this.#command === 'add-server' || this.#command === 'edit-server') this.#checkServer()
    return {
      command: this.#command,
      options: this.#options,
      service,
      server: service && this.#server && this.#serverInput(service, this.#server),
      timeouts: this.#timeouts,
      daemon: this.#daemon,
    }
  }

  /** popt(3) names the last word that it has read, which may be the option's argument. */
  #wordOf(argument: string | undefined, word: string): string {
    return this.#dialect.strict && argument !== undefined && !word.endsWith(argument) ? argument : word
  }

  async #takeService(protocol: Protocol, text: string): Promise<void> {
    const endpoint = await readEndpoint(text, protocol, this.#dialect.names)
    if (!endpoint) throw new UsageError('illegal virtual server address[:port] specified')
    this.#protocol = protocol
    this.#family = endpoint.family
    this.#address = endpoint.address
    this.#port = endpoint.port ?? 0
    if (endpoint.family === 6) this.#netmask = '128'
  }

  async #takeNetmask(text: string): Promise<void> {
    if (this.#family === 6) {
      // As C's atoi reads it: digits, and what is behind them does not count.
      const length = Number.parseInt(text, 10) || 0
      if (length < 1 || length > 128) throw new UsageError('illegal ipv6 netmask specified')
      this.#netmask = String(length)
      return
    }
    const prefix = this.#dialect.strict ? undefined : readNumber(text, 1, 32)
    const mask =
      prefix === undefined ? (readIPv4(text) ?? (await this.#dialect.names.addressOf(text))) : maskOfPrefix(prefix)
    if (mask === undefined) throw new UsageError('illegal virtual server persistent mask specified')
    this.#netmask = mask
  }

  async #takeServer(text: string): Promise<void> {
    // Before its service it has no protocol, in which a port could have a name.
    const protocol = this.#protocol ?? (this.#dialect.strict ? undefined : 'tcp')
    this.#server = await readEndpoint(text, protocol, this.#dialect.names)
    if (!this.#server) throw new UsageError('illegal real server address[:port] specified')
    this.#portSoFar = this.#port
  }

  #checkService({ protocol, port, onePacket }: ServiceInput): void {
    if (protocol !== 'fwm' && port === 0 && !this.#options.has('persistent'))
      throw new UsageError('Zero port specified for non-persistent service')
    if (onePacket && protocol !== 'fwm' && protocol !== 'udp')
      throw new UsageError('One-Packet Scheduling is only for UDP virtual services')
  }

  #checkServer(): void {
    if (this.#server?.family !== this.#family && this.#method !== 'tun')
      throw new UsageError('Different address family is allowed only for tunneling servers')
    const isTunnel = this.#options.has('tun-type') || TUNNEL_OPTIONS.some((name) => this.#options.has(name))
    if (isTunnel && this.#method !== 'tun') throw new UsageError('Tunnel options conflict with forward method')
    checkTunnelOptions(this.#tunnelType, this.#options)
  }

  #serviceInput(scheduler: string): ServiceInput {
    const persistence = this.#options.has('persistent') && { timeoutS: this.#timeoutS, netmask: this.#netmask }
    return {
      ...(this.#mark > 0
        ? { protocol: 'fwm', address: this.#family === 6 ? '::' : '0.0.0.0', port: 0, mark: this.#mark }
        : { protocol: this.#protocol ?? 'tcp', address: this.#address, port: this.#port }),
      scheduler,
      ...(this.#flags.length > 0 && { schedulerFlags: [...this.#flags] }),
      ...(persistence && { persistence }),
      ...(this.#engine && { persistenceEngine: this.#engine }),
      ...(this.#options.has('ops') && { onePacket: true }),
      ...(this.#mss && { mss: 'clamp' }),
      ...(this.#sync && { sync: this.#sync }),
    }
  }

  #serverInput(service: ServiceInput, server: Endpoint): ServerInput {
    const { protocol, address, port, mark } = service
    const checksum = this.#options.has('tun-remcsum') ? 'remote' : this.#options.has('tun-csum') ? 'plain' : 'none'
    return {
      service: { protocol, address, port, ...(mark !== undefined && { mark }) },
      address: server.address,
      port: this.#serverPort(server),
      method: this.#method,
      weight: this.#weight,
      upperThreshold: this.#upperThreshold,
      lowerThreshold: this.#lowerThreshold,
      ...(this.#method === 'tun' && { tunnel: { type: this.#tunnelType, port: this.#tunnelPort, checksum } }),
    }
  }

  /** Routed and tunnelled packets keep their port, so these servers have the service's. */
  #serverPort(server: Endpoint): number {
    const keepsPort = this.#method !== 'nat' && this.#command !== 'delete-server' && this.#mark === 0
    if (keepsPort) return this.#port
    // Strictly, a server named before its service gets port 0 instead of the service's.
    return server.port ?? (this.#dialect.strict ? this.#portSoFar : this.#port)
  }
}

function readTimeout(text: string, minimum: number): number {
  const seconds = readNumber(text, minimum, MAX_TIMEOUT_SECONDS)
  if (seconds === undefined) throw new UsageError(`invalid timeout value \`${text}' specified`)
  return seconds
}

function checkNumber(text: string, minimum: number, maximum: number, what: string): number {
  const number = readNumber(text, minimum, maximum)
  if (number === undefined) throw new UsageError(`illegal ${what} specified`)
  return number
}

function checkGroup(text: string): string {
  const family = text.includes(':') ? 6 : 4
  // isIPv6() takes an address with a zone (fe80::1%eth0) too.
  const isGroup =
    family === 6 ? isIPv6(text) && /^ff[0-9a-f]{2}:[^%]*$/i.test(text) : isIPv4(text) && /^2(2[4-9]|3\d)\./.test(text)
  if (!isGroup) throw new UsageError(`invalid IPv${family} mcast-group \`${text}'`)
  return text
}
