/** Which setting is the timeout of which state of a protocol. */
import { PROTOCOL_SCTP, PROTOCOL_TCP, PROTOCOL_UDP } from '../../protocol/packet/ipv4.ts'
import type { EngineSettings } from '../settings.ts'
import type { Connections } from './connections.ts'
import { SCTP_STATE, sctpProtocol } from './protocols/sctp.ts'
import { TCP_STATE } from './tcp-states.ts'

const { NONE, ESTABLISHED, SYN_SENT, SYN_RECV, FIN_WAIT, TIME_WAIT, CLOSE, CLOSE_WAIT } = TCP_STATE
const { LAST_ACK, LISTEN, SYNACK } = TCP_STATE

/** By state; every other has one in common. */
const sctpTimeouts: Readonly<Record<number, keyof EngineSettings>> = {
  [SCTP_STATE.NONE]: 'timeoutSctpNoneS',
  [SCTP_STATE.INIT1]: 'timeoutSctpInitS',
  [SCTP_STATE.ESTABLISHED]: 'timeoutSctpS',
  [SCTP_STATE.REJECTED]: 'timeoutSctpRejectedS',
}

const TIMEOUTS: readonly [field: keyof EngineSettings, protocol: number, state: number][] = [
  ['timeoutTcpNoneS', PROTOCOL_TCP, NONE],
  ['timeoutTcpS', PROTOCOL_TCP, ESTABLISHED],
  ['timeoutTcpSynSentS', PROTOCOL_TCP, SYN_SENT],
  ['timeoutTcpSynRecvS', PROTOCOL_TCP, SYN_RECV],
  ['timeoutTcpFinS', PROTOCOL_TCP, FIN_WAIT],
  ['timeoutTcpTimeWaitS', PROTOCOL_TCP, TIME_WAIT],
  ['timeoutTcpCloseS', PROTOCOL_TCP, CLOSE],
  ['timeoutTcpCloseWaitS', PROTOCOL_TCP, CLOSE_WAIT],
  ['timeoutTcpLastAckS', PROTOCOL_TCP, LAST_ACK],
  ['timeoutTcpListenS', PROTOCOL_TCP, LISTEN],
  ['timeoutTcpSynAckS', PROTOCOL_TCP, SYNACK],
  ['timeoutUdpS', PROTOCOL_UDP, 0],
  ...sctpProtocol.states.map((_, state): [keyof EngineSettings, number, number] => [
    sctpTimeouts[state] ?? 'timeoutSctpOtherS',
    PROTOCOL_SCTP,
    state,
  ]),
]

/** Connections take their new timeouts with their next packets, as in IPVS. */
export function applyTimeouts(settings: EngineSettings, connections: Pick<Connections, 'setTimeout'>): void {
  for (const [field, protocol, state] of TIMEOUTS) connections.setTimeout(protocol, state, settings[field])
}
