/** UDP header (RFC 768): field offsets from its first byte. A checksum of 0 means that there is none. */
export const UDP_HEADER_LENGTH = 8

/** The key exchange of IPsec (RFC 2408). */
export const PORT_ISAKMP = 500

export const UDP = { sourcePort: 0, destinationPort: 2, length: 4, checksum: 6 } as const
