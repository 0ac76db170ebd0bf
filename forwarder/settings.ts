/**
 * The settings that a pool has in common: IPVS's sysctls under their own names, and its timeouts. Plain data: the type, bounds,
 * default and meaning of each, and those of IPVS's that are refused, with the reason.
 *
 * Source: Linux Documentation/networking/ipvs-sysctl.rst; net/netfilter/ipvs/ip_vs_ctl.c vs_vars[]; ip_vs_proto_tcp.c,
 * ip_vs_proto_udp.c and ip_vs_proto_sctp.c (timeouts).
 */
import { LONGEST_TIMEOUT_MS } from '../protocol/wire/connection-record.ts'

/** What the engine reads: numbers by fixed names, in one object whose fields are set anew when a setting changes. */
export interface EngineSettings {
  amDroprate: number
  amemthresh: number
  connReuseMode: number
  dropEntry: number
  dropPacket: number
  expireNodestConn: number
  expireQuiescentTemplate: number
  lblcExpiration: number
  lblcrExpiration: number
  pmtuDisc: number
  runEstimation: number
  secureTcp: number
  sloppySctp: number
  sloppyTcp: number
  timeoutTcpS: number
  timeoutTcpFinS: number
  timeoutUdpS: number
  timeoutTcpNoneS: number
  timeoutTcpSynSentS: number
  timeoutTcpSynRecvS: number
  timeoutTcpTimeWaitS: number
  timeoutTcpCloseS: number
  timeoutTcpCloseWaitS: number
  timeoutTcpLastAckS: number
  timeoutTcpListenS: number
  timeoutTcpSynAckS: number
  timeoutSctpS: number
  timeoutSctpNoneS: number
  timeoutSctpInitS: number
  timeoutSctpRejectedS: number
  timeoutSctpOtherS: number
}

export interface Setting {
  /** What operators call it: IPVS's own name where it has one. */
  readonly name: string
  readonly field: keyof EngineSettings
  /** switch: 0 or 1. mode: one of a few numbers, each with its meaning. */
  readonly type: 'switch' | 'mode' | 'number' | 'seconds' | 'pages'
  readonly minimum: number
  readonly maximum: number
  readonly default: number
  readonly meaning: string
}

/** As far as records between directors reach. */
export const LONGEST_TIMEOUT_S: number = LONGEST_TIMEOUT_MS / 1000

const onOff = (name: string, field: keyof EngineSettings, initial: 0 | 1, meaning: string): Setting => ({
  name,
  field,
  type: 'switch',
  minimum: 0,
  maximum: 1,
  default: initial,
  meaning,
})

const mode = (
  name: string,
  field: keyof EngineSettings,
  maximum: number,
  initial: number,
  meaning: string,
): Setting => ({
  name,
  field,
  type: 'mode',
  minimum: 0,
  maximum,
  default: initial,
  meaning,
})

const seconds = (name: string, field: keyof EngineSettings, initial: number, meaning: string): Setting => ({
  name,
  field,
  type: 'seconds',
  minimum: 1,
  maximum: LONGEST_TIMEOUT_S,
  default: initial,
  meaning,
})

/** A timeout is called what its field is called. */
const timeout = (name: keyof EngineSettings, initial: number, meaning: string): Setting =>
  seconds(name, name, initial, meaning)

const DEFENCE_MODES = '0: never. 1 or 2: while memory is short. 3: always'

