/**
 * SCTP associations as a load balancer sees them: states, transitions, timeouts.
 *
 * Source: Linux net/netfilter/ipvs/ip_vs_proto_sctp.c (6.1): the states are the real server's. INIT1 and REJECTED, not in
 * RFC 9260's diagram, stand for an INIT that was lost or refused and are soon forgotten.
 */
import { PROTOCOL_SCTP } from '../../../protocol/packet/ipv4.ts'
import { SCTP_CHUNK, SCTP_CHUNK_HEADER_LENGTH, SCTP_HEADER_LENGTH } from '../../../protocol/packet/sctp.ts'
import type { Protocol } from './protocol.ts'

/** The states that something else depends on; the others go by their place in the table. */
export const SCTP_STATE = { NONE: 0, INIT1: 1, ESTABLISHED: 8, REJECTED: 12, CLOSED: 13 } as const

/** The longest retransmission timeout of RFC 9260 and a second. */
const LONGEST_S = 61
const QUEUE_INIT1 = 2
const QUEUE_INIT = 3

export const sctpProtocol: Protocol = {
  number: PROTOCOL_SCTP,
  name: 'sctp',
  states: [
    { name: 'NONE', timeoutS: 2 },
    { name: 'INIT1', timeoutS: 4, halfOpenQueue: QUEUE_INIT1 },
    { name: 'INIT', timeoutS: LONGEST_S, halfOpenQueue: QUEUE_INIT },
    { name: 'C-SENT', timeoutS: LONGEST_S, halfOpenQueue: QUEUE_INIT },
    { name: 'C-REPLIED', timeoutS: LONGEST_S },
    { name: 'C-WAIT', timeoutS: LONGEST_S },
    { name: 'COOKIE', timeoutS: LONGEST_S },
    { name: 'C-ECHOED', timeoutS: LONGEST_S },
    { name: 'ESTABLISHED', timeoutS: 900, isActive: true },
    { name: 'S-SENT', timeoutS: LONGEST_S, isEnding: true },
    { name: 'S-RECEIVED', timeoutS: LONGEST_S, isEnding: true },
    { name: 'S-ACK-SENT', timeoutS: LONGEST_S, isEnding: true },
    { name: 'REJECTED', timeoutS: 4 },
    { name: 'CLOSED', timeoutS: LONGEST_S, isOver: true },
  ],
  headerLength: SCTP_HEADER_LENGTH + SCTP_CHUNK_HEADER_LENGTH,
}

const COLUMNS = 'NO I1 IN CS CR CW CO CE ES SS SR SA RJ CL'.split(' ')
const TABLE_TEXT = [
  // input:             NO I1 IN CS CR CW CO CE ES SS SR SA RJ CL
  /* data             */ 'ES I1 IN CS CR CW CO CE ES SS SR SA RJ CL',
  /* init             */ 'I1 IN IN CS CR CW CO CE ES SS SR SA IN IN',
  /* init ack         */ 'CW CW CW CS CR CO CO CE ES SS SR SA RJ CL',
  /* cookie echo      */ 'CR IN IN CR CR CW CO CE ES SS SR SA RJ CL',
  /* cookie ack       */ 'ES I1 IN CS CR CW CO ES ES SS SR SA RJ CL',
  /* shutdown         */ 'SR I1 IN CS CR CW CO CE SR SS SR SA RJ CL',
  /* shutdown ack     */ 'CL IN IN CS CR CW CO CE ES CL SR CL RJ CL',
  /* shutdown complete*/ 'CL CL CL CS CR CW CO CE ES SS SR CL RJ CL',
  /* error            */ 'CL I1 IN CS CR CW CO CL ES SS SR SA RJ CL',
  /* abort            */ 'CL CL CL CL CL RJ CL CL CL CL CL CL CL CL',
  // output:            NO I1 IN CS CR CW CO CE ES SS SR SA RJ CL
  /* data             */ 'ES I1 IN CS CR CW CO CE ES SS SR SA RJ CL',
  /* init             */ 'CW CW CW CW CW CW CW CW ES CW CW CW CW CW',
  /* init ack         */ 'CS CS CS CS CR CW CO CE ES SS SR SA RJ CL',
  /* cookie echo      */ 'CE CE CE CE CE CE CE CE ES SS SR SA RJ CL',
  /* cookie ack       */ 'ES ES ES ES ES ES ES ES ES SS SR SA RJ CL',
  /* shutdown         */ 'SS SS SS SS SS SS SS SS SS SS SR SA RJ CL',
  /* shutdown ack     */ 'SA SA SA SA SA CW CO CE ES SA SA SA RJ CL',
  /* shutdown complete*/ 'CL I1 IN CS CR CW CO CE ES SS SR SA RJ CL',
  /* error            */ 'CL CL CL CL CL CW CO CE ES SS SR SA RJ CL',
  /* abort            */ 'CL RJ CL CL CL CL CL CL CL CL CL CL CL CL',
  // input only:        NO I1 IN CS CR CW CO CE ES SS SR SA RJ CL
  /* data             */ 'ES I1 IN CS CR ES CO CE ES SS SR SA RJ CL',
  /* init             */ 'I1 IN IN IN IN IN CO CE ES SS SR SA IN IN',
  /* init ack         */ 'CE CE CE CE CE CE CO CE ES SS SR SA RJ CL',
  /* cookie echo      */ 'ES ES ES ES ES ES CO CE ES SS SR SA RJ CL',
  /* cookie ack       */ 'ES I1 IN ES ES CW ES ES ES SS SR SA RJ CL',
  /* shutdown         */ 'SR I1 IN CS CR CW CO CE SR SS SR SA RJ CL',
  /* shutdown ack     */ 'CL IN IN CS CR CW CO CE CL CL SR CL RJ CL',
  /* shutdown complete*/ 'CL CL CL CL CL CW CO CE ES SS CL CL RJ CL',
  /* error            */ 'CL I1 IN CS CR CW CO CE ES SS SR SA RJ CL',
  /* abort            */ 'CL CL CL CL CL RJ CL CL CL CL CL CL CL CL',
]
const EVENTS = 10

/** [direction][event][state], 16 states and 16 events apart. */
const transitions = new Uint8Array(3 << 8)
for (const [row, text] of TABLE_TEXT.entries()) {
  for (const [state, name] of text.split(' ').entries()) {
    transitions[(Math.floor(row / EVENTS) << 8) | ((row % EVENTS) << 4) | state] = COLUMNS.indexOf(name)
  }
}

/** Event by the chunk's type; what carries data or is not known is 0. */
const events = new Uint8Array(256)
const { INIT, INIT_ACK, COOKIE_ECHO, COOKIE_ACK, SHUTDOWN, SHUTDOWN_ACK, SHUTDOWN_COMPLETE, ERROR, ABORT } = SCTP_CHUNK
for (const [event, type] of [
  SCTP_CHUNK.DATA,
  INIT,
  INIT_ACK,
  COOKIE_ECHO,
  COOKIE_ACK,
  SHUTDOWN,
  SHUTDOWN_ACK,
  SHUTDOWN_COMPLETE,
  ERROR,
  ABORT,
].entries()) {
  events[type] = event
}

/** @param chunkType what sctpChunkType() says the packet is about */
export function nextSctpState(direction: number, chunkType: number, state: number): number {
  return transitions[(direction << 8) | (events[chunkType] << 4) | state]
}
