/**
 * What becomes of a packet that belongs to no connection, of either family: whether it may begin one, for which service and at
 * which server. The families' paths say what the packet is, and send or answer it afterwards.
 *
 * decide() changes nothing, so that it can be asked what would become of a packet (explain.ts); open() does what was decided.
 *
 * Source: Linux net/netfilter/ipvs/ip_vs_proto_tcp.c tcp_conn_schedule(), ip_vs_core.c ip_vs_schedule(), ip_vs_in_hook().
 */
import { PROTOCOL_UDP } from '../../protocol/packet/ipv4.ts'
import { IPV6 } from '../../protocol/packet/ipv6.ts'
import { ADDRESS_WORDS } from '../../protocol/packet/ipv6-address.ts'
import { type Flow, memoryCopy } from '../../scheduler/scheduler.ts'
import type { Frame } from '../link/link.ts'
import { ConnectionKey } from '../table/connection-key.ts'
import { type ConnectionIndex, NO_CONNECTION } from '../table/connection-layout.ts'
import type { RecordRing } from '../table/record-ring.ts'
import type { ServiceTable } from '../table/service-table.ts'
import { type Persistence, type Service, SYNC_ESTABLISHED } from '../table/virtual-service.ts'
import type { Admission } from './admission.ts'
import type { Connections } from './connections.ts'
import type { Defences } from './defences.ts'
import { dropCode } from './drop-reason.ts'
import type { ExpectedConnections } from './ftp/expected-connections.ts'
import type { Marks } from './marks.ts'
import type { Replication } from './replication.ts'
import type { Scheduling } from './scheduling.ts'
import type { TentativeConnections } from './tentative-connections.ts'
import { ADDRESS_LINGERING, ADDRESS_STANDBY, ADDRESS_UNKNOWN, type VirtualAddresses } from './virtual-addresses.ts'

const DROP_NO_SERVICE = dropCode('no-service')
const DROP_NO_SERVER = dropCode('no-server')
const DROP_NO_CALL_ID = dropCode('no-call-id')
const DROP_NO_CONNECTION = dropCode('no-connection')
const DROP_STANDBY = dropCode('standby')
const DROP_PACKET = dropCode('drop-packet')
const DROP_TABLE_FULL = dropCode('table-full')
const DROP_MARTIAN = dropCode('martian-source')

/** In the place of a drop code. */
export const NOT_REFUSED = -1

export interface NewConnectionParts {
  readonly addresses: VirtualAddresses
  readonly services: ServiceTable
  readonly admission: Admission
  readonly marks: Marks
  readonly defences: Defences
  readonly expected: ExpectedConnections
  readonly connections: Connections
  readonly scheduling: Scheduling
  readonly replication: Replication
  readonly tentative: TentativeConnections
  readonly outgoing: RecordRing
}

export class NewConnections {
  readonly #parts: NewConnectionParts
  /** The packet, as readIPv4() or readIPv6() has left it. */
  readonly key = new ConnectionKey()
  readonly flow: Flow = {
    nowMs: 0,
    source: this.key.client,
    destination: new Int32Array(ADDRESS_WORDS),
    sourcePort: 0,
    destinationPort: 0,
  }
  /** What decide() has found: the drop code that says why there is no connection for the packet, or NOT_REFUSED. */
  refusal: number = NOT_REFUSED
  /** The expectation that it fulfils, if any; there is no service then. */
  expected: ConnectionIndex = NO_CONNECTION
  /** Firewall mark; 0: none. */
  mark = 0
  /** Whose server is scheduling.choice. */
  service: Service | undefined = undefined
  /** The packet begins nothing, but may be of a connection that only the director before this one knew. */
  isTentative = false

  /** What the service asks for, one of SYNC_*. What is expected of a known connection asks for nothing, what is tentative must not. */
  get sync(): number {
    return this.service === undefined || this.isTentative ? SYNC_ESTABLISHED : this.service.sync
  }

  constructor(parts: NewConnectionParts) {
    this.#parts = parts
  }

  /** For schedulers that remember until when. */
  setTime(nowMs: number): void {
    this.flow.nowMs = nowMs
  }

  /** @param ports client port << 16 | virtual port */
  readIPv4(protocol: number, source: number, destination: number, ports: number): void {
    this.key.setIPv4(protocol, source, destination, ports)
    const { flow } = this
    flow.destination[0] = destination
    for (let word = 1; word < ADDRESS_WORDS; word++) flow.destination[word] = 0
    this.#setPorts(ports)
  }

  /** @param ip offset of the IPv6 header; `virtual` is the number of the destination, if it has one */
  readIPv6(protocol: number, view: DataView, ip: number, virtual: number, ports: number): void {
    const from = ip + IPV6.source
    const [first, second, third] = [view.getInt32(from), view.getInt32(from + 4), view.getInt32(from + 8)]
    this.key.setIPv6(protocol, first, second, third, view.getInt32(from + 12), virtual, ports)
    const { destination } = this.flow
    for (let word = 0; word < ADDRESS_WORDS; word++) {
      destination[word] = view.getInt32(ip + IPV6.destination + word * 4)
    }
    this.#setPorts(ports)
  }

  /**
   * What the destination, which is none of our addresses, is to us by the rules that name destinations: ADDRESS_UNKNOWN, unless the
   * packet is of a connection or may begin one.
   */
  stateByMark(link: number): number {
    const { marks, services, connections, addresses } = this.#parts
    const { key, flow } = this
    const rules = marks.of(key.isIPv6)
    if (!rules.namesDestinations) return ADDRESS_UNKNOWN
    if (connections.table.find(key) === NO_CONNECTION) {
      const mark = rules.findNaming(link, key.protocol, flow)
      if (mark === 0 || services.findMark(mark, key.isIPv6) === undefined) return ADDRESS_UNKNOWN
    }
    return addresses.bestState
  }