export const SETTINGS: readonly Setting[] = [
  {
    name: 'am_droprate',
    field: 'amDroprate',
    type: 'number',
    minimum: 1,
    maximum: 1_000_000,
    default: 10,
    meaning: 'one new connection in so many is dropped by drop_packet in mode 3',
  },
  {
    name: 'amemthresh',
    field: 'amemthresh',
    type: 'pages',
    minimum: 0,
    maximum: 2 ** 31 - 1,
    default: 1024,
    meaning: 'memory is short below so many pages of 4 KiB, of the host, or of free places in the connection table',
  },
  mode(
    'conn_reuse_mode',
    'connReuseMode',
    3,
    1,
    'a SYN for a known connection. 0: follows it. 1: starts a new one if the old is over. 2 or 3: also from FIN_WAIT, with dr and tun',
  ),
  mode(
    'drop_entry',
    'dropEntry',
    3,
    0,
    `end half-open connections and some of the idle ones with few packets. ${DEFENCE_MODES}`,
  ),
  mode('drop_packet', 'dropPacket', 3, 0, `drop some of the packets that ask for a new connection. ${DEFENCE_MODES}`),
  onOff(
    'expire_nodest_conn',
    'expireNodestConn',
    0,
    'end the connections of a server that was removed or is down; a SYN is not given to a server of weight 0',
  ),
  onOff(
    'expire_quiescent_template',
    'expireQuiescentTemplate',
    0,
    'persistence does not hold a client to a server of weight 0',
  ),
  seconds(
    'lblc_expiration',
    'lblcExpiration',
    86_400,
    'scheduler lblc forgets a destination that nobody has asked for so long',
  ),
  seconds(
    'lblcr_expiration',
    'lblcrExpiration',
    86_400,
    "after so long without a change, scheduler lblcr takes the busiest server out of a destination's set",
  ),
  onOff(
    'pmtu_disc',
    'pmtuDisc',
    1,
    'packets too long for a tunnel. 1: their sender is told. 0: the outer packet is cut in fragments',
  ),
  onOff('run_estimation', 'runEstimation', 1, 'estimate rates (vsadm -L --rate)'),
  mode(
    'secure_tcp',
    'secureTcp',
    3,
    0,
    `a stricter TCP state table: with nat a connection is established only when its server has acknowledged the client. ${DEFENCE_MODES}`,
  ),
  onOff('sloppy_sctp', 'sloppySctp', 0, 'an SCTP connection may begin with any packet but an abort'),
  onOff('sloppy_tcp', 'sloppyTcp', 0, 'a TCP connection may begin with any segment but a reset'),
  timeout('timeoutTcpS', 900, 'TCP ESTABLISHED; the first of vsadm --set'),
  timeout('timeoutTcpFinS', 120, 'TCP FIN_WAIT; the second of vsadm --set'),
  timeout('timeoutUdpS', 300, 'UDP; the third of vsadm --set'),
  timeout('timeoutTcpNoneS', 2, 'TCP NONE'),
  timeout('timeoutTcpSynSentS', 120, 'TCP SYN_SENT'),
  timeout('timeoutTcpSynRecvS', 60, 'TCP SYN_RECV'),
  timeout('timeoutTcpTimeWaitS', 120, 'TCP TIME_WAIT'),
  timeout('timeoutTcpCloseS', 10, 'TCP CLOSE'),
  timeout('timeoutTcpCloseWaitS', 60, 'TCP CLOSE_WAIT'),
  timeout('timeoutTcpLastAckS', 30, 'TCP LAST_ACK'),
  timeout('timeoutTcpListenS', 120, 'TCP LISTEN'),
  timeout('timeoutTcpSynAckS', 120, 'TCP SYNACK'),
  timeout('timeoutSctpS', 900, 'SCTP ESTABLISHED'),
  timeout('timeoutSctpNoneS', 2, 'SCTP NONE'),
  timeout('timeoutSctpInitS', 4, 'SCTP INIT1'),
  timeout('timeoutSctpRejectedS', 4, 'SCTP REJECTED'),
  timeout('timeoutSctpOtherS', 61, 'SCTP, every other state'),
]

export interface RefusedSetting {
  readonly name: string
  readonly reason: string
}

/** IPVS's settings that would do nothing here. */
export const REFUSED_SETTINGS: readonly RefusedSetting[] = [
  { name: 'backup_only', reason: 'a director that does not hold the address never takes new connections' },
  {
    name: 'cache_bypass',
    reason: 'a director takes packets for its own addresses alone: there is nowhere to pass them by',
  },
  { name: 'conntrack', reason: 'packets do not pass through netfilter' },
  { name: 'ignore_tunneled', reason: 'a director takes no tunnelled packet apart, so none can come round again' },
  { name: 'nat_icmp_send', reason: "a real server's packet that belongs to no connection is left to the host" },
  { name: 'schedule_icmp', reason: 'every director knows every connection that an ICMP error can be about' },
  { name: 'snat_reroute', reason: "replies leave the way by which their client's packets come" },
  { name: 'sync_persist_mode', reason: 'the pool shares templates and connections alike' },
  { name: 'sync_ports', reason: 'directors share connections over one stream a peer' },
  { name: 'sync_qlen_max', reason: 'what waits to be told is bounded and sent again, never dropped' },
  { name: 'sync_refresh_period', reason: 'a connection is told of again after an eighth of its timeout' },
  { name: 'sync_retries', reason: 'records are numbered, and sent again until they are confirmed' },
  { name: 'sync_sock_size', reason: 'directors share connections over streams, whose buffers the kernel sizes' },
  { name: 'sync_threshold', reason: 'a connection is told of when it is established, and at each change' },
  { name: 'sync_version', reason: 'the pool has a protocol of its own' },
]

/** The settings of a pool in which nobody has set anything. */
export function defaultSettings(): EngineSettings {
  return Object.fromEntries(SETTINGS.map((setting) => [setting.field, setting.default])) as unknown as EngineSettings
}
