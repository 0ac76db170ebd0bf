/**
 * A connection record of the pool (protocol/wire/connection-record.ts) to an entry of the kernel's sync protocol, and back.
 *
 * The states have the kernel's numbers on both sides. Templates have the protocol of their connections there, 0 for a firewall
 * mark's, whose mark stands in the place of the virtual address; a call's has its Call-ID as data of the engine "sip".
 * A connection whose sequence numbers are shifted cannot be carried on here (docs/decisions/ftp.md), and is refused.
 *
 * Source: Linux net/netfilter/ipvs/ip_vs_sync.c ip_vs_sync_conn_needed(), ip_vs_proc_sync_conn(); ip_vs_proto_*.c.
 */
import { isActiveState, isProtocolState } from '../../../forwarder/engine/protocols/registry.ts'
import { TCP_STATE } from '../../../forwarder/engine/tcp-states.ts'
import {
  isTemplate,
  isTemplateOfCall,
  isTemplateOfMark,
  protocolOfTemplate,
  TEMPLATE_ANY,
  TEMPLATE_ANY6,
  TEMPLATE_CALL,
  TEMPLATE_CALL_ANY,
  TEMPLATE_CALL_ANY6,
  templateProtocol,
  templateServerPort,
} from '../../../forwarder/engine/templates.ts'
import { METHOD_DR, METHOD_LOCAL, METHOD_NAT, METHOD_TUN } from '../../../forwarder/table/real-server.ts'
import { isMapped } from '../../../forwarder/table/record-codec.ts'
import { PROTOCOL_SCTP, PROTOCOL_TCP, PROTOCOL_UDP } from '../../../protocol/packet/ipv4.ts'
import { LONGEST_TIMEOUT_MS, RECORD, RECORD_LENGTH, RECORD_UPSERT } from '../../../protocol/wire/connection-record.ts'
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

/** Of a template that says none. */
const TEMPLATE_TIMEOUT_S = 180
const MAPPED_PREFIX = 0xffff
const SIP = 'sip'

/** What the template of a SIP call was made from. */
export interface CallDescription {
  /** Under the service's mask, 16 bytes. */
  readonly client: Uint8Array
  readonly callId: Uint8Array
}

/**
 * The entry that tells a backup of a record; undefined for a record that the kernel would not tell of either.
 * @param call of the template of a call, which without it is not told of
 */
export function entryOfRecord(bytes: Uint8Array, at: number, call?: CallDescription): SyncEntry | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset + at, RECORD_LENGTH)
  const number = view.getUint8(RECORD.protocol)
  const state = view.getUint8(RECORD.state)
  const method = METHOD_SENT[view.getUint8(RECORD.method)]
  if (view.getUint8(RECORD.kind) !== RECORD_UPSERT || method === undefined) return undefined
  const isOfTemplate = isTemplate(number)
  if (!isOfTemplate && !STATES_SENT[number]?.includes(state)) return undefined
  if (isTemplateOfCall(number) && call === undefined) return undefined
  const address = (offset: number) => bytes.subarray(at + offset, at + offset + 16)
  const client = call?.client ?? address(RECORD.clientAddress)
  const virtual = address(RECORD.virtualAddress)
  const virtualPort = view.getUint16(RECORD.virtualPort)
  const server = address(RECORD.serverAddress)
  const serverPort = view.getUint16(RECORD.serverPort)
  const isOfMark = isTemplateOfMark(number)
  // A kernel does not tell of servers of the other family, nor could it tell which family the addresses are of.
  if (isMapped(client, 0) !== isMapped(server, 0)) return undefined
  const isIPv4 = isMapped(client, 0) && isMapped(virtual, 0)
  return {
    protocol: isOfTemplate ? protocolOfTemplate(number) : number,
    flags: method | (isOfTemplate ? SYNC_FLAG.template : 0) | (isActiveState(number, state) ? 0 : SYNC_FLAG.inactive),
    state,
    clientPort: view.getUint16(RECORD.clientPort),
    virtualPort,
    serverPort: isOfTemplate ? templateServerPort(virtualPort, serverPort) : serverPort,
    firewallMark: view.getUint32(RECORD.firewallMark),
    timeoutS: Math.floor(view.getUint32(RECORD.timeoutMs) / 1000),
    clientAddress: shorten(client, isIPv4),
    virtualAddress: isOfMark && !isIPv4 ? markAddress(virtual) : shorten(virtual, isIPv4),
    serverAddress: shorten(server, isIPv4),
    ...(call && { engineName: SIP, engineData: call.callId }),
  }
}

