/** ICMP (RFC 792) and the limits on quoting the packet in error (RFC 1812 section 4.3.2.3). */
export const ICMP_HEADER_LENGTH = 8

export const ICMP = { type: 0, code: 1, checksum: 2, rest: 4 } as const

export const ICMP_ECHO_REPLY = 0
export const ICMP_UNREACHABLE = 3
export const ICMP_SOURCE_QUENCH = 4
export const ICMP_ECHO_REQUEST = 8
export const ICMP_TIME_EXCEEDED = 11
export const ICMP_PARAMETER_PROBLEM = 12

export const ICMP_CODE_HOST_UNREACHABLE = 1
export const ICMP_CODE_PORT_UNREACHABLE = 3
export const ICMP_CODE_FRAGMENTATION_NEEDED = 4

/** An ICMP error, IP header included, is at most this long. */
export const ICMP_ERROR_MAX_LENGTH = 576

/** Whether the message quotes a packet that a connection may own: unreachable, quench, time exceeded, parameter problem. */
export function isIcmpError(type: number): boolean {
  return (
    type === ICMP_UNREACHABLE ||
    type === ICMP_SOURCE_QUENCH ||
    type === ICMP_TIME_EXCEEDED ||
    type === ICMP_PARAMETER_PROBLEM
  )
}
