/**
 * The engine's side of replication: which changes of a connection the peers are told of, and what becomes of theirs.
 *
 * A connection is told of when it is established, at every change after that, and again when an eighth of its timeout or half an hour has
 * gone by, so that the peers' copies do not expire before the original, and no version is left behind. One in its handshake is told of when its address moves in order:
 * the client's ACK, which may be the first packet that the successor sees of it, would be nobody's there. So is one that was expected
 * (ftp/expected-connections.ts). A template is told of when it has proved right (scheduling.ts), a datagram's connection at once. Of two
 * descriptions of a connection the newer version counts (versions.ts).
 */
import { readInt32, readUint16 } from '../../protocol/packet/bytes.ts'
import { PROTOCOL_UDP } from '../../protocol/packet/ipv4.ts'
import { ADDRESS_WORDS } from '../../protocol/packet/ipv6-address.ts'
import {
  CALL,
  LONGEST_TIMEOUT_MS,
  RECORD,
  RECORD_CALL,
  RECORD_FLAG,
  RECORD_FTP_DATA,
  RECORD_REMOVE,
  RECORD_RESTORED,
  RECORD_UPSERT,
} from '../../protocol/wire/connection-record.ts'
import { isIPv6Number, NO_ADDRESS } from '../table/address-book.ts'
import { NO_CALL } from '../table/call-book.ts'
import { ConnectionKey } from '../table/connection-key.ts'
import {
  type ConnectionIndex,
  FLAG_CONTROLLED,
  FLAG_FTP_DATA,
  FLAG_HALF_OPEN,
  FLAG_INACTIVE,
  FLAG_ONE_WAY,
  FLAG_REPLICATED,
  FLAG_UNANSWERED,
  isTentative,
  NO_CONNECTION,
  TICK_MS,
} from '../table/connection-layout.ts'
import type { ConnectionTable } from '../table/connection-table.ts'
import { isOneWay, METHOD_LOCAL, METHOD_TUN } from '../table/real-server.ts'
import {
  callPieces,
  encodeCallPiece,
  encodeRecord,
  isMapped,
  METHOD_MASK,
  METHOD_SHIFT,
  methodFlags,
  readAddress,
  readMapped,
  recordVersion,
} from '../table/record-codec.ts'
import type { RecordRing } from '../table/record-ring.ts'
import type { ServiceTable } from '../table/service-table.ts'
import type { Connections } from './connections.ts'
import type { Egress } from './egress.ts'
import { isActiveState, isOverState, isProtocolState } from './protocols/registry.ts'
import { RecordServers } from './record-servers.ts'
import {
  isTemplate,
  isTemplateOfCall,
  isTemplateOfMark,
  TEMPLATE_ANY,
  TEMPLATE_ANY6,
  TEMPLATE_CALL,
  TEMPLATE_CALL_ANY,
  TEMPLATE_STATE,
} from './templates.ts'
import { Versions } from './versions.ts'

const SHORTEST_REFRESH_S = 4
/** Versions have 16 bits of 128 ms: one that is left behind for 70 minutes, half of their turn, stands for the future. */
const LONGEST_REFRESH_S = 1800
/** Told of when an address moves, before and after each: a flood of SYNs must become neither one of records nor one of the peers' tables. */
const HANDSHAKES = 4096

export class Replication {
  readonly #connections: Connections
  readonly #table: ConnectionTable
  readonly #services: ServiceTable
  readonly #servers: RecordServers
  readonly #egress: Egress
  readonly #outgoing: RecordRing
  readonly #versions: Versions
  readonly #key = new ConnectionKey()
  /** What peers told of connections that found no room here. */
  unplaced = 0
  #written = false
  /** Handshakes that may yet be told of at their first packet. */
  #handshakes = 0

  constructor(connections: Connections, outgoing: RecordRing, epochTicks: number, egress: Egress) {
    this.#egress = egress
    this.#connections = connections
    this.#table = connections.table
    this.#services = connections.services
    this.#servers = new RecordServers(connections.services)
    this.#outgoing = outgoing
    this.#versions = new Versions(connections, epochTicks)
  }

  /** Tells the peers of the connection as it now is. */
  publish(index: ConnectionIndex): void {
    this.#tell(index, RECORD_UPSERT, this.#versions.now(index))
  }

