/**
 * What the agent of a real server tells every director: one UDP datagram, of at most 1,200 bytes so that no path
 * fragments it, signed with HMAC-SHA256 (RFC 2104, FIPS 180-4) under the key of this real server (agent-key.ts).
 *
 * ```
 *  0         1        9                        length - 32                length
 * +---------+--------+------------------------+----------------------------+
 * | version | key id | body (MessagePack map) | HMAC-SHA256 of all before  |
 * +---------+--------+------------------------+----------------------------+
 *
 * body  addresses               array of text   addresses by which directors know this real server, 1 to 24
 *       runId                   text            16 hexadecimal digits, drawn anew each time the agent starts
 *       sequence                integer         from 0, grows by at least 1 from datagram to datagram of a run
 *       timeMs                  integer         the agent's wall clock, milliseconds since 1970
 *       intervalMs              integer         how often it reports, 100 to 60,000
 *       cpu                     number          busy share of all cores since the last report, 0 to 1
 *       memory                  number          share of memory that is not available, 0 to 1
 *       loadPerCore             number          one-minute load average over the number of cores, >= 0
 *       establishedConnections  integer         TCP connections in ESTABLISHED or CLOSE-WAIT (RFC 4022 tcpCurrEstab)
 * ```
 *
 * The signature is compared in constant time and before the body is looked at: MessagePack is decoded only from those who hold a
 * key. Version rule: a reader takes its own version and refuses others; within a version, fields may
 * be added and a reader passes over those it does not know. Version 1 had no key id.
 */
import { createHmac, timingSafeEqual } from 'node:crypto'
import { isIP } from 'node:net'
import { pack, unpack } from '../message-pack.ts'
import { canonicalAddress } from '../packet/ipv6-address.ts'
import { KEY_ID_BYTES } from '../shared-key.ts'
import type { AgentKey } from './agent-key.ts'

export const AGENT_REPORT_VERSION = 2
export const MAX_AGENT_REPORT_BYTES = 1200
/** As many as fit in the datagram when all of them are IPv6. */
export const MAX_AGENT_ADDRESSES = 24
const HEADER_BYTES = 1 + KEY_ID_BYTES
const SIGNATURE_BYTES = 32

export interface AgentReport {
  addresses: string[]
  runId: string
  sequence: number
  timeMs: number
  intervalMs: number
  /** 0 to 1. */
  cpu: number
  /** 0 to 1. */
  memory: number
  /** >= 0; above 1 there is more to run than cores to run it. */
  loadPerCore: number
  establishedConnections: number
}

/** Why a datagram is not a report. */
export type AgentReportRefusal = 'length' | 'version' | 'key' | 'signature' | 'body'

/** The datagram for a report. @throws RangeError when it would be longer than MAX_AGENT_REPORT_BYTES */
export function encodeAgentReport(report: AgentReport, { id, secret }: AgentKey): Buffer {
  const header = Buffer.concat([Uint8Array.of(AGENT_REPORT_VERSION), Buffer.from(id, 'hex')])
  const signed = Buffer.concat([header, pack(report)])
  const datagram = Buffer.concat([signed, sign(signed, secret)])
  if (datagram.length > MAX_AGENT_REPORT_BYTES) throw new RangeError(`an agent report of ${datagram.length} bytes`)
  return datagram
}

/** A report and the key that vouches for it. */
export interface SignedReport<Key> {
  report: AgentReport
  key: Key
}

/**
 * The report in a datagram, or why there is none. Never throws. That the key is for the report's addresses is not checked here.
 * @param keyOf the key of this id (16 hexadecimal digits), if there is one
 */
export function decodeAgentReport<Key extends AgentKey>(
  datagram: Uint8Array,
  keyOf: (id: string) => Key | undefined,
): SignedReport<Key> | AgentReportRefusal {
  if (datagram.length <= HEADER_BYTES + SIGNATURE_BYTES || datagram.length > MAX_AGENT_REPORT_BYTES) return 'length'
  if (datagram[0] !== AGENT_REPORT_VERSION) return 'version'
  const key = keyOf(Buffer.from(datagram.subarray(1, HEADER_BYTES)).toString('hex'))
  if (!key) return 'key'
  const signed = datagram.subarray(0, datagram.length - SIGNATURE_BYTES)
  if (!timingSafeEqual(sign(signed, key.secret), datagram.subarray(signed.length))) return 'signature'
  try {
    const report = readBody(unpack(signed.subarray(HEADER_BYTES)))
    return report ? { report, key } : 'body'
  } catch {
    return 'body'
  }
}

function sign(bytes: Uint8Array, key: Uint8Array): Buffer {
  return createHmac('sha256', key).update(bytes).digest()
}

/** Checked by hand, not by zod, whose memory the agent cannot afford. */
function readBody(body: unknown): AgentReport | undefined {
  if (typeof body !== 'object' || body === null) return undefined
  const { addresses, runId, sequence, timeMs, intervalMs, cpu, memory, loadPerCore, establishedConnections } =
    body as Record<keyof AgentReport, unknown>
  const valid =
    Array.isArray(addresses) &&
    addresses.length >= 1 &&
    addresses.length <= MAX_AGENT_ADDRESSES &&
    addresses.every((address) => typeof address === 'string' && isIP(address) !== 0 && !address.includes('%')) &&
    typeof runId === 'string' &&
    /^[0-9a-f]{16}$/.test(runId) &&
    isWhole(sequence) &&
    isWhole(timeMs) &&
    isWhole(intervalMs) &&
    intervalMs >= 100 &&
    intervalMs <= 60_000 &&
    isWithin(cpu, 1) &&
    isWithin(memory, 1) &&
    isWithin(loadPerCore, Number.MAX_VALUE) &&
    isWhole(establishedConnections)
  if (!valid) return undefined
  const known = addresses.map(canonicalAddress)
  return { addresses: known, runId, sequence, timeMs, intervalMs, cpu, memory, loadPerCore, establishedConnections }
}

function isWhole(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0
}

function isWithin(value: unknown, highest: number): value is number {
  return typeof value === 'number' && value >= 0 && value <= highest
}
