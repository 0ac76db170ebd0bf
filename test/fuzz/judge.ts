/**
 * Whether a frame is well formed, judged by the RFCs and not by the forwarder's own code: it shares nothing with it but the
 * constants of the virtio header.
 */
import { VNET_GSO_NONE, VNET_NEEDS_CSUM } from '../../forwarder/link/link.ts'

/** Datagrams to this port are the fuzzer's GUE tunnels. */
export const GUE_PORT = 6080

const word = (bytes: Uint8Array, at: number) => bytes[at] * 256 + bytes[at + 1]

/** RFC 1071, with the end-around carry at the end. */
function sum(bytes: Uint8Array, from: number, to: number, initial = 0): number {
  let total = initial
  for (let at = from; at + 1 < to; at += 2) total += bytes[at] * 256 + bytes[at + 1]
  if ((to - from) % 2 === 1) total += bytes[to - 1] * 256
  while (total > 0xffff) total = (total % 0x10000) + Math.floor(total / 0x10000)
  return total
}

function pseudoHeader(bytes: Uint8Array, ip: number, length: number): number {
  return sum(bytes, ip + 12, ip + 20, bytes[ip + 9] + length)
}

/** What is wrong with a frame that the director has sent; undefined when nothing is. */
export function fault(vnetHeader: Uint8Array, frame: Uint8Array, mtu: number): string | undefined {
  if (frame.length < 14) return 'shorter than an Ethernet header'
  if ((frame[6] & 1) !== 0) return 'sent by a group of machines'
  const isWhole = vnetHeader[1] === VNET_GSO_NONE
  if (isWhole && frame.length > 14 + mtu) return 'longer than the MTU'
  const type = word(frame, 12)
  if (type === 0x0806) return arpFault(frame)
  // Address resolution alone is from it.
  if (type === 0x0800 && isVirtualMac(frame, 6)) return 'IPv4 from a virtual MAC'
  if (type === 0x86dd) return ipv6Fault(frame, 14)
  return type === 0x0800 ? ipv4Fault(frame, 14) : `of type ${type}`
}

function isVirtualMac(bytes: Uint8Array, at: number): boolean {
  return word(bytes, at) === 0 && word(bytes, at + 2) === 0x5e00 && (bytes[at + 4] === 1 || bytes[at + 4] === 2)
}

function arpFault(frame: Uint8Array): string | undefined {
  if (frame.length !== 42) return 'ARP of another length'
  if (word(frame, 14) !== 1 || word(frame, 16) !== 0x0800 || word(frame, 18) !== 0x0604) return 'not ARP for IPv4'
  if (word(frame, 20) !== 1 && word(frame, 20) !== 2) return 'neither an ARP request nor a reply'
  const isOwn = frame.subarray(6, 12).every((byte, index) => byte === frame[22 + index])
  return isOwn ? undefined : 'ARP in another’s name'
}

function ipv4Fault(frame: Uint8Array, ip: number): string | undefined {
  const length = frame.length - ip
  if (length < 20 || frame[ip] >> 4 !== 4) return 'not IPv4'
  const headerLength = (frame[ip] & 15) * 4
  const totalLength = word(frame, ip + 2)
  if (headerLength < 20 || headerLength > totalLength) return 'a header of impossible length'
  if (totalLength !== length) return `IP length ${totalLength} in ${length} bytes`
  if (sum(frame, ip, ip + headerLength) !== 0xffff) return 'a wrong IP checksum'
  if (frame[ip + 8] === 0) return 'a TTL of 0'
  // What was cut outside a tunnel is not whole in any of its fragments.
  if (isFragment(frame, ip)) return undefined
  const inside = insideOf(frame, ip, ip + headerLength)
  if (inside === undefined) return undefined
  return typeof inside === 'string' ? inside : ipFault(frame, inside)
}

const isFragment = (frame: Uint8Array, ip: number) => (word(frame, ip + 6) & 0x3fff) !== 0

