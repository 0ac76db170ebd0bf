/**
 * Reading the connection table from another thread while the loop writes: for listings and for replication's snapshots.
 *
 * A connection may end, and its place be taken, while it is read. Its identity words are therefore read before and after;
 * when they differ, or there is none, the place is passed over: whoever took it is told of by other means.
 */
import { formatIPv4 } from '../../protocol/packet/bytes.ts'
import { ADDRESS_BYTES, formatIPv6, readIPv6Text } from '../../protocol/packet/ipv6-address.ts'
import { RECORD_LENGTH } from '../../protocol/wire/connection-record.ts'
import { monotonicMs } from '../clock.ts'
import { protocolByNumber, stateName } from '../engine/protocols/registry.ts'
import {
  isTemplate,
  isTemplateOfCall,
  isTemplateOfMark,
  TEMPLATE_CALL_ANY6,
  templateProtocolName,
  templateServerPort,
} from '../engine/templates.ts'
import type { ConnectionSnapshot } from '../forwarder.ts'
import {
  type ConnectionIndex,
  ConnectionMemory,
  FLAG_HALF_OPEN,
  FLAG_IPV6,
  FLAG_ONE_PACKET,
  FLAG_REPLICATED,
  KEY,
  KEY_WORDS,
  STATE,
  STATE_WORDS,
  TICK_MS,
} from './connection-layout.ts'
import { callPieces, encodeCallPiece, encodeRecord, isMapped, readMapped, recordVersion } from './record-codec.ts'
import { ServerDirectory } from './server-directory.ts'

export class ConnectionReader {
  readonly memory: ConnectionMemory
  readonly #directory: ServerDirectory

  constructor(tableMemory: SharedArrayBuffer, directoryMemory: SharedArrayBuffer) {
    this.memory = new ConnectionMemory(tableMemory)
    this.#directory = new ServerDirectory(directoryMemory)
  }

  /** Of a change that the forwarder made now. */
  get versionNow(): number {
    return this.memory.versionAt(this.memory.tick)
  }

  /** Places that may hold a connection: 0 up to here. */
  get capacity(): number {
    return this.memory.fresh
  }