/**
 * Writes the record of an entry; its version is 0, since the kernel counts none. Of the template of a call it lacks the call's
 * hash (sync-calls.ts).
 * @returns false for an entry that no record can stand for
 */
export function recordOfEntry(entry: SyncEntry, target: Uint8Array, at: number): boolean {
  const { state, flags, firewallMark: mark } = entry
  const method = METHOD_TAKEN[flags & SYNC_FLAG.methodMask]
  const protocol = recordProtocol(entry)
  if (method === undefined || protocol === undefined || !isProtocolState(protocol, state)) return false
  if ((flags & SYNC_FLAG.noClientPort) !== 0 || isShifted(entry)) return false
  const isOfTemplate = isTemplate(protocol)
  const timeoutS = isOfTemplate && entry.timeoutS === 0 ? TEMPLATE_TIMEOUT_S : entry.timeoutS
  const view = new DataView(target.buffer, target.byteOffset + at, RECORD_LENGTH)
  target.fill(0, at, at + RECORD_LENGTH)
  view.setUint8(RECORD.kind, RECORD_UPSERT)
  view.setUint8(RECORD.protocol, protocol)
  view.setUint8(RECORD.state, state)
  view.setUint8(RECORD.method, method)
  view.setUint32(RECORD.timeoutMs, Math.min(timeoutS * 1000, LONGEST_TIMEOUT_MS))
  view.setUint16(RECORD.clientPort, isOfTemplate ? 0 : entry.clientPort)
  view.setUint16(RECORD.virtualPort, entry.virtualPort)
  view.setUint16(RECORD.serverPort, entry.serverPort)
  view.setUint32(RECORD.firewallMark, mark)
  if (!isTemplateOfCall(protocol)) writeAddress(view, RECORD.clientAddress, entry.clientAddress)
  if (isTemplateOfMark(protocol)) {
    view.setUint16(RECORD.virtualAddress + 10, MAPPED_PREFIX)
    view.setUint32(RECORD.virtualAddress + 12, mark)
  } else writeAddress(view, RECORD.virtualAddress, entry.virtualAddress)
  writeAddress(view, RECORD.serverAddress, entry.serverAddress)
  return true
}

/** Whether it is the template of a SIP call. */
export function isEntryOfCall({ flags, engineName, engineData }: SyncEntry): boolean {
  return (flags & SYNC_FLAG.template) !== 0 && engineName === SIP && engineData !== undefined
}

/** The protocol number of an entry's record; undefined when the pool has no such connections or templates. */
function recordProtocol(entry: SyncEntry): number | undefined {
  const { protocol, firewallMark: mark, flags, engineName, clientAddress } = entry
  // The pool's templates stand under protocol numbers that no packet has, and nobody outside may name them.
  const isKnown = STATES_SENT[protocol] !== undefined
  if ((flags & SYNC_FLAG.template) === 0) return isKnown ? protocol : undefined
  const isIPv6 = clientAddress.length === 16
  const isOfMark = protocol === 0 && mark !== 0
  if (isEntryOfCall(entry)) {
    if (isOfMark) return isIPv6 ? TEMPLATE_CALL_ANY6 : TEMPLATE_CALL_ANY
    return protocol === PROTOCOL_UDP ? TEMPLATE_CALL : undefined
  }
  if (engineName !== undefined) return undefined
  if (isOfMark) return isIPv6 ? TEMPLATE_ANY6 : TEMPLATE_ANY
  return isKnown ? templateProtocol(protocol) : undefined
}

function isShifted({ sequence }: SyncEntry): boolean {
  if (sequence === undefined) return false
  return [sequence.inwards, sequence.outwards].some(({ delta, previousDelta }) => delta !== 0 || previousDelta !== 0)
}

/** The 16 bytes, or of an IPv4-mapped address the last 4. */
function shorten(address: Uint8Array, isIPv4: boolean): Uint8Array {
  return address.slice(isIPv4 ? 12 : 0)
}

/** The mark of an IPv4-mapped address, as the kernel has it among addresses of IPv6: in the first word. */
function markAddress(mapped: Uint8Array): Uint8Array {
  const address = new Uint8Array(16)
  address.set(mapped.subarray(12))
  return address
}

/** Writes the 16 bytes of an address of 4 or 16. */
export function writeAddress(view: DataView, offset: number, address: Uint8Array): void {
  if (address.length === 4) view.setUint16(offset + 10, MAPPED_PREFIX)
  for (let i = 0; i < address.length; i++) view.setUint8(offset + 16 - address.length + i, address[i])
}