/** Where the packet inside a tunnel packet begins; undefined: it is none; text: what is wrong with the tunnel's header. */
function insideOf(frame: Uint8Array, ip: number, at: number): number | string | undefined {
  const protocol = frame[ip] >> 4 === 6 ? frame[ip + 6] : frame[ip + 9]
  if (protocol === 4 || protocol === 41) return at
  if (protocol === 47) {
    const hasChecksum = word(frame, at) === 0x8000
    if (word(frame, at) !== 0 && !hasChecksum) return 'GRE with other flags than C'
    if (hasChecksum && sum(frame, at, frame.length) !== 0xffff) return 'a wrong GRE checksum'
    return [0x0800, 0x86dd].includes(word(frame, at + 2)) ? at + (hasChecksum ? 8 : 4) : 'GRE without IP'
  }
  if (protocol !== 17 || word(frame, at + 2) !== GUE_PORT) return undefined
  const length = frame.length - at
  if (word(frame, at + 4) !== length) return 'a wrong UDP length'
  const pseudo = frame[ip] >> 4 === 6 ? sum(frame, ip + 8, ip + 40, 17 + length) : pseudoHeader(frame, ip, length)
  if (word(frame, at + 6) !== 0 && sum(frame, at, frame.length, pseudo) !== 0xffff) {
    return 'a wrong UDP checksum around a tunnel'
  }
  return [4, 41].includes(frame[at + 9]) && frame[at + 8] < 3 ? at + 12 + frame[at + 8] * 4 : 'not GUE with IP'
}

/** Whether the packet at `ip`, just behind a GUE header, has its checksum left to whoever takes it out. */
const isLeftUnfinished = (frame: Uint8Array, ip: number) => frame[ip - 12] === 2 && word(frame, ip - 10) === 1

function ipv6Fault(frame: Uint8Array, ip: number): string | undefined {
  const length = frame.length - ip
  if (length < 40 || frame[ip] >> 4 !== 6) return 'not IPv6'
  if (word(frame, ip + 4) !== length - 40) return `IPv6 payload length ${word(frame, ip + 4)} in ${length} bytes`
  if (frame[ip + 7] === 0) return 'a hop limit of 0'
  const inside = insideOf(frame, ip, ip + 40)
  if (inside === undefined) return undefined
  return typeof inside === 'string' ? inside : ipFault(frame, inside)
}

const ipFault = (frame: Uint8Array, ip: number) => (frame[ip] >> 4 === 6 ? ipv6Fault(frame, ip) : ipv4Fault(frame, ip))

/**
 * Whether the checksum behind the IP header (in a tunnel: behind the inner one) is right, or rightly unfinished. Frames without
 * such a checksum count as right, frames that are no packets as wrong.
 */
export function transportIsRight(vnetHeader: Uint8Array, frame: Uint8Array, ip = 14): boolean {
  if (frame.length >= 14 && word(frame, 12) === 0x0806) return true
  const available = frame.length - ip
  if (available >= 40 && frame[ip] >> 4 === 6) return transportIsRight6(vnetHeader, frame, ip)
  if (available < 20 || frame[ip] >> 4 !== 4) return false
  const headerLength = (frame[ip] & 15) * 4
  const totalLength = word(frame, ip + 2)
  if (headerLength < 20 || totalLength < headerLength || totalLength > available) return false
  if (isFragment(frame, ip)) return true
  const protocol = frame[ip + 9]
  const from = ip + headerLength
  const to = ip + totalLength
  const inside = insideOf(frame, ip, from)
  if (typeof inside === 'string') return false
  if (inside !== undefined) {
    const header = protocol === 17 && isLeftUnfinished(frame, inside) ? leftUnfinished(frame, inside) : vnetHeader
    return transportIsRight(header, frame, inside)
  }
  if (protocol === 132) return to - from >= 12 && crc32c(frame, from, to) === littleEndianWord(frame, from + 8)
  const offset = { 1: 2, 6: 16, 17: 6 }[protocol]
  if (offset === undefined) return true
  if (to - from < (protocol === 6 ? 20 : 8)) return false
  if ((vnetHeader[0] & VNET_NEEDS_CSUM) !== 0) {
    if (protocol === 1) return false
    const start = vnetHeader[6] + vnetHeader[7] * 256
    if (start !== from || vnetHeader[8] + vnetHeader[9] * 256 !== offset) return false
    return sameSum(word(frame, from + offset), pseudoHeader(frame, ip, to - from))
  }
  if (protocol === 1) return sum(frame, from, to) === 0xffff
  if (protocol === 17 && word(frame, from + offset) === 0) return true
  return sum(frame, from, to, pseudoHeader(frame, ip, to - from)) === 0xffff
}