  /**
   * Tells the peers that a connection goes on as it is, so that their copies do not expire. One that is over gets no newer by that: a packet
   * of its addresses may be of the next one, which began at the director before this one, and of which its record is still on the way.
   */
  renew(index: ConnectionIndex): void {
    const isOver = isOverState(this.#table.protocol(index), this.#table.state(index))
    this.#tell(index, RECORD_UPSERT, (isOver && this.#versions.told(index)) || this.#versions.now(index))
  }

  /**
   * A client begins anew on a connection that is established here: its end has gone by another director, of whom that is still to be heard,
   * and who was before this. From now on it goes on here, or the end would come between and lead the client's next packets elsewhere.
   */
  renewBegun(index: ConnectionIndex): void {
    if (!this.#versions.isOfNow(index)) this.publish(index)
  }

  /**
   * A template, or a control connection of FTP, is kept because its connections live on. That may be for days, and each director does it
   * for itself: it is its version that must be renewed.
   */
  renewKept(index: ConnectionIndex): void {
    if (this.#versions.told(index) !== 0 && this.#versions.ageS(index) >= LONGEST_REFRESH_S) this.publish(index)
  }

  /**
   * An address moves to a peer: tells of the newest handshakes, since their ACKs may go there. As of their last packets: while this
   * director stood still they may have gone on without it.
   */
  publishHandshakes(): void {
    this.#handshakes = HANDSHAKES
    const table = this.#table
    table.timers.forEachNewestHalfOpen(HANDSHAKES, (index) => {
      const flags = table.flags(index)
      if ((flags & FLAG_REPLICATED) !== 0 || isTentative(flags)) return
      this.#tell(index, RECORD_UPSERT, this.#versions.ofHandshake(index))
      // As the peers have it: what they know is past its handshake, and belongs to what tables are compared by.
      table.setFlags(index, table.flags(index) & ~FLAG_HALF_OPEN)
      table.refile(index)
    })
    this.flush()
  }

  /** A connection has begun at an address that moves: the peers are told of its handshake, with the state that its packet gives it. */
  includeHandshake(index: ConnectionIndex): void {
    if (this.#handshakes === 0) return
    this.#handshakes--
    this.#table.setFlags(index, this.#table.flags(index) | FLAG_REPLICATED)
  }

  /**
   * Tells peers who know the connection that it is about to be discarded, before its time. What runs out does so everywhere.
   * @returns its last version; 0 when nobody knows it
   */
  publishEnd(index: ConnectionIndex): number {
    const flags = this.#table.flags(index)
    if (isTentative(flags)) return 0
    if ((flags & FLAG_REPLICATED) !== 0) this.#tell(index, RECORD_REMOVE, this.#versions.now(index))
    return this.#versions.told(index)
  }

  /**
   * Tells peers that a connection of which they were told is refused: they forget what they were told, but not what one of them has made of
   * it meanwhile, which this director may not have heard of yet.
   */
  publishRefusal(index: ConnectionIndex): void {
    if ((this.#table.flags(index) & FLAG_REPLICATED) !== 0)
      this.#tell(index, RECORD_REMOVE, this.#versions.afterTold(index))
  }

  /** The version under which the peers know a connection; 0: they do not. */
  versionOf(index: ConnectionIndex): number {
    return this.#versions.told(index)
  }

  /** Lets a connection's versions go on from those of the one in whose place it is, so that it is newer. */
  continueFrom(index: ConnectionIndex, version: number): void {
    this.#versions.continueFrom(index, version)
  }

  #tell(index: ConnectionIndex, kind: number, version: number): void {
    const table = this.#table
    const tick = table.memory.tick
    this.#versions.set(index, version)
    table.setFlags(index, table.flags(index) | FLAG_REPLICATED)
    const slot = this.#outgoing.reserve()
    if (slot < 0) return
    encodeRecord(table.memory, this.#services.directory, index, tick, this.#outgoing.bytes, slot)
    this.#outgoing.bytes[slot + RECORD.kind] = kind
    this.#outgoing.commit()
    this.#written = true
    if (kind === RECORD_UPSERT && isTemplateOfCall(table.protocol(index))) this.#tellCall(index)
  }

  /** What the template of a call was made from. */
  #tellCall(index: ConnectionIndex): void {
    const { memory } = this.#table
    const { directory } = this.#services
    const pieces = callPieces(memory, directory, index)
    for (let piece = 0; piece < pieces; piece++) {
      const slot = this.#outgoing.reserve()
      if (slot < 0) return
      encodeCallPiece(memory, directory, index, piece, this.#outgoing.bytes, slot)
      this.#outgoing.commit()
    }
  }

  /** Whether the peers' copy of a replicated connection is old enough to be renewed. One comparison on the packet path. */
  isStale(index: ConnectionIndex, timeoutS: number): boolean {
    const age = this.#versions.ageS(index)
    return age >= SHORTEST_REFRESH_S && age >= Math.min(timeoutS >> 3, LONGEST_REFRESH_S)
  }

  /** Wakes the reader of the outgoing ring if something was written since the last call. */
  flush(): void {
    if (!this.#written) return
    this.#written = false
    this.#outgoing.notify()
  }

  /**
   * Takes in what a peer says. Anything that makes no sense is passed over. Returns whether it changed the table.
   *
   * A record without a version comes from the kernel's sync protocol, and is taken as ip_vs_proc_conn() does: always, its server and
   * the method those of the service here, except that the end of a connection which was already replaced by another is ignored.
   */
  apply(bytes: Uint8Array, at: number): boolean {
    const protocol = bytes[at + RECORD.protocol]
    if (protocol === RECORD_CALL) return this.#applyCall(bytes, at)
    const state = bytes[at + RECORD.state]
    const toldMethod = bytes[at + RECORD.method]
    const timeoutMs = new DataView(bytes.buffer, bytes.byteOffset + at).getUint32(RECORD.timeoutMs)
    const kind = bytes[at + RECORD.kind]
    if (
      (kind !== RECORD_UPSERT && kind !== RECORD_REMOVE) ||
      !isProtocolState(protocol, state) ||
      toldMethod > METHOD_LOCAL ||
      timeoutMs > LONGEST_TIMEOUT_MS
    ) {
      return false
    }
    const isOfCall = isTemplateOfCall(protocol)
    const isIPv4 = isOfIPv4(bytes, at, protocol)
    if (protocol === (isIPv4 ? TEMPLATE_ANY6 : TEMPLATE_ANY)) return false
    const { book } = this.#services.directory
    // The template of a firewall mark has the mark as its address.
    const isOfMark = isTemplateOfMark(protocol)
    const virtual = isOfMark
      ? readMapped(bytes, at + RECORD.virtualAddress)
      : readAddress(bytes, at + RECORD.virtualAddress, book)
    // The number must not be given to the server that is read next.
    book.retain(virtual)
    const server = readAddress(bytes, at + RECORD.serverAddress, book)
    book.release(virtual)
    const lacksNumber =
      isLeftWithoutNumber(server, bytes, at + RECORD.serverAddress) ||
      (!isOfMark && isLeftWithoutNumber(virtual, bytes, at + RECORD.virtualAddress))
    if (lacksNumber && kind === RECORD_UPSERT) this.unplaced++
    if (server === NO_ADDRESS) return false
    if (!isOfMark && (virtual === NO_ADDRESS || isIPv6Number(virtual) === isIPv4)) return false
    const ports = (readUint16(bytes, at + RECORD.clientPort) << 16) | readUint16(bytes, at + RECORD.virtualPort)
    const key = this.#key
    // All four words count of a call.
    readClient(bytes, at, key, isIPv4 && !isOfCall)
    key.protocol = protocol
    key.virtual = virtual
    key.ports = ports
    const version = recordVersion(bytes, at)
    const hasVersion = version !== 0
    const isActive = isActiveState(protocol, state)
    const identity = this.#servers.identity(bytes, at, isIPv4, virtual, server)
    const recordFlags = readUint16(bytes, at + RECORD.flags)
    const isFtpData = (recordFlags & RECORD_FTP_DATA) !== 0
    const known = isFtpData
      ? this.#services.ftpServer(virtual, identity.address)
      : this.#services.serverBySlot[this.#services.directory.findServer(identity)]
    // Whether a server is the director itself, each director decides for itself.
    const isLocal = toldMethod === METHOD_LOCAL || known?.method === METHOD_LOCAL
    const method = isLocal && known ? known.method : toldMethod
    const mustBeConfigured = isLocal || (recordFlags & RECORD_RESTORED) !== 0
    if (mustBeConfigured && (known === undefined || known.removed)) return false
    // A tunnel alone joins the families (Linux net/netfilter/ipvs/ip_vs_ctl.c).
    if (isIPv6Number(server) === isIPv4 && method !== METHOD_TUN && kind !== RECORD_REMOVE) return false
    let index = this.#table.find(key)
    // A peer knows what here is only thought of.
    if (index !== NO_CONNECTION && isTentative(this.#table.flags(index))) {
      this.#connections.discard(index)
      index = NO_CONNECTION
    }
    const knownVersion = index === NO_CONNECTION ? 0 : this.#versions.of(index)
    /** Connections of a template that go on under the one in its place. */
    let counted = 0
    if (index !== NO_CONNECTION) {
      if (hasVersion && !this.#versions.overrides(bytes, at, server, timeoutMs, index)) {
        this.#versions.outlive(index, version)
        return false
      }
      if (kind === RECORD_REMOVE) {
        this.#connections.discard(index)
        return true
      }
      const sameServer = known !== undefined && this.#table.server(index) === known.slot
      if (!hasVersion && !sameServer && !isActive) return false
      const sameMethod = (this.#table.flags(index) & METHOD_MASK) >> METHOD_SHIFT === method
      // The data connections of FTP's servers at one address are all those of one of them here.
      const samePort =
        isTemplate(protocol) || this.#table.serverPort(index) === readUint16(bytes, at + RECORD.serverPort)
      if (!sameServer || (hasVersion && !(sameMethod && samePort))) {
        if (isTemplate(protocol)) counted = this.#connections.controlled(index)
        this.#connections.discard(index)
        index = NO_CONNECTION
      }
    }
    if (kind === RECORD_REMOVE) return false
    if (index === NO_CONNECTION) {
      const server = isFtpData ? known : this.#services.serverFor(identity)
      if (server === undefined) {
        // FTP's is none of the directory's: the service is not known here yet.
        if (!isFtpData) this.unplaced++
        return false
      }
      const ownMethod = hasVersion || server.removed ? method : server.method
      const isControlled = (recordFlags & RECORD_FLAG.controlled) !== 0 && !isTemplate(protocol)
      const oneWay = isTemplate(protocol) ? FLAG_ONE_WAY : 0
      const flags =
        methodFlags(ownMethod, isOneWay(ownMethod)) |
        FLAG_INACTIVE |
        (isControlled ? FLAG_CONTROLLED : 0) |
        (isFtpData ? FLAG_FTP_DATA : 0) |
        oneWay |
        (isToldUnproved(protocol, state) ? FLAG_UNANSWERED : 0)
      const serverPort = readUint16(bytes, at + RECORD.serverPort)
      if (isControlled) this.#connections.provideTemplate(key, server)
      index = this.#connections.insert(key, server, serverPort, flags)
      if (index === NO_CONNECTION) {
        this.unplaced++
        return false
      }
      if (counted > 0) this.#connections.setControlled(index, counted)
      if ((flags & FLAG_ONE_WAY) === 0) this.#egress.expectClient(key)
    } else {
      // Told of again: it is in use.
      this.#table.setFlags(index, this.#table.flags(index) & ~FLAG_UNANSWERED)
      this.#table.timers.unfile(index)
    }
    const tick = this.#table.memory.tick
    this.#table.setFlags(index, (this.#table.flags(index) | FLAG_REPLICATED) & ~FLAG_HALF_OPEN)
    this.#connections.setState(index, state)
    const isTimeoutKnown = hasVersion || timeoutMs > 0
    const timeoutTicks = isTimeoutKnown
      ? Math.ceil(timeoutMs / TICK_MS)
      : this.#connections.timeoutTicks(protocol, state)
    this.#table.setExpires(index, tick + timeoutTicks)
    this.#versions.set(index, hasVersion ? version : this.#versions.next(knownVersion, tick))
    this.#table.timers.file(index)
    return true
  }

  /** A piece of what a call's template was made from. It comes after the template. */
  #applyCall(bytes: Uint8Array, at: number): boolean {
    const { calls } = this.#services.directory
    const hash = this.#key.client
    for (let word = 0; word < hash.length; word++) hash[word] = readInt32(bytes, at + CALL.hash + word * 4)
    const entry = calls.find(hash, 0)
    calls.writePiece(entry, bytes[at + CALL.piece], readUint16(bytes, at + CALL.length), bytes, at + CALL.bytes)
    return entry !== NO_CALL
  }
}

/** Whether peers are told of it before anything has proved it. */
function isToldUnproved(protocol: number, state: number): boolean {
  return protocol === PROTOCOL_UDP || (isTemplate(protocol) && state !== TEMPLATE_STATE.ASSURED)
}

/** Whether all numbers are in use: an address of IPv4 needs none, and makes no sense if it is NO_ADDRESS. */
function isLeftWithoutNumber(address: number, bytes: Uint8Array, at: number): boolean {
  return address === NO_ADDRESS && !isMapped(bytes, at)
}

/** The family of what the record at `at` is of. Where a client's address would be, that of a call's template has a hash. */
function isOfIPv4(bytes: Uint8Array, at: number, protocol: number): boolean {
  if (protocol === TEMPLATE_CALL) return isMapped(bytes, at + RECORD.virtualAddress)
  if (isTemplateOfCall(protocol)) return protocol === TEMPLATE_CALL_ANY
  return isMapped(bytes, at + RECORD.clientAddress)
}

/** The client of the record at `at`. */
function readClient(bytes: Uint8Array, at: number, key: ConnectionKey, isIPv4: boolean): void {
  const { client } = key
  key.isIPv6 = !isIPv4
  for (let word = 0; word < ADDRESS_WORDS; word++) {
    client[word] = key.isIPv6 ? readInt32(bytes, at + RECORD.clientAddress + word * 4) : 0
  }
  if (!key.isIPv6) client[0] = readMapped(bytes, at + RECORD.clientAddress)
}
