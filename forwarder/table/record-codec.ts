/** A connection in the table to the record that peers exchange (protocol/wire/connection-record.ts), and the parts of a record. */
import { readInt32, readUint16, writeInt32, writeUint16 } from '../../protocol/packet/bytes.ts'
import { ADDRESS_WORDS, writeIPv6Words } from '../../protocol/packet/ipv6-address.ts'
import {
  CALL,
  CALL_PIECE_LENGTH,
  RECORD,
  RECORD_CALL,
  RECORD_FLAG,
  RECORD_FTP_DATA,
  RECORD_LENGTH,
  RECORD_UPSERT,
} from '../../protocol/wire/connection-record.ts'
import { isTemplate, isTemplateOfMark } from '../engine/templates.ts'
import { type AddressBook, isIPv6Number, NO_ADDRESS } from './address-book.ts'
import {
  type ConnectionIndex,
  type ConnectionMemory,
  FLAG_CONTROLLED,
  FLAG_FTP_DATA,
  FLAG_IPV6,
  FLAG_ONE_WAY,
  KEY,
  KEY_WORDS,
  STATE,
  STATE_WORDS,
  TICK_MS,
} from './connection-layout.ts'
import type { ServerDirectory } from './server-directory.ts'

/** Bits of the flags word that hold the connection's method. */
export const METHOD_SHIFT = 4
export const METHOD_MASK = 0x3 << METHOD_SHIFT

/**
 * Writes the record of a connection.
 * @param directory has the connection's server, what its service is for, and the addresses that go by numbers
 * @param tick the time now, for what is left of the timeout
 */
export function encodeRecord(
  memory: ConnectionMemory,
  directory: ServerDirectory,
  index: ConnectionIndex,
  tick: number,
  target: Uint8Array,
  at: number,
): void {
  const { keys, states } = memory
  const key = index * KEY_WORDS
  const state = index * STATE_WORDS
  const word = states[state + STATE.portProtocolState]
  const flags = states[state + STATE.flagsReturnPath] >>> 16
  const ports = keys[key + KEY.ports]
  const server = states[state + STATE.server]
  const servicePort = directory.servicePortOf(server)
  const mark = directory.markOf(server)
  let recordFlags = flags & FLAG_CONTROLLED ? RECORD_FLAG.controlled : 0
  if (flags & FLAG_FTP_DATA) recordFlags |= RECORD_FTP_DATA
  if (mark === 0 && servicePort === 0) recordFlags |= RECORD_FLAG.everyPort
  if (mark === 0 && servicePort !== 0 && servicePort !== (ports & 0xffff)) recordFlags |= RECORD_FLAG.ftpData
  if (directory.portOf(server) === 0) recordFlags |= RECORD_FLAG.serverEveryPort
  target.fill(0, at, at + RECORD_LENGTH)
  target[at + RECORD.kind] = RECORD_UPSERT
  target[at + RECORD.protocol] = (word >>> 8) & 255
  target[at + RECORD.state] = word & 255
  target[at + RECORD.method] = (flags & METHOD_MASK) >> METHOD_SHIFT
  writeUint16(target, at + RECORD.flags, recordFlags)
  writeUint16(target, at + RECORD.version, states[state + STATE.versionSynced] >>> 16)
  writeInt32(target, at + RECORD.timeoutMs, Math.max(0, states[state + STATE.expires] - tick) * TICK_MS)
  writeUint16(target, at + RECORD.clientPort, ports >>> 16)
  writeUint16(target, at + RECORD.virtualPort, ports & 0xffff)
  // The kernel's templates for several ports do not say their server's.
  const serverPort = isTemplate((word >>> 8) & 255) ? directory.portOf(server) : word >>> 16
  writeUint16(target, at + RECORD.serverPort, serverPort)
  const { addresses, book } = directory
  if (flags & FLAG_IPV6) writeIPv6Words(target, at + RECORD.clientAddress, keys, key + KEY.clientAddress)
  else writeMapped(target, at + RECORD.clientAddress, keys[key + KEY.clientAddress])
  const virtual = keys[key + KEY.virtualAddress]
  // The template of a firewall mark has the mark as its address.
  if (isTemplateOfMark((word >>> 8) & 255)) writeMapped(target, at + RECORD.virtualAddress, virtual)
  else writeAddress(target, at + RECORD.virtualAddress, virtual, book)
  writeAddress(target, at + RECORD.serverAddress, addresses[server], book)
  writeInt32(target, at + RECORD.firewallMark, mark)
}