/** The virtio header that says of the packet at `ip` what its GUE header says. */
function leftUnfinished(frame: Uint8Array, ip: number): Uint8Array {
  const start = ip + word(frame, ip - 4)
  const offset = word(frame, ip - 2) - word(frame, ip - 4)
  return Uint8Array.of(VNET_NEEDS_CSUM, 0, 0, 0, 0, 0, start & 255, start >> 8, offset & 255, offset >> 8)
}

/** RFC 9260 appendix A, a bit at a time, over the packet with zeros for its checksum. */
function crc32c(bytes: Uint8Array, from: number, to: number): number {
  let register = 0xffff_ffff
  for (let at = from; at < to; at++) {
    register ^= at >= from + 8 && at < from + 12 ? 0 : bytes[at]
    for (let bit = 0; bit < 8; bit++) register = register & 1 ? (register >>> 1) ^ 0x82f6_3b78 : register >>> 1
  }
  return ~register >>> 0
}

function littleEndianWord(bytes: Uint8Array, at: number): number {
  return new DataView(bytes.buffer, bytes.byteOffset).getUint32(at, true)
}

/** As transportIsRight(), behind an IPv6 header and what extension headers it has. */
function transportIsRight6(vnetHeader: Uint8Array, frame: Uint8Array, ip: number): boolean {
  const to = ip + 40 + word(frame, ip + 4)
  if (to > frame.length) return false
  let protocol = frame[ip + 6]
  let from = ip + 40
  while ([0, 43, 44, 60].includes(protocol)) {
    if (from + 8 > to) return true
    if (protocol === 44 && (word(frame, from + 2) & 0xfff9) !== 0) return true
    const length = protocol === 44 ? 8 : (frame[from + 1] + 1) * 8
    protocol = frame[from]
    from += length
  }
  const inside = from === ip + 40 ? insideOf(frame, ip, from) : undefined
  if (typeof inside === 'string') return false
  if (inside !== undefined) {
    const header = protocol === 17 && isLeftUnfinished(frame, inside) ? leftUnfinished(frame, inside) : vnetHeader
    return transportIsRight(header, frame, inside)
  }
  const offset = { 6: 16, 17: 6, 58: 2 }[protocol]
  if (offset === undefined) return true
  if (to - from < (protocol === 6 ? 20 : protocol === 17 ? 8 : 4)) return false
  const pseudo = sum(frame, ip + 8, ip + 40, protocol + (to - from))
  if ((vnetHeader[0] & VNET_NEEDS_CSUM) !== 0) {
    const start = vnetHeader[6] + vnetHeader[7] * 256
    if (start !== from || vnetHeader[8] + vnetHeader[9] * 256 !== offset) return false
    return sameSum(word(frame, from + offset), pseudo)
  }
  if (protocol === 17 && word(frame, from + offset) === 0) return true
  return sum(frame, from, to, pseudo) === 0xffff
}

/** In one's complement 0 and ffff are the same number. */
function sameSum(one: number, other: number): boolean {
  return one % 0xffff === other % 0xffff
}
