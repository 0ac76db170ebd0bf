/**
 * What would become of a packet that opens a connection: the way of engine.ts handle(), asked step by step with the same tables and
 * the same functions, and nothing changed. Schedulers decide on a copy of their memory, and the frame is a scratch one.
 *
 * Not for the packet path: it allocates as it likes.
 */
import { formatIPv4, formatMac, parseIPv4 } from '../../protocol/packet/bytes.ts'
import { ETHERNET_HEADER_LENGTH, ETHERTYPE_IPV4, writeEthernet } from '../../protocol/packet/ethernet.ts'
import {
  DONT_FRAGMENT,
  IPV4,
  IPV4_HEADER_LENGTH,
  PROTOCOL_SCTP,
  PROTOCOL_TCP,
  soundIPv4HeaderLength,
  writeIPv4,
} from '../../protocol/packet/ipv4.ts'
import { memoryCopy } from '../../scheduler/scheduler.ts'
import { type Frame, HEADROOM, VNET_HEADER_LENGTH } from '../link/link.ts'
import { decrementTtl } from '../method/direct-routing.ts'
import { rewriteDestination } from '../method/nat.ts'
import { encapsulate } from '../method/tunnel.ts'
import type { ForwardingMethod } from '../service.ts'
import { type ConnectionIndex, NO_CONNECTION, STATE, STATE_WORDS, TICK_MS } from '../table/connection-layout.ts'
import type { ConnectionTable } from '../table/connection-table.ts'
import { METHOD_MASK, METHOD_SHIFT } from '../table/record-codec.ts'
import {
  METHOD_DR,
  METHOD_LOCAL,
  METHOD_NAT,
  METHOD_TUN,
  type RealServer,
  type Service,
} from '../table/service-table.ts'
import type { Engine } from './engine.ts'
import { protocolNumber, stateName } from './protocols/registry.ts'
import { NO_RETURN_PATH } from './return-paths.ts'
import { ADDRESS_ACTIVE, ADDRESS_LINGERING, ADDRESS_STANDBY, ADDRESS_UNKNOWN } from './virtual-addresses.ts'

export interface Question {
  readonly protocol: 'tcp' | 'udp' | 'sctp'
  readonly client: string
  readonly clientPort: number
  readonly virtual: string
  readonly virtualPort: number
}

/** A frame as far as forwarding changes it. Undefined MACs: not known, or not yet. */
export interface FrameFacts {
  readonly link: string
  readonly sourceMac?: string
  readonly destinationMac?: string
  /** Of the tunnel; protocol is IP's number. */
  readonly outer?: {
    readonly source: string
    readonly destination: string
    readonly protocol: number
    readonly ttl: number
  }
  /** "ADDRESS:PORT" */
  readonly source: string
  readonly destination: string
  readonly ttl: number
}

export interface ExplainedServer {
  readonly address: string
  /** Where its packets go; 0 in the list of candidates: the port that the client asked for. */
  readonly port: number
  readonly method: ForwardingMethod
}

export interface ExplainedCandidate extends ExplainedServer {
  /** Effective weight, after health and load. */
  readonly weight: number
  readonly activeConnections: number
  readonly inactiveConnections: number
  readonly overloaded: boolean
  readonly isChosen: boolean
}

export interface Explanation {
  /** forwarded: to `server`. refused: answered with port unreachable. dropped: without a word. host: none of the forwarder's. */
  readonly outcome: 'forwarded' | 'refused' | 'dropped' | 'host'
  /** Why, in a sentence; of what is dropped, the name of the drop counter stands in brackets. */
  readonly reason: string
  /** This director's part in the virtual address. */
  readonly address: 'unknown' | 'standby' | 'lingering' | 'active'
  /** table: a known connection goes on. scheduler: a new one would begin. */
  readonly decision?: 'table' | 'scheduler'
  readonly connection?: { readonly state: string; readonly expiresMs: number }
  readonly service?: {
    readonly address: string
    readonly port: number
    readonly scheduler: string
    readonly flags: readonly string[]
  }
  /** In the scheduler's order: the most recently added first. */
  readonly candidates: readonly ExplainedCandidate[]
  readonly server?: ExplainedServer
  readonly before?: FrameFacts
  readonly after?: FrameFacts
}

/** The engine's parts that are asked. */
type ExplainedEngine = Pick<Engine, 'connections' | 'services' | 'addresses' | 'egress' | 'settings' | 'admission'>

const ADDRESS_NAMES = {
  [ADDRESS_UNKNOWN]: 'unknown',
  [ADDRESS_STANDBY]: 'standby',
  [ADDRESS_LINGERING]: 'lingering',
  [ADDRESS_ACTIVE]: 'active',
} as const
const METHOD_NAMES: Readonly<Record<number, ForwardingMethod>> = {
  [METHOD_NAT]: 'nat',
  [METHOD_TUN]: 'tun',
  [METHOD_DR]: 'dr',
  [METHOD_LOCAL]: 'local',
}
/** Linux's own initial TTL. */
const CLIENT_TTL = 64
/** Room for the longest transport header that is touched. */
const TRANSPORT_LENGTH = 20

