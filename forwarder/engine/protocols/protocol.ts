/**
 * What the director has to know of a transport protocol: one such table a protocol, each in a file of its own, like the
 * protocols of Linux net/netfilter/ipvs (struct ip_vs_protocol).
 *
 * How a packet moves the state is not in here but a function of each protocol, called by its name: the packet path must not
 * find its way through an object that is another one for every packet.
 */

/** States of a protocol; a state takes four bits where states are packed. */
export const STATES = 16

export const NOT_HALF_OPEN = -1

export interface ProtocolState {
  /** As ipvsadm prints it. */
  readonly name: string
  readonly timeoutS: number
  /** Counts as active on its server. */
  readonly isActive?: boolean
  /** The connection has ended, and the next one may begin between the same ports. */
  readonly isOver?: boolean
  /** One side has ended it, and the other is about to. */
  readonly isEnding?: boolean
  /** Given up first when the table is full: the number of its queue. */
  readonly halfOpenQueue?: number
}

export interface Protocol {
  /** IP's number. */
  readonly number: number
  /** As services name it. */
  readonly name: 'tcp' | 'udp' | 'sctp'
  /** By state number; a connection begins in state 0. */
  readonly states: readonly ProtocolState[]
  /** Shortest header that tells a packet's connection and moves its state. */
  readonly headerLength: number
}
