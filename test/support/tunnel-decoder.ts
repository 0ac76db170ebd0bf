/**
 * Takes a tunnel's frame apart by the RFCs, without a line of the forwarder's: what the outer header says, what follows it, what
 * is inside. Anything that is not as it must be is an error with its reason.
 */
export interface Tunnelled {
  type: 'ipip' | 'gre' | 'gue'
  source: string
  destination: string
  ttl: number
  tos: number
  identification: number
  dontFragment: boolean
  /** Of the tunnel's own header. */
  checksum: 'none' | 'good'
  /** Of GUE. */
  ports?: [source: number, destination: number]
  /** Offsets into the packet inside: where its checksum begins to count, and where it belongs. */
  remote?: [start: number, field: number]
  /** From its IP header on. */
  packet: Uint8Array
}

const word = (bytes: Uint8Array, at: number) => bytes[at] * 256 + bytes[at + 1]
const dotted = (bytes: Uint8Array) => bytes.join('.')

/** RFC 1071: 0xffff when the bytes hold their checksum. */
export function onesComplementSum(bytes: Uint8Array, initial = 0): number {
  let total = initial
  for (let at = 0; at < bytes.length; at += 2) total += bytes[at] * 256 + (bytes[at + 1] ?? 0)
  while (total > 0xffff) total = (total % 0x10000) + Math.floor(total / 0x10000)
  return total
}

export function openTunnel(frame: Uint8Array): Tunnelled {
  if (word(frame, 12) !== 0x0800) throw new Error('not IPv4 in Ethernet')
  const ip = frame.subarray(14)
  if (ip[0] !== 0x45) throw new Error('not an IPv4 header of 20 bytes')
  if (word(ip, 2) !== ip.length) throw new Error(`IP length ${word(ip, 2)} of ${ip.length} bytes`)
  if (onesComplementSum(ip.subarray(0, 20)) !== 0xffff) throw new Error('wrong IP checksum')
  const content = ip.subarray(20)
  const outer = {
    source: dotted(ip.subarray(12, 16)),
    destination: dotted(ip.subarray(16, 20)),
    ttl: ip[8],
    tos: ip[1],
    identification: word(ip, 4),
    dontFragment: (ip[6] & 0x40) !== 0,
  }
  if (ip[9] === 4) return { type: 'ipip', ...outer, checksum: 'none', packet: content }
  if (ip[9] === 47) return { type: 'gre', ...outer, ...openGre(content) }
  if (ip[9] !== 17) throw new Error(`protocol ${ip[9]} is no tunnel`)
  return { type: 'gue', ...outer, ...openGue(content, onesComplementSum(ip.subarray(12, 20), 17 + content.length)) }
}

function openGre(gre: Uint8Array): Pick<Tunnelled, 'checksum' | 'packet'> {
  if (word(gre, 2) !== 0x0800) throw new Error('GRE without IPv4')
  if (word(gre, 0) === 0) return { checksum: 'none', packet: gre.subarray(4) }
  if (word(gre, 0) !== 0x8000) throw new Error(`GRE flags ${word(gre, 0)}`)
  if (word(gre, 6) !== 0) throw new Error('GRE reserved bytes')
  if (onesComplementSum(gre) !== 0xffff) throw new Error('wrong GRE checksum')
  return { checksum: 'good', packet: gre.subarray(8) }
}

function openGue(udp: Uint8Array, pseudoHeader: number): Pick<Tunnelled, 'checksum' | 'ports' | 'remote' | 'packet'> {
  if (word(udp, 4) !== udp.length) throw new Error(`UDP length ${word(udp, 4)} of ${udp.length} bytes`)
  const hasChecksum = word(udp, 6) !== 0
  if (hasChecksum && onesComplementSum(udp, pseudoHeader) !== 0xffff) throw new Error('wrong UDP checksum')
  const common = {
    checksum: hasChecksum ? ('good' as const) : ('none' as const),
    ports: [word(udp, 0), word(udp, 2)] as [number, number],
  }
  const gue = udp.subarray(8)
  if (gue[1] !== 4) throw new Error('GUE without IPv4')
  if (gue[0] === 0 && word(gue, 2) === 0) return { ...common, packet: gue.subarray(4) }
  if (gue[0] !== 2 || word(gue, 2) !== 1 || word(gue, 4) !== 0x8000 || word(gue, 6) !== 0) throw new Error('GUE header')
  return { ...common, remote: [word(gue, 8), word(gue, 10)], packet: gue.subarray(12) }
}