  /** The firewall mark that the packet gets; 0: none. */
  markFor(link: number): number {
    return this.#parts.marks.of(this.key.isIPv6).find(link, this.key.protocol, this.flow)
  }

  /**
   * Decides on the packet.
   * @param transport offset of its transport header
   * @param isTrial whether it is only asked what would become of it: then schedulers decide on a copy of their memory
   */
  decide(frame: Frame, transport: number, link: number, addressState: number, isTrial: boolean): void {
    const { key } = this
    const { defences, expected, scheduling } = this.#parts
    this.expected = NO_CONNECTION
    this.mark = 0
    this.service = undefined
    this.isTentative = false
    this.refusal = this.#refusalOf(frame, transport, addressState)
    if (this.refusal === DROP_NO_CONNECTION) this.#decideTentatively(frame, transport, link)
    if (this.refusal !== NOT_REFUSED || this.isTentative) return
    this.expected = expected.find(key, false)
    if (this.expected !== NO_CONNECTION) return
    this.mark = this.markFor(link)
    const service = scheduling.serviceFor(key, this.mark)
    this.service = service
    if (service === undefined) {
      this.expected = expected.find(key, true)
      if (this.expected === NO_CONNECTION) this.refusal = DROP_NO_SERVICE
      return
    }
    if (!isTrial && defences.refusesPacket()) {
      this.refusal = DROP_PACKET
      return
    }
    if (service.persistence?.isByCall && !this.#readCall(frame, transport, service.persistence, isTrial)) {
      scheduling.forget()
      this.refusal = DROP_NO_CALL_ID
      return
    }
    const memory = isTrial ? memoryCopy(service.scheduler, service.memory) : service.memory
    if (!scheduling.choose(service, memory, key, this.flow)) this.refusal = DROP_NO_SERVER
  }

  /**
   * Makes the packet's connection, if it may have one.
   * @param former the connection that gives way to it; NO_CONNECTION: none. It ends whatever becomes of the packet, but is still counted
   * on its server while the next one is chosen: IPVS lets its timer end it
   * @returns NO_CONNECTION when not: `refusal` says why
   */
  open(frame: Frame, transport: number, link: number, addressState: number, former: ConnectionIndex): ConnectionIndex {
    this.decide(frame, transport, link, addressState, false)
    const versionBefore = former === NO_CONNECTION ? 0 : this.#end(former)
    if (this.refusal !== NOT_REFUSED) return NO_CONNECTION
    const { expected, scheduling, replication, tentative, outgoing } = this.#parts
    const { key, service } = this
    // Of datagrams the peers are told here.
    outgoing.wantsConfirmation = this.sync !== SYNC_ESTABLISHED
    const index =
      service === undefined
        ? expected.claim(this.expected, key, versionBefore)
        : scheduling.connect(service, key, versionBefore)
    outgoing.wantsConfirmation = false
    if (index === NO_CONNECTION) {
      this.refusal = DROP_TABLE_FULL
      return NO_CONNECTION
    }
    if (this.isTentative) {
      tentative.begin(index, frame.memory.view, transport)
      return index
    }
    if (addressState === ADDRESS_LINGERING) replication.includeHandshake(index)
    return index
  }

  /** @returns its version, which the next one's go on from */
  #end(former: ConnectionIndex): number {
    const { replication, connections } = this.#parts
    const version = replication.publishEnd(former)
    connections.discard(former)
    return version
  }

  /** Whether the packet is of a call. One that is only thought of says nothing, and so may be of one that is not known. */
  #readCall(frame: Frame, transport: number, { mask }: Persistence, isTrial: boolean): boolean {
    const { calls } = this.#parts.connections
    if (!isTrial || this.key.protocol !== PROTOCOL_UDP) return calls.read(frame, transport, this.key, mask)
    calls.readUnknown()
    return true
  }

  /** What belongs to nothing that is known goes where it went before this director took its address over, if that can be said. */
  #decideTentatively(frame: Frame, transport: number, link: number): void {
    const { tentative, defences, scheduling } = this.#parts
    const { key } = this
    if (!tentative.mayBeOf(frame.memory.view, transport, key) || this.#isMartian()) return
    this.mark = this.markFor(link)
    const service = scheduling.serviceFor(key, this.mark)
    if (service === undefined || !tentative.isFor(service) || defences.refusesPacket()) return
    // A hash has no memory that a trial could change.
    if (!scheduling.choose(service, service.memory, key, this.flow) || !tentative.isTo(scheduling.choice.server)) return
    this.service = service
    this.isTentative = true
    this.refusal = NOT_REFUSED
  }

  #setPorts(ports: number): void {
    this.flow.sourcePort = ports >>> 16
    this.flow.destinationPort = ports & 0xffff
  }

  #refusalOf(frame: Frame, transport: number, addressState: number): number {
    if (!this.#parts.admission.mayBegin(frame.memory.view, transport, this.key.protocol)) return DROP_NO_CONNECTION
    if (addressState === ADDRESS_STANDBY) return DROP_STANDBY
    return this.#isMartian() ? DROP_MARTIAN : NOT_REFUSED
  }

  #isMartian(): boolean {
    const { addresses } = this.#parts
    const { isIPv6, client } = this.key
    return isIPv6 ? addresses.isMartian6(client[0], client[1], client[2], client[3]) : addresses.isMartian(client[0])
  }
}

/** Whether a packet that is refused so is answered with port unreachable; any other is dropped. */
export function isAnswered(refusal: number): boolean {
  return refusal === DROP_NO_SERVICE || refusal === DROP_NO_SERVER
}
