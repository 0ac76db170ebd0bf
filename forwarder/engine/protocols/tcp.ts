/** TCP: its states are in tcp-states.ts. Source: Linux net/netfilter/ipvs/ip_vs_proto_tcp.c. */
import { PROTOCOL_TCP } from '../../../protocol/packet/ipv4.ts'
import { TCP_HEADER_LENGTH } from '../../../protocol/packet/tcp.ts'
import { isActiveTcpState, isOverTcpState, TCP_STATE, TCP_STATE_NAMES, TCP_TIMEOUTS_S } from '../tcp-states.ts'
import type { Protocol, ProtocolState } from './protocol.ts'

/** With secure_tcp a connection waits for its client in SYNACK, after the server has answered; a tentative one waits in NONE for its server. */
const halfOpenQueues: Readonly<Record<number, number>> = {
  [TCP_STATE.SYN_RECV]: 0,
  [TCP_STATE.SYNACK]: 1,
  [TCP_STATE.NONE]: 4,
}

export const tcpProtocol: Protocol = {
  number: PROTOCOL_TCP,
  name: 'tcp',
  states: TCP_STATE_NAMES.map(
    (name, state): ProtocolState => ({
      name,
      timeoutS: TCP_TIMEOUTS_S[state],
      isActive: isActiveTcpState(state),
      isOver: isOverTcpState(state),
      isEnding: state === TCP_STATE.CLOSE_WAIT || state === TCP_STATE.LAST_ACK,
      halfOpenQueue: halfOpenQueues[state],
    }),
  ),
  headerLength: TCP_HEADER_LENGTH,
}
