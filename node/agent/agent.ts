/**
 * The agent: tells every director, once a second, how loaded this real server is (protocol/wire/agent-report.ts).
 *
 * It answers to nobody and keeps nothing: a datagram that is lost is made good by the next one, and a director that does not
 * hear from it for three intervals works with the configured weight. It must cost the server next to nothing (0.2 % of a
 * core, 60 MB), so it imports protocol/ alone, allocates a few kilobytes a second and opens no file after its start, but for its
 * key file when it is told to read that again. What addresses the machine has it asks less often than it reports: that costs more the
 * more links there are.
 */
import { randomBytes } from 'node:crypto'
import { createSocket, type Socket } from 'node:dgram'
import { cpus } from 'node:os'
import { DirectorError } from '../../protocol/errors.ts'
import { canonicalAddress, isIPv6Text, parseEndpoint } from '../../protocol/packet/ipv6-address.ts'
import type { AgentKey } from '../../protocol/wire/agent-key.ts'
import { encodeAgentReport } from '../../protocol/wire/agent-report.ts'
import { readAgentKeys } from './key-file.ts'
import { Meter } from './measurements.ts'
import { checkAddresses, readOwnAddresses } from './own-addresses.ts'

export interface AgentOptions {
  /** Each director's agents.listen: "10.0.0.1:7947" or "[2001:db8::1]:7947". */
  directors: readonly string[]
  /** The first key in it signs (protocol/wire/agent-key.ts). */
  keyFile: string
  /**
   * By which the directors know this real server; default: those that the key is for, and if it is for any, every address that this
   * machine has at the time and that is not loopback or link-local.
   */
  addresses?: readonly string[]
  /** Not to be taken for an address of this server: the VIPs it accepts traffic for. */
  virtualAddresses?: readonly string[]
  /** Default 1000. */
  intervalMs?: number
  readAddresses?: () => readonly string[]
  /** Between two readings, where the machine's addresses count. Default 5000. */
  addressIntervalMs?: number
  /** Runs as long as the agent and is stopped with it: forwarder/decapsulator.ts on a server behind TUN. */
  decapsulator?: { stop(): Promise<void>; onFailure(handler: (error: Error) => void): void }
  /** One line for the operator. */
  log?: (line: string) => void
}

export interface Agent {
  readonly addresses: readonly string[]
  /** Reads the key file again; reports go on. @throws DirectorError CONFIG_UNREADABLE, CONFIG_INVALID, INPUT_INVALID; nothing has changed then */
  reloadKey(): void
  stop(): Promise<void>
  /** Called when the agent cannot do its work any more; it should be stopped and its process ended. */
  onFailure(handler: (error: Error) => void): void
}

/** Who this agent is to the directors: the key that it signs with, and what it speaks for. */
interface Self {
  readonly key: AgentKey
  readonly addresses: string[]
  /** They are those that the machine had when it was asked last. At boot links get theirs one by one, and DHCP may give others. */
  readonly areMachines: boolean
}

interface Director {
  text: string
  family: 'udp4' | 'udp6'
  address: string
  port: number
  /** The last send failed; kept so that each change is logged once. */
  unreachable: boolean
}

