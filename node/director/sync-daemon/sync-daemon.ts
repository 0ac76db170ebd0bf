/**
 * What is to be known of a daemon of the kernel's sync protocol: ipvsadm's --start-daemon and its options, and their defaults.
 *
 * Source: Linux net/netfilter/ipvs/ip_vs_sync.c start_sync_thread().
 */
import { parseIPv4, writeInt32 } from '../../../protocol/packet/bytes.ts'
import { ADDRESS_BYTES, isIPv6Text, parseIPv6, writeIPv6Words } from '../../../protocol/packet/ipv6-address.ts'

export type SyncDaemonState = 'master' | 'backup'

export interface SyncDaemon {
  readonly state: SyncDaemonState
  readonly interface: string
  /** Stamped on what a master sends; a backup takes only what has its own, or everything with 0. */
  readonly syncId: number
  /** Longest datagram, bytes, without IP and UDP header. */
  readonly maxLength: number
  /** Multicast address, IPv4 or IPv6 text. */
  readonly group: string
  readonly port: number
  readonly ttl: number
}

const IPV4_AND_UDP_LENGTH = 28
const IPV6_AND_UDP_LENGTH = 48
const MASTER_MTU = 1500
const BACKUP_LENGTH_MIN = 1024
const DATAGRAM_MAX = 65_535

/** The longest datagram: as asked for, within what the kernel allows, or what fits the interface. */
export function longestDatagram(state: SyncDaemonState, asked: number | undefined, mtu: number, family: 4 | 6): number {
  const headers = family === 6 ? IPV6_AND_UDP_LENGTH : IPV4_AND_UDP_LENGTH
  const least = state === 'backup' ? BACKUP_LENGTH_MIN : 1
  if (asked) return Math.min(Math.max(asked, least), DATAGRAM_MAX - headers)
  return (state === 'backup' ? Math.min(Math.max(mtu, MASTER_MTU), DATAGRAM_MAX) : MASTER_MTU) - headers
}

/** The bytes of an IP address: 4 or 16. The text must be one, without a zone. */
export function addressBytes(text: string): Uint8Array {
  const bytes = new Uint8Array(isIPv6Text(text) ? ADDRESS_BYTES : 4)
  if (isIPv6Text(text)) writeIPv6Words(bytes, 0, parseIPv6(text))
  else writeInt32(bytes, 0, parseIPv4(text))
  return bytes
}
