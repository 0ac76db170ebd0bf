/**
 * The TCP states of a connection as a load balancer sees them, their transitions and their timeouts.
 *
 * Source: Linux net/netfilter/ipvs/ip_vs_proto_tcp.c (tcp_states[], tcp_states_dos[], tcp_timeouts[]). Of several flags RST
 * counts before SYN before FIN before ACK; a segment with none of them changes nothing.
 *
 * secure_tcp: in its tables a connection is established when the server has spoken after the client's ACK, not by what clients
 * send alone; until then it waits in SYNACK.
 */
import { TCP_ACK, TCP_FIN, TCP_RST, TCP_SYN } from '../../protocol/packet/tcp.ts'

export const TCP_STATE = {
  NONE: 0,
  ESTABLISHED: 1,
  SYN_SENT: 2,
  SYN_RECV: 3,
  FIN_WAIT: 4,
  TIME_WAIT: 5,
  CLOSE: 6,
  CLOSE_WAIT: 7,
  LAST_ACK: 8,
  LISTEN: 9,
  SYNACK: 10,
} as const

/** By state number, as ipvsadm prints them. */
export const TCP_STATE_NAMES = [
  'NONE',
  'ESTABLISHED',
  'SYN_SENT',
  'SYN_RECV',
  'FIN_WAIT',
  'TIME_WAIT',
  'CLOSE',
  'CLOSE_WAIT',
  'LAST_ACK',
  'LISTEN',
  'SYNACK',
] as const

/** Seconds, by state number. */
export const TCP_TIMEOUTS_S: readonly number[] = [2, 900, 120, 60, 120, 120, 10, 60, 30, 120, 120]

/** Whose packet moves the state. INPUT_ONLY: replies are never seen (TUN, DR). */
export const DIRECTION_INPUT = 0
export const DIRECTION_OUTPUT = 1
export const DIRECTION_INPUT_ONLY = 2
/** Added to a direction: the tables of secure_tcp. */
export const SECURE_DIRECTIONS = 3

const EVENT_NONE = 4

// Columns:             NO ES SS SR FW TW CL CW LA LI SA
const TABLE_TEXT = [
  /* input       syn */ 'SR ES ES SR SR SR SR SR SR SR SR',
  /*             fin */ 'CL CW SS TW TW TW CL CW LA LI TW',
  /*             ack */ 'ES ES SS ES FW TW CL CW CL LI ES',
  /*             rst */ 'CL CL CL SR CL CL CL CL LA LI SR',
  /* output      syn */ 'SS ES SS SR SS SS SS SS SS LI SR',
  /*             fin */ 'TW FW SS TW FW TW CL TW LA LI TW',
  /*             ack */ 'ES ES SS ES FW TW CL CW LA ES ES',
  /*             rst */ 'CL CL SS CL CL TW CL CL CL CL CL',
  /* input only  syn */ 'SR ES ES SR SR SR SR SR SR SR SR',
  /*             fin */ 'CL FW SS TW FW TW CL CW LA LI TW',
  /*             ack */ 'ES ES SS ES FW TW CL CW CL LI ES',
  /*             rst */ 'CL CL CL SR CL CL CL CL LA LI CL',
  // Secure:             NO ES SS SR FW TW CL CW LA LI SA
  /* input       syn */ 'SR ES ES SR SR SR SR SR SR SR SA',
  /*             fin */ 'CL CW SS TW TW TW CL CW LA LI SA',
  /*             ack */ 'ES ES SS SR FW TW CL CW CL LI SA',
  /*             rst */ 'CL CL CL SR CL CL CL CL LA LI CL',
  /* output      syn */ 'SS ES SS SA SS SS SS SS SS LI SA',
  /*             fin */ 'TW FW SS TW FW TW CL TW LA LI TW',
  /*             ack */ 'ES ES SS ES FW TW CL CW LA ES ES',
  /*             rst */ 'CL CL SS CL CL TW CL CL CL CL CL',
  /* input only  syn */ 'SA ES ES SR SA SA SA SA SA SA SA',
  /*             fin */ 'CL FW SS TW FW TW CL CW LA LI TW',
  /*             ack */ 'ES ES SS ES FW TW CL CW CL LI ES',
  /*             rst */ 'CL CL CL SR CL CL CL CL LA LI CL',
]
const SHORT_NAMES = 'NO ES SS SR FW TW CL CW LA LI SA'.split(' ')

/** [direction][event][state], 16 states apart; event 4 (no flag) keeps the state. */
const transitions = new Uint8Array(2 * SECURE_DIRECTIONS * 8 * 16)
for (let direction = 0; direction < 2 * SECURE_DIRECTIONS; direction++) {
  for (let state = 0; state < SHORT_NAMES.length; state++) {
    for (let event = 0; event < 4; event++) {
      const name = TABLE_TEXT[direction * 4 + event].split(' ')[state]
      transitions[(direction << 7) | (event << 4) | state] = SHORT_NAMES.indexOf(name)
    }
    transitions[(direction << 7) | (EVENT_NONE << 4) | state] = state
  }
}

/** Event by the TCP flags byte: syn 0, fin 1, ack 2, rst 3. */
const events = new Uint8Array(256)
for (let flags = 0; flags < 256; flags++) {
  if (flags & TCP_RST) events[flags] = 3
  else if (flags & TCP_SYN) events[flags] = 0
  else if (flags & TCP_FIN) events[flags] = 1
  else if (flags & TCP_ACK) events[flags] = 2
  else events[flags] = EVENT_NONE
}

/**
 * @param direction one of DIRECTION_*, with SECURE_DIRECTIONS added or not
 * @param flags the flags byte of the TCP header
 */
export function nextTcpState(direction: number, flags: number, state: number): number {
  return transitions[(direction << 7) | (events[flags] << 4) | state]
}

/** Whether a connection in this state counts as active on its server; every other counts as inactive. */
export function isActiveTcpState(state: number): boolean {
  return (
    state === TCP_STATE.ESTABLISHED ||
    state === TCP_STATE.SYN_SENT ||
    state === TCP_STATE.SYN_RECV ||
    state === TCP_STATE.SYNACK
  )
}

/** Whether a connection in this state has ended. FIN_WAIT is the last that there is when replies are not seen. */
export function isOverTcpState(state: number): boolean {
  return state === TCP_STATE.FIN_WAIT || state === TCP_STATE.TIME_WAIT || state === TCP_STATE.CLOSE
}