/** Starts reporting. @throws DirectorError CONFIG_UNREADABLE, CONFIG_INVALID, INPUT_INVALID */
export async function runAgent(options: AgentOptions): Promise<Agent> {
  const { intervalMs = 1000, addressIntervalMs = 5000, decapsulator, log = () => {} } = options
  if (!Number.isInteger(intervalMs) || intervalMs < 100 || intervalMs > 60_000) {
    throw new DirectorError('INPUT_INVALID', `interval ${intervalMs}: expected 100 to 60000 milliseconds`)
  }
  if (options.directors.length === 0) {
    throw new DirectorError('INPUT_INVALID', 'no director: name at least one as ADDRESS:PORT')
  }
  const directors = options.directors.map(parseDirector)
  let self = readSelf(options)
  const runId = randomBytes(8).toString('hex')
  const meter = new Meter(cpus().length)
  const failureHandlers: ((error: Error) => void)[] = []
  const fail = (error: Error) => {
    for (const handler of failureHandlers) handler(error)
  }
  const sockets = openSockets(directors, fail)
  decapsulator?.onFailure(fail)

  let sequence = 0
  const report = () => {
    const { key, addresses } = self
    const datagram = encodeAgentReport(
      { addresses, runId, sequence: sequence++, timeMs: Date.now(), intervalMs, ...meter.measure() },
      key,
    )
    for (const director of directors) send(sockets[director.family]!, datagram, director, log)
  }
  report()
  const timer = setInterval(report, intervalMs)

  /** The last reading gave nothing that can be reported; kept so that each change is logged once. */
  let hasFailed = false
  const readAgain = () => {
    if (!self.areMachines) return
    try {
      const addresses = machineAddresses(options)
      if (isSameSet(addresses, self.addresses) && !hasFailed) return
      self = { ...self, addresses }
      hasFailed = false
      log(`has read this machine's addresses again: reporting for ${addresses.join(', ')}`)
    } catch (error) {
      if (!hasFailed) log(`goes on reporting for ${self.addresses.join(', ')}: ${(error as Error).message}`)
      hasFailed = true
    }
  }
  const addressTimer = setInterval(readAgain, addressIntervalMs)

  return {
    get addresses() {
      return self.addresses
    },
    reloadKey() {
      self = readSelf(options)
    },
    onFailure: (handler) => void failureHandlers.push(handler),
    async stop() {
      clearInterval(timer)
      clearInterval(addressTimer)
      meter.close()
      await Promise.all(Object.values(sockets).map((socket) => new Promise<void>((resolve) => socket.close(resolve))))
      await decapsulator?.stop()
    },
  }
}

function readSelf(options: AgentOptions): Self {
  const [key] = readAgentKeys(options.keyFile)
  const named = options.addresses ?? (key.addresses.length > 0 ? key.addresses : undefined)
  const addresses = named ? checkAddresses(named) : machineAddresses(options)
  return { key, addresses, areMachines: named === undefined }
}

/** @throws DirectorError INPUT_INVALID for none, or too many */
function machineAddresses({ readAddresses = readOwnAddresses, virtualAddresses = [] }: AgentOptions): string[] {
  const excluded = virtualAddresses.map(canonicalAddress)
  return checkAddresses(readAddresses().filter((address) => !excluded.includes(address)))
}

function isSameSet(one: readonly string[], other: readonly string[]): boolean {
  return one.length === other.length && one.every((address) => other.includes(address))
}

/** One for each family that a director has. */
function openSockets(
  directors: readonly Director[],
  onError: (error: Error) => void,
): Partial<Record<Director['family'], Socket>> {
  const families = new Set(directors.map(({ family }) => family))
  return Object.fromEntries([...families].map((family) => [family, createSocket(family).on('error', onError)]))
}

function send(socket: Socket, datagram: Uint8Array, director: Director, log: (line: string) => void): void {
  socket.send(datagram, director.port, director.address, (error) => {
    const unreachable = error !== null
    if (unreachable === director.unreachable) return
    director.unreachable = unreachable
    log(unreachable ? `${director.text}: ${error.message}` : `${director.text}: reports can be sent again`)
  })
}

function parseDirector(text: string): Director {
  const endpoint = parseEndpoint(text)
  if (!endpoint || endpoint.port === 0) {
    const example = '192.0.2.1:7947 or [2001:db8::1]:7947'
    throw new DirectorError('INPUT_INVALID', `director ${text}: expected ADDRESS:PORT such as ${example}`)
  }
  return { text, family: isIPv6Text(endpoint.address) ? 'udp6' : 'udp4', ...endpoint, unreachable: false }
}
