/**
 * A connection record of the pool (protocol/wire/connection-record.ts) to an entry of the kernel's sync protocol, and back.
 *
 * The states have the kernel's numbers on both sides. What a record cannot carry is left out: sequence shifts and templates.
 *
 * Source: Linux net/netfilter/ipvs/ip_vs_sync.c ip_vs_sync_conn_needed(), ip_vs_proc_sync_conn(); ip_vs_proto_*.c.
 */
import { isActiveState, isProtocolState } from '../../../forwarder/engine/protocols/registry.ts'
import { TCP_STATE } from '../../../forwarder/engine/tcp-states.ts'
import { METHOD_DR, METHOD_LOCAL, METHOD_NAT, METHOD_TUN } from '../../../forwarder/table/real-server.ts'
import { PROTOCOL_SCTP, PROTOCOL_TCP, PROTOCOL_UDP } from '../../../protocol/packet/ipv4.ts'
import { RECORD, RECORD_LENGTH, RECORD_UPSERT } from '../../../protocol/wire/connection-record.ts'
import { SYNC_FLAG, SYNC_METHOD, type SyncEntry } from '../../../protocol/wire/ipvs-sync.ts'

/** States that are told of, by protocol; above all no half-open connection is. SCTP: ESTABLISHED, the shutdowns, CLOSED. */
const STATES_SENT: Readonly<Record<number, readonly number[]>> = {
  [PROTOCOL_TCP]: [
    TCP_STATE.ESTABLISHED,
    TCP_STATE.FIN_WAIT,
    TCP_STATE.TIME_WAIT,
    TCP_STATE.CLOSE,
    TCP_STATE.CLOSE_WAIT,
  ],
  [PROTOCOL_UDP]: [0],
  [PROTOCOL_SCTP]: [8, 9, 10, 11, 13],
}

/** Methods of entries by those of records. */
const METHOD_SENT: Readonly<Record<number, number>> = {
  [METHOD_NAT]: SYNC_METHOD.nat,
  [METHOD_TUN]: SYNC_METHOD.tunnel | SYNC_FLAG.noOutput,
  [METHOD_DR]: SYNC_METHOD.direct | SYNC_FLAG.noOutput,
  [METHOD_LOCAL]: SYNC_METHOD.local | SYNC_FLAG.noOutput,
}
/** What counts if the server is not configured here. A server on the sending director itself is as far as any other from here. */
const METHOD_TAKEN: Readonly<Record<number, number>> = {
  [SYNC_METHOD.nat]: METHOD_NAT,
  [SYNC_METHOD.local]: METHOD_NAT,
  [SYNC_METHOD.tunnel]: METHOD_TUN,
  [SYNC_METHOD.direct]: METHOD_DR,
}

const LONGEST_TIMEOUT_MS = 2 ** 31
const MAPPED_PREFIX = 0xffff

/** The entry that tells a backup of a record; undefined for a record that the kernel would not tell of either. */
export function entryOfRecord(bytes: Uint8Array, at: number): SyncEntry | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset + at, RECORD_LENGTH)
  const protocol = view.getUint8(RECORD.protocol)
  const state = view.getUint8(RECORD.state)
  const method = METHOD_SENT[view.getUint8(RECORD.method)]
  if (view.getUint8(RECORD.kind) !== RECORD_UPSERT || method === undefined) return undefined
  if (!STATES_SENT[protocol]?.includes(state)) return undefined
  const offsets = [RECORD.clientAddress, RECORD.virtualAddress, RECORD.serverAddress]
  const addressLength = offsets.every((offset) => isMapped(view, offset)) ? 4 : 16
  const [clientAddress, virtualAddress, serverAddress] = offsets.map((offset) =>
    bytes.slice(at + offset + 16 - addressLength, at + offset + 16),
  )
  return {
    protocol,
    flags: method | (isActiveState(protocol, state) ? 0 : SYNC_FLAG.inactive),
    state,
    clientPort: view.getUint16(RECORD.clientPort),
    virtualPort: view.getUint16(RECORD.virtualPort),
    serverPort: view.getUint16(RECORD.serverPort),
    firewallMark: view.getUint32(RECORD.firewallMark),
    timeoutS: Math.floor(view.getUint32(RECORD.timeoutMs) / 1000),
    clientAddress,
    virtualAddress,
    serverAddress,
  }
}

/**
 * Writes the record of an entry; its version is 0, since the kernel counts none.
 * @returns false for an entry that no record can stand for
 */
export function recordOfEntry(entry: SyncEntry, target: Uint8Array, at: number): boolean {
  const { protocol, state, flags } = entry
  const method = METHOD_TAKEN[flags & SYNC_FLAG.methodMask]
  const isConnection = (flags & (SYNC_FLAG.template | SYNC_FLAG.noClientPort)) === 0
  // The pool's templates stand under protocol numbers that no packet has, and nobody outside may make them.
  const isKnown = STATES_SENT[protocol] !== undefined && isProtocolState(protocol, state)
  if (!isConnection || method === undefined || !isKnown) return false
  const view = new DataView(target.buffer, target.byteOffset + at, RECORD_LENGTH)
  target.fill(0, at, at + RECORD_LENGTH)
  view.setUint8(RECORD.kind, RECORD_UPSERT)
  view.setUint8(RECORD.protocol, protocol)
  view.setUint8(RECORD.state, state)
  view.setUint8(RECORD.method, method)
  view.setUint32(RECORD.timeoutMs, Math.min(entry.timeoutS * 1000, LONGEST_TIMEOUT_MS))
  view.setUint16(RECORD.clientPort, entry.clientPort)
  view.setUint16(RECORD.virtualPort, entry.virtualPort)
  view.setUint16(RECORD.serverPort, entry.serverPort)
  view.setUint32(RECORD.firewallMark, entry.firewallMark)
  writeAddress(view, RECORD.clientAddress, entry.clientAddress)
  writeAddress(view, RECORD.virtualAddress, entry.virtualAddress)
  writeAddress(view, RECORD.serverAddress, entry.serverAddress)
  return true
}

function writeAddress(view: DataView, offset: number, address: Uint8Array): void {
  if (address.length === 4) view.setUint16(offset + 10, MAPPED_PREFIX)
  for (let i = 0; i < address.length; i++) view.setUint8(offset + 16 - address.length + i, address[i])
}

/** RFC 4291 2.5.5.2 */
function isMapped(view: DataView, offset: number): boolean {
  return (
    view.getUint32(offset) === 0 && view.getUint32(offset + 4) === 0 && view.getUint32(offset + 8) === MAPPED_PREFIX
  )
}