  /**
   * Writes the records of the connections in places `from` to `from + count` that replication covers: those that peers have been told of, or
   * have told of. Of the others they know nothing, and a record without a version would count over whatever they know
   * (protocol/wire/connection-record.ts).
   * @param target has room for RECORDS_OF_PLACE_MAX records a place
   * @returns how many were written
   */
  encodeRange(from: number, count: number, target: Uint8Array, offset: number): number {
    const { memory } = this
    const end = Math.min(from + count, memory.fresh)
    let written = 0
    for (let place = Math.max(from, 1); place < end; place++) {
      const identity = this.#identity(place)
      if (identity === 0) continue
      const flags = memory.states[place * STATE_WORDS + STATE.flagsReturnPath] >>> 16
      if ((flags & (FLAG_HALF_OPEN | FLAG_REPLICATED)) !== FLAG_REPLICATED) continue
      const word = memory.states[place * STATE_WORDS + STATE.portProtocolState]
      const at = offset + written * RECORD_LENGTH
      encodeRecord(memory, this.#directory, place as ConnectionIndex, memory.tick, target, at)
      // The same addresses at another server are another connection too; and a change of state is told of by the loop.
      const isSame =
        this.#identity(place) === identity && memory.states[place * STATE_WORDS + STATE.portProtocolState] === word
      // It is about to be told of for the first time.
      if (!isSame || recordVersion(target, at) === 0) continue
      written++
      if (isTemplateOfCall((word >>> 8) & 255)) {
        written += this.#encodeCall(place as ConnectionIndex, target, at + RECORD_LENGTH)
      }
    }
    return written
  }

  /** Writes the records that describe a call. @returns how many */
  #encodeCall(index: ConnectionIndex, target: Uint8Array, offset: number): number {
    const { keys } = this.memory
    const { calls } = this.#directory
    const hash = index * KEY_WORDS + KEY.clientAddress
    const entry = calls.find(keys, hash)
    const pieces = callPieces(this.memory, this.#directory, index)
    for (let piece = 0; piece < pieces; piece++) {
      encodeCallPiece(this.memory, this.#directory, index, piece, target, offset + piece * RECORD_LENGTH)
    }
    return calls.find(keys, hash) === entry ? pieces : 0
  }

  /** The connection in a place; undefined when there is none, or one of a single datagram, which IPVS forgets with it. */
  snapshot(place: number): ConnectionSnapshot | undefined {
    const { keys, states } = this.memory
    const identity = this.#identity(place)
    if (identity === 0) return undefined
    const key = place * KEY_WORDS
    const state = place * STATE_WORDS
    const flags = states[state + STATE.flagsReturnPath] >>> 16
    if ((flags & FLAG_ONE_PACKET) !== 0) return undefined
    const word = states[state + STATE.portProtocolState]
    const protocol = (word >>> 8) & 255
    const isOfCall = isTemplateOfCall(protocol)
    const isIPv6 = isOfCall ? protocol === TEMPLATE_CALL_ANY6 : (flags & FLAG_IPV6) !== 0
    const { addresses, book } = this.#directory
    const left = states[state + STATE.expires] * TICK_MS - monotonicMs()
    const virtual = keys[key + KEY.virtualAddress]
    const virtualPort = keys[key + KEY.ports] & 0xffff
    const snapshot: ConnectionSnapshot = {
      protocol: isTemplate(protocol) ? templateProtocolName(protocol) : (protocolByNumber(protocol)?.name ?? 'udp'),
      state: stateName(protocol, word & 255),
      expiresMs: Math.max(0, Math.round(left)),
      clientAddress: isIPv6 ? formatIPv6(keys, key + KEY.clientAddress) : formatIPv4(keys[key + KEY.clientAddress]),
      clientPort: keys[key + KEY.ports] >>> 16,
      virtualAddress: isTemplateOfMark(protocol) ? markAddress(virtual, isIPv6) : book.format(virtual),
      virtualPort,
      serverAddress: book.format(addresses[states[state + STATE.server]]),
      serverPort: isTemplate(protocol) ? templateServerPort(virtualPort, word >>> 16) : word >>> 16,
    }
    if (isTemplate(protocol)) snapshot.isTemplate = true
    if (isOfCall) Object.assign(snapshot, this.#caller(key + KEY.clientAddress))
    return this.#identity(place) === identity ? snapshot : undefined
  }

  /** Whom a call is of, and its Call-ID, by the hash at `at`. Until its description has come nobody knows. */
  #caller(at: number): Pick<ConnectionSnapshot, 'clientAddress' | 'persistenceEngine'> {
    const { calls } = this.#directory
    const { keys } = this.memory
    const entry = calls.find(keys, at)
    const start = calls.startOf(entry)
    const bytes = calls.contents.slice(start, start + calls.lengthOf(entry))
    if (bytes.length < ADDRESS_BYTES) return { clientAddress: '0.0.0.0', persistenceEngine: { name: 'sip', data: '' } }
    const clientAddress = isMapped(bytes, 0) ? formatIPv4(readMapped(bytes, 0)) : readIPv6Text(bytes, 0)
    const data = String.fromCharCode(...bytes.subarray(ADDRESS_BYTES))
    return { clientAddress, persistenceEngine: { name: 'sip', data } }
  }

  /** @param clientPort only those of this port */
  *connections(clientPort?: number): Generator<ConnectionSnapshot> {
    const { keys } = this.memory
    for (let place = 1; place < this.memory.fresh; place++) {
      if (clientPort !== undefined && keys[place * KEY_WORDS + KEY.ports] >>> 16 !== clientPort) continue
      const connection = this.snapshot(place)
      if (connection) yield connection
    }
  }

  /** A number that changes when another connection takes the place; 0 when it is empty. */
  #identity(place: number): number {
    const { keys, states } = this.memory
    const word = Atomics.load(states, place * STATE_WORDS + STATE.portProtocolState)
    if (((word >>> 8) & 255) === 0) return 0
    const key = place * KEY_WORDS
    return (
      (keys[key + KEY.ports] >>> 0) * 2 ** 20 +
      ((keys[key + KEY.clientAddress] ^ keys[key + KEY.clientAddress + 3] ^ keys[key + KEY.virtualAddress]) & 0xfffff) +
      1
    )
  }
}

/** What a firewall mark's template has as its address: the mark in the first word, as IPVS has it (ip_vs_sched_persist()). */
function markAddress(mark: number, isIPv6: boolean): string {
  return isIPv6 ? formatIPv6([mark, 0, 0, 0]) : formatIPv4(mark)
}

/** For replication: the records of ranges of the table, read on another thread. */
export function openConnectionSource(
  tableMemory: SharedArrayBuffer,
  directoryMemory: SharedArrayBuffer,
): ConnectionReader {
  return new ConnectionReader(tableMemory, directoryMemory)
}