export function explain(engine: ExplainedEngine, question: Question, nowMs: number): Explanation {
  const { services, addresses } = engine
  const { table } = engine.connections
  const protocol = protocolNumber(question.protocol)
  const client = parseIPv4(question.client)
  const virtual = parseIPv4(question.virtual)
  const ports = (question.clientPort << 16) | question.virtualPort
  const state = addresses.stateOf(virtual)
  const address = ADDRESS_NAMES[state as keyof typeof ADDRESS_NAMES]
  const nothing = { address, candidates: [] }
  if (state === ADDRESS_UNKNOWN) {
    return { ...nothing, outcome: 'host', reason: `${question.virtual} is no virtual address of this director` }
  }
  const index = table.findByClient(protocol, client, virtual, ports)
  const service = services.find(protocol, virtual, question.virtualPort)
  const known = {
    ...nothing,
    ...(service && { service: describeService(service) }),
    ...(index !== NO_CONNECTION && { connection: describeConnection(table, index, protocol, nowMs) }),
  }
  if (index !== NO_CONNECTION && !isReplaced(engine, index, protocol)) {
    const server = services.serverBySlot[table.server(index)]
    if (server === undefined || server.removed) {
      return {
        ...known,
        outcome: 'dropped',
        reason: 'the server of its connection is gone (server-gone)',
        decision: 'table',
      }
    }
    const method = (table.flags(index) & METHOD_MASK) >> METHOD_SHIFT
    const way = { server, method, port: table.serverPort(index), index }
    return forwarded(engine, question, way, { ...known, decision: 'table', reason: 'it belongs to a known connection' })
  }
  if (state === ADDRESS_STANDBY) {
    return { ...known, outcome: 'dropped', reason: 'another director holds the address (standby)' }
  }
  if (addresses.isMartian(client)) {
    return { ...known, outcome: 'dropped', reason: 'no client can have this address (martian-source)' }
  }
  if (service === undefined) {
    const reason = `there is no ${question.protocol} service on ${question.virtual}:${question.virtualPort}`
    return { ...known, outcome: 'refused', reason: `${reason} (no-service)` }
  }
  const server = service.scheduler.select(service.servers, memoryCopy(service.scheduler, service.memory), {
    nowMs,
    source: Int32Array.of(client, 0, 0, 0),
    destination: Int32Array.of(virtual, 0, 0, 0),
    sourcePort: question.clientPort,
    destinationPort: question.virtualPort,
  })
  const scheduled = {
    ...known,
    decision: 'scheduler' as const,
    candidates: service.servers.map((each) => describeCandidate(each, each === server)),
  }
  if (server === undefined) {
    return { ...scheduled, outcome: 'refused', reason: `${service.scheduler.name} finds no server (no-server)` }
  }
  const over = index === NO_CONNECTION ? '' : ', since the known one is over'
  const way = { server, method: server.method, port: server.port || question.virtualPort, index: NO_CONNECTION }
  return forwarded(engine, question, way, {
    ...scheduled,
    reason: `${service.scheduler.name} chooses its server${over}`,
  })
}

/** Whether an opening packet starts a new connection in the place of this one. */
function isReplaced(engine: ExplainedEngine, index: ConnectionIndex, protocol: number): boolean {
  if (protocol !== PROTOCOL_TCP && protocol !== PROTOCOL_SCTP) return false
  return engine.admission.givesWay(index, protocol)
}

function describeService({ address, port, scheduler, schedulerFlags }: Service): NonNullable<Explanation['service']> {
  return { address: formatIPv4(address), port, scheduler: scheduler.name, flags: schedulerFlags }
}

function describeConnection(table: ConnectionTable, index: ConnectionIndex, protocol: number, nowMs: number) {
  const left = table.memory.states[index * STATE_WORDS + STATE.expires] * TICK_MS - nowMs
  return { state: stateName(protocol, table.state(index)), expiresMs: Math.max(0, Math.round(left)) }
}

function describeCandidate(server: RealServer, isChosen: boolean): ExplainedCandidate {
  const { port, weight, activeConnections, inactiveConnections, overloaded } = server
  const address = formatIPv4(server.address)
  return {
    ...{ address, port, method: METHOD_NAMES[server.method], weight },
    ...{ activeConnections, inactiveConnections, overloaded, isChosen },
  }
}

interface Way {
  readonly server: RealServer
  readonly method: number
  readonly port: number
  /** The connection that has it; NO_CONNECTION: a new one. */
  readonly index: ConnectionIndex
}

