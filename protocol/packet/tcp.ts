/** TCP header (RFC 9293 section 3.1): field offsets from its first byte. */
export const TCP_HEADER_LENGTH = 20

export const TCP = {
  sourcePort: 0,
  destinationPort: 2,
  sequence: 4,
  acknowledgement: 8,
  dataOffset: 12,
  flags: 13,
  window: 14,
  checksum: 16,
} as const

export const TCP_FIN = 1
export const TCP_SYN = 2
export const TCP_RST = 4
export const TCP_PSH = 8
export const TCP_ACK = 16
export const TCP_CWR = 128

/** Length in bytes of the TCP header at `at`, options included; may be nonsense on nonsense input. */
export function tcpHeaderLength(bytes: Uint8Array, at: number): number {
  return (bytes[at + TCP.dataOffset] >> 4) << 2
}
