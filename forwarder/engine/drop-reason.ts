/** Why a frame was dropped. Every reason is a counter that an operator can read in `director status`. */
import { DROPPED, type Verdict } from './verdict.ts'

export const DROP_REASONS = [
  'truncated', // the frame ends before its headers do
  'bad-header', // no sound IP header, or an ICMP message with a wrong checksum
  'extension-headers', // more IPv6 extension headers than are walked over
  'fragment', // a fragment of what is not followed: ICMP and SCTP
  'fragment-tiny', // cut in front of the transport header or within it, so as to get past somebody who reads it
  'fragment-overlap', // a fragment with bytes that another one had
  'fragment-limit', // too many datagrams or fragments at once, of all or of one sender
  'fragment-orphan', // its first fragment did not come, or was not forwarded
  'ttl-exceeded', // the packet has travelled too far
  'no-service', // the VIP is ours, the port is not served
  'no-server', // no real server may take a new connection
  'no-call-id', // its service tells clients apart by SIP's Call-ID, and it has none
  'no-connection', // mid-stream, and its connection is not known
  'server-gone', // its real server was removed
  'unproved', // of a server, for a connection that it was not proved to have (tentative-connections.ts)
  'over', // right after a takeover, of a connection that is over: maybe of its next one, of which this director is about to hear
  'late', // a SYN that has waited here while this director stood still, for longer than its client waits before it sends another, to a director that has peers
  'standby', // a new connection, but another director holds the VIP
  'drop-packet', // a new connection, refused by the defence of this name
  'table-full', // no room for a new connection and no half-open one to give up
  'unconfirmed', // its service asks for confirmed sync, and no standby has confirmed it
  'no-route', // no way to the next hop
  'neighbour-pending', // waits for address resolution and there is no room to hold it
  'neighbour-failed', // the next hop does not answer ARP or neighbour discovery
  'too-big', // does not fit into the link's MTU, or what the route carries, and may not be cut
  'martian-source', // no host has the address that it says it is from
  'icmp-unrelated', // an ICMP error that belongs to no connection
  'icmp-limited', // an ICMP answer that the rate limit kept back
  'outbox-full', // no room for a frame of our own
  'ftp-incomplete', // the beginning of an FTP server's reply that must be seen whole, or behind one; the server sends it again
  'unsupported', // a protocol that is not forwarded
] as const

export type DropReason = (typeof DROP_REASONS)[number]

/** The number of a reason: its place among the counters. */
export function dropCode(reason: DropReason): number {
  return DROP_REASONS.indexOf(reason)
}

/** One counter a reason, in memory that other threads may read. */
export class Drops {
  readonly counters: Float64Array

  constructor(shared: SharedArrayBuffer) {
    this.counters = new Float64Array(shared, 0, DROP_REASONS.length)
  }

  static allocate(): SharedArrayBuffer {
    return new SharedArrayBuffer(DROP_REASONS.length * 8)
  }

  add(reason: number, count: number): void {
    this.counters[reason] += count
  }

  /** Counts a dropped frame and returns the verdict. */
  drop(reason: number): Verdict {
    this.counters[reason]++
    return DROPPED
  }

  /** Counts by name. */
  toObject(): Record<string, number> {
    return Object.fromEntries(DROP_REASONS.map((reason, code) => [reason, this.counters[code]]))
  }
}
