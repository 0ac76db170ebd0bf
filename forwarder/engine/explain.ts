/**
 * What would become of a packet that opens a connection: the way of ipv4-path.ts and ipv6-path.ts handle(), asked step by step with the
 * same tables and the same functions, and nothing changed. Schedulers decide on a copy of their memory, and the frame is a scratch one.
 *
 * Not for the packet path: it allocates as it likes.
 */
import { formatIPv4, formatMac, parseIPv4 } from '../../protocol/packet/bytes.ts'
import { formatEndpoint, formatIPv6 } from '../../protocol/packet/ipv6-address.ts'
import type { ForwardingMethod } from '../service.ts'
import { isIPv6Number } from '../table/address-book.ts'
import { ConnectionKey } from '../table/connection-key.ts'
import { type ConnectionIndex, NO_CONNECTION, TICK_MS } from '../table/connection-layout.ts'
import type { ConnectionTable } from '../table/connection-table.ts'
import { METHOD_DR, METHOD_LOCAL, METHOD_NAT, METHOD_TUN, type RealServer } from '../table/real-server.ts'
import { METHOD_MASK, METHOD_SHIFT } from '../table/record-codec.ts'
import type { Service } from '../table/virtual-service.ts'
import { DROP_REASONS, type DropReason } from './drop-reason.ts'
import type { Engine } from './engine.ts'
import { ExplainedFrame, type FrameFacts, macText } from './explained-frame.ts'
import { hasFailed } from './neighbours.ts'
import { isAnswered, NOT_REFUSED } from './new-connections.ts'
import { stateName } from './protocols/registry.ts'
import { NO_RETURN_PATH } from './return-paths.ts'
import { ADDRESS_ACTIVE, ADDRESS_LINGERING, ADDRESS_STANDBY, ADDRESS_UNKNOWN } from './virtual-addresses.ts'