function forwarded(
  engine: ExplainedEngine,
  question: Question,
  { server, method, port, index }: Way,
  found: Omit<Explanation, 'outcome'>,
): Explanation {
  const { egress, addresses } = engine
  const { table } = engine.connections
  const names = egress.linkNames
  const path =
    index === NO_CONNECTION ? NO_RETURN_PATH : table.memory.states[index * STATE_WORDS + STATE.flagsReturnPath] & 0xffff
  const { links, macHigh, macLow } = egress.returnPaths
  const inLink = path === NO_RETURN_PATH ? addresses.linkOf(parseIPv4(question.virtual)) : links[path]
  const frame = scratchFrame(question)
  const before: FrameFacts = {
    link: names[inLink],
    ...(path !== NO_RETURN_PATH && { sourceMac: macText(macHigh[path], macLow[path]) }),
    destinationMac: formatMac(egress.macs[inLink]),
    ...addressesIn(frame),
  }
  const chosen = { address: formatIPv4(server.address), port, method: METHOD_NAMES[method] }
  const hop = server.nextHop
  const base = { ...found, server: chosen, before }
  if (hop === undefined) {
    return { ...base, outcome: 'dropped', reason: `${found.reason}, but there is no route to it (no-route)` }
  }
  const ip = frame.start + ETHERNET_HEADER_LENGTH
  const view = frame.memory.view
  if (method === METHOD_TUN || method === METHOD_DR) decrementTtl(view, ip)
  else rewriteDestination(view, ip, ip + IPV4_HEADER_LENGTH, server.address, port, true)
  if (method === METHOD_TUN) {
    const dontFragment = engine.settings.pmtuDisc === 0 ? 0 : DONT_FRAGMENT
    encapsulate(frame, server.tunnel, hop.source, server.address, dontFragment, 0)
  }
  const after: FrameFacts = {
    link: names[hop.link],
    sourceMac: formatMac(egress.macs[hop.link]),
    ...(hop.resolved && { destinationMac: macText(hop.macHigh, hop.macLow) }),
    ...(method === METHOD_TUN && { outer: outerOf(view, frame.start + ETHERNET_HEADER_LENGTH) }),
    ...addressesIn({ memory: frame.memory, start: ip - ETHERNET_HEADER_LENGTH }),
  }
  const unresolved = hop.resolved ? '' : ', and waits until its next hop answers ARP'
  return { ...base, outcome: 'forwarded', reason: `${found.reason}${unresolved}`, after }
}

/** The first packet of the connection, as the client's router hands it over. */
function scratchFrame(question: Question): Frame {
  const start = HEADROOM + VNET_HEADER_LENGTH
  const length = ETHERNET_HEADER_LENGTH + IPV4_HEADER_LENGTH + TRANSPORT_LENGTH
  const bytes = new Uint8Array(start + length)
  const view = new DataView(bytes.buffer)
  writeEthernet(bytes, start, new Uint8Array(6), new Uint8Array(6), ETHERTYPE_IPV4)
  const ip = start + ETHERNET_HEADER_LENGTH
  writeIPv4(bytes, ip, {
    tos: 0,
    totalLength: length - ETHERNET_HEADER_LENGTH,
    identification: 0,
    fragment: DONT_FRAGMENT,
    ttl: CLIENT_TTL,
    protocol: protocolNumber(question.protocol),
    source: parseIPv4(question.client),
    destination: parseIPv4(question.virtual),
  })
  view.setUint16(ip + IPV4_HEADER_LENGTH, question.clientPort)
  view.setUint16(ip + IPV4_HEADER_LENGTH + 2, question.virtualPort)
  // No kernel ever sees it.
  return { memory: { bytes, view, addressHigh: 0, addressLow: 0 }, start, length }
}

function addressesIn({ memory: { view }, start }: { memory: { view: DataView }; start: number }) {
  const ip = start + ETHERNET_HEADER_LENGTH
  const transport = ip + soundIPv4HeaderLength(view, ip, view.byteLength - ip)
  const endpoint = (address: number, port: number) =>
    `${formatIPv4(view.getInt32(ip + address))}:${view.getUint16(port)}`
  return {
    source: endpoint(IPV4.source, transport),
    destination: endpoint(IPV4.destination, transport + 2),
    ttl: view.getUint8(ip + IPV4.ttl),
  }
}

function outerOf(view: DataView, ip: number): NonNullable<FrameFacts['outer']> {
  return {
    source: formatIPv4(view.getInt32(ip + IPV4.source)),
    destination: formatIPv4(view.getInt32(ip + IPV4.destination)),
    protocol: view.getUint8(ip + IPV4.protocol),
    ttl: view.getUint8(ip + IPV4.ttl),
  }
}

function macText(high: number, low: number): string {
  const bytes = new Uint8Array(6)
  const view = new DataView(bytes.buffer)
  view.setUint16(0, high)
  view.setInt32(2, low)
  return formatMac(bytes)
}