/** How many records describe the call of a template besides its own; 0: it is of none, or not described itself. */
export function callPieces({ keys }: ConnectionMemory, { calls }: ServerDirectory, index: ConnectionIndex): number {
  return Math.ceil(calls.lengthOf(calls.find(keys, index * KEY_WORDS + KEY.clientAddress)) / CALL_PIECE_LENGTH)
}

/** Writes the record of one piece of what a call's template was made from. */
export function encodeCallPiece(
  { keys }: ConnectionMemory,
  { calls }: ServerDirectory,
  index: ConnectionIndex,
  piece: number,
  target: Uint8Array,
  at: number,
): void {
  const hash = index * KEY_WORDS + KEY.clientAddress
  const entry = calls.find(keys, hash)
  const length = calls.lengthOf(entry)
  target.fill(0, at, at + RECORD_LENGTH)
  target[at + RECORD.kind] = RECORD_UPSERT
  target[at + RECORD.protocol] = RECORD_CALL
  target[at + CALL.piece] = piece
  writeUint16(target, at + CALL.length, length)
  writeIPv6Words(target, at + CALL.hash, keys, hash)
  const start = piece * CALL_PIECE_LENGTH
  const from = calls.startOf(entry) + start
  for (let i = 0; i < CALL_PIECE_LENGTH && start + i < length; i++)
    target[at + CALL.bytes + i] = calls.contents[from + i]
}

/** Whether the 16 bytes are an IPv4 address in mapped form. */
export function isMapped(bytes: Uint8Array, at: number): boolean {
  return readInt32(bytes, at) === 0 && readInt32(bytes, at + 4) === 0 && readInt32(bytes, at + 8) === 0xffff
}

/** The IPv4 address of a mapped one. */
export function readMapped(bytes: Uint8Array, at: number): number {
  return readInt32(bytes, at + 12)
}

/**
 * The number of the address in the 16 bytes, interned if it is of IPv6; NO_ADDRESS when the book is full, or when it says an
 * IPv4 address that nobody can have.
 */
export function readAddress(bytes: Uint8Array, at: number, book: AddressBook): number {
  if (isMapped(bytes, at)) {
    const address = readMapped(bytes, at)
    return isIPv6Number(address) ? NO_ADDRESS : address
  }
  return book.intern(
    readInt32(bytes, at),
    readInt32(bytes, at + 4),
    readInt32(bytes, at + 8),
    readInt32(bytes, at + 12),
  )
}

function writeAddress(bytes: Uint8Array, at: number, address: number, book: AddressBook): void {
  if (isIPv6Number(address)) writeIPv6Words(bytes, at, book.words, address * ADDRESS_WORDS)
  else writeMapped(bytes, at, address)
}

function writeMapped(bytes: Uint8Array, at: number, address: number): void {
  writeUint16(bytes, at + 10, 0xffff)
  writeInt32(bytes, at + 12, address)
}

/** Flags of a connection whose packets reach its server by `method`; one way: its replies do not pass here. */
export function methodFlags(method: number, isOneWay: boolean): number {
  return (method << METHOD_SHIFT) | (isOneWay ? FLAG_ONE_WAY : 0)
}

/** Whether version `a` is newer than `b`, as serial numbers of 16 bits (RFC 1982). */
export function isNewer(a: number, b: number): boolean {
  return a !== b && ((a - b) & 0xffff) < 0x8000
}

/** The version in the record at `at`. */
export function recordVersion(bytes: Uint8Array, at: number): number {
  return readUint16(bytes, at + RECORD.version)
}