export interface Question {
  readonly protocol: 'tcp' | 'udp' | 'sctp'
  readonly client: string
  readonly clientPort: number
  readonly virtual: string
  readonly virtualPort: number
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
  /**
   * table: a known connection goes on. Otherwise a new one would begin: expected, since an FTP control connection has announced it;
   * template: where persistence has its client; scheduler.
   */
  readonly decision?: 'table' | 'expected' | 'template' | 'scheduler'
  readonly connection?: { readonly state: string; readonly expiresMs: number }
  /** What a rule puts on the packet. */
  readonly mark?: number
  /** The persistence template of the service for the client, whether it leads to a server or not. */
  readonly template?: { readonly client: string; readonly state: string; readonly expiresMs: number }
  readonly service?: {
    /** Of a firewall mark's: of which it is. */
    readonly mark?: number
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
/** Of a packet whose way here is not known: the clients'. */
const OUTSIDE_LINK = 0

/** The engine's parts that are asked. */
type ExplainedEngine = Pick<
  Engine,
  'connections' | 'services' | 'addresses' | 'egress' | 'admission' | 'newConnections' | 'scheduling'
>
type Found = Omit<Explanation, 'outcome' | 'reason'>

export function explain(engine: ExplainedEngine, question: Question, nowMs: number): Explanation {
  const { services, addresses, admission, newConnections, scheduling } = engine
  const { table } = engine.connections
  const packet = new ExplainedFrame(question)
  const { frame, ip, transport, protocol } = packet
  const { view } = frame.memory
  const virtual = services.directory.book.numberOf(question.virtual)
  const ports = (question.clientPort << 16) | question.virtualPort
  if (packet.isIPv6) newConnections.readIPv6(protocol, view, ip, virtual, ports)
  else newConnections.readIPv4(protocol, parseIPv4(question.client), virtual, ports)
  const { key } = newConnections
  const known = table.find(key)
  const link = inLink(engine, known, virtual)
  const ownState = addresses.stateOf(virtual)
  const state = ownState === ADDRESS_UNKNOWN ? newConnections.stateByMark(link) : ownState
  const address = ADDRESS_NAMES[state as keyof typeof ADDRESS_NAMES]
  if (state === ADDRESS_UNKNOWN) {
    const reason = `${question.virtual} is no virtual address of this director`
    return { address, candidates: [], outcome: 'host', reason }
  }
  const mark = newConnections.markFor(link)
  const matching = scheduling.serviceFor(key, mark)
  const found: Found = {
    address,
    candidates: [],
    ...(mark !== 0 && { mark: mark >>> 0 }),
    ...(matching && { service: describeService(engine, matching) }),
    ...(known !== NO_CONNECTION && { connection: describeEntry(engine, known, nowMs) }),
  }
  const goesOn = known !== NO_CONNECTION && !admission.isReopened(known, view, transport, protocol)
  const knownServer = goesOn ? services.serverBySlot[table.server(known)] : undefined
  const isLost = goesOn && (knownServer === undefined || admission.isGone(knownServer))
  if (isLost && !admission.isToLeave(known, protocol)) {
    const reason = 'the server of its connection is gone (server-gone)'
    return { ...found, outcome: 'dropped', reason, decision: 'table' }
  }
  const mac = addresses.macOf(virtual) ?? engine.egress.macs[link]
  const way = (server: RealServer, method: number, port: number): Way => ({
    ...{ packet, link, mac, known, server, method, port },
  })
  if (knownServer && !isLost) {
    const to = way(knownServer, methodOf(engine, known), table.serverPort(known))
    return forwarded(engine, to, { ...found, decision: 'table' }, 'it belongs to a known connection')
  }
  newConnections.decide(frame, transport, link, state, true)
  const { refusal, expected, service } = newConnections
  const refused = (): Explanation => ({
    ...found,
    outcome: isAnswered(refusal) ? 'refused' : 'dropped',
    reason: refusalText(question, service, DROP_REASONS[refusal]),
  })
  if (service === undefined && refusal !== NOT_REFUSED) return refused()
  const over =
    known === NO_CONNECTION
      ? ''
      : isLost
        ? ', since the known one has lost its server'
        : ', since the known one is over'
  if (service === undefined) {
    const server = services.serverBySlot[table.server(expected)] as RealServer
    const to = way(server, methodOf(engine, expected), table.serverPort(expected) || question.virtualPort)
    const reason = `an FTP control connection has announced it${over}`
    return forwarded(engine, to, { ...found, decision: 'expected' }, reason)
  }
  const { template, isByTemplate, server } = scheduling.choice
  const decided: Found = {
    ...found,
    decision: isByTemplate ? 'template' : 'scheduler',
    ...(template !== NO_CONNECTION && { template: describeTemplate(engine, template, nowMs) }),
    candidates: isByTemplate ? [] : service.servers.map((each) => describeCandidate(engine, each, each === server)),
  }
  if (refusal !== NOT_REFUSED || server === undefined) return { ...refused(), ...decided }
  const chooser = isByTemplate ? 'its persistence template' : service.scheduler.name
  const to = way(server, server.method, scheduling.serverPort(service, server, key))
  return forwarded(engine, to, decided, `${chooser} chooses its server${over}`)
}

function refusalText(question: Question, service: Service | undefined, reason: DropReason): string {
  const { protocol, virtual, virtualPort } = question
  const texts: Partial<Record<DropReason, string>> = {
    standby: 'another director holds the address',
    'martian-source': 'no client can have this address',
    'no-service': `there is no ${protocol} service on ${formatEndpoint(virtual, virtualPort)}`,
    'no-call-id': 'its service is for SIP calls, which are UDP',
    'no-server': `${service?.scheduler.name} finds no server`,
  }
  return `${texts[reason] ?? 'it is dropped'} (${reason})`
}

function methodOf({ connections: { table } }: ExplainedEngine, index: ConnectionIndex): number {
  return (table.flags(index) & METHOD_MASK) >> METHOD_SHIFT
}

/** The link that the packet comes in on: that of its client's packets so far, or of the virtual address. */
function inLink({ connections, addresses, egress }: ExplainedEngine, known: ConnectionIndex, virtual: number): number {
  const path = pathOf(connections.table, known)
  if (path !== NO_RETURN_PATH) return egress.returnPaths.links[path]
  return addresses.stateOf(virtual) === ADDRESS_UNKNOWN ? OUTSIDE_LINK : addresses.linkOf(virtual)
}

function pathOf(table: ConnectionTable, index: ConnectionIndex): number {
  return index === NO_CONNECTION ? NO_RETURN_PATH : table.returnPath(index)
}

function describeService({ services }: ExplainedEngine, service: Service): NonNullable<Explanation['service']> {
  const { isMark, isIPv6, port, scheduler, schedulerFlags: flags } = service
  const ofMark = { mark: service.address >>> 0, address: isIPv6 ? '::' : '0.0.0.0' }
  const address = isMark ? ofMark : { address: services.directory.book.format(service.address) }
  return { ...address, port, scheduler: scheduler.name, flags }
}

function describeEntry({ connections: { table } }: ExplainedEngine, index: ConnectionIndex, nowMs: number) {
  const left = table.expires(index) * TICK_MS - nowMs
  const state = stateName(table.protocol(index), table.state(index))
  return { state, expiresMs: Math.max(0, Math.round(left)) }
}

function describeTemplate(engine: ExplainedEngine, template: ConnectionIndex, nowMs: number) {
  const key = new ConnectionKey()
  engine.connections.table.readKey(template, key)
  const client = key.isIPv6 ? formatIPv6(key.client) : formatIPv4(key.client[0])
  return { client, ...describeEntry(engine, template, nowMs) }
}

function describeCandidate({ services }: ExplainedEngine, server: RealServer, isChosen: boolean): ExplainedCandidate {
  const { port, weight, activeConnections, inactiveConnections, overloaded } = server
  const address = services.directory.book.format(server.address)
  return {
    ...{ address, port, method: METHOD_NAMES[server.method], weight },
    ...{ activeConnections, inactiveConnections, overloaded, isChosen },
  }
}

interface Way {
  readonly packet: ExplainedFrame
  /** In. */
  readonly link: number
  /** To which it comes. */
  readonly mac: Uint8Array
  /** The connection whose client's packets show the way back; NO_CONNECTION: none. */
  readonly known: ConnectionIndex
  readonly server: RealServer
  readonly method: number
  readonly port: number
}

function forwarded(engine: ExplainedEngine, way: Way, found: Found, reason: string): Explanation {
  const { egress, services } = engine
  const { packet, link, server, method, port } = way
  const path = pathOf(engine.connections.table, way.known)
  const { macHigh, macLow } = egress.returnPaths
  const before: FrameFacts = {
    link: egress.linkNames[link],
    ...(path !== NO_RETURN_PATH && { sourceMac: macText(macHigh[path], macLow[path]) }),
    destinationMac: formatMac(way.mac),
    ...packet.facts(),
  }
  const chosen = { address: services.directory.book.format(server.address), port, method: METHOD_NAMES[method] }
  const base = { ...found, server: chosen, before }
  const hop = egress.expectedNextHop(server)
  if (hop === undefined) {
    return { ...base, outcome: 'dropped', reason: `${reason}, but there is no route to it (no-route)` }
  }
  const asked = isIPv6Number(hop.address) ? 'neighbour discovery' : 'ARP'
  if (hasFailed(hop)) {
    const failure = `but its next hop does not answer ${asked} (neighbour-failed)`
    return { ...base, outcome: 'dropped', reason: `${reason}, ${failure}` }
  }
  packet.forward(method, server, port, hop, egress)
  const after: FrameFacts = {
    link: egress.linkNames[hop.link],
    sourceMac: formatMac(egress.macs[hop.link]),
    ...(hop.resolved && { destinationMac: macText(hop.macHigh, hop.macLow) }),
    ...packet.facts(),
  }
  const unresolved = hop.resolved ? '' : `, and waits until its next hop answers ${asked}`
  return { ...base, outcome: 'forwarded', reason: `${reason}${unresolved}`, after }
}
