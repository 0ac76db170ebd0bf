/**
 * Classic BPF programs that decide in the kernel which frames or packets a socket takes, before anything is copied.
 *
 * struct sock_filter (linux/filter.h): code u16 | jump if true u8 | jump if false u8 | constant u32.
 * struct sock_fprog: count u16 | 8: address of the instructions u64.
 */
import { readInt32, readUint16 } from '../../protocol/packet/bytes.ts'
import { addressOf } from './libc.ts'
import { SO_ATTACH_FILTER, SOL_SOCKET, setOption } from './socket.ts'

// linux/bpf_common.h
const LOAD_WORD = 0x20 // BPF_LD | BPF_W | BPF_ABS
const LOAD_BYTE = 0x30 // BPF_LD | BPF_B | BPF_ABS
const LOAD_HALF_WORD = 0x28 // BPF_LD | BPF_H | BPF_ABS
const LOAD_HALF_WORD_INDEXED = 0x48 // BPF_LD | BPF_H | BPF_IND
const INDEX_BY_HEADER_LENGTH = 0xb1 // BPF_LDX | BPF_B | BPF_MSH: four times the lower half of a byte
const JUMP = 0x05 // BPF_JMP | BPF_JA: by the constant
const JUMP_EQUAL = 0x15 // BPF_JMP | BPF_JEQ | BPF_K
const JUMP_GREATER = 0x25 // BPF_JMP | BPF_JGT | BPF_K
const JUMP_ANY_BIT = 0x45 // BPF_JMP | BPF_JSET | BPF_K
const RETURN = 0x06 // BPF_RET | BPF_K

// linux/filter.h: facts that the kernel knows beside the bytes
const SKF_AD_OFF = 0xffff_f000
const SKF_AD_PROTOCOL = SKF_AD_OFF + 0
const SKF_AD_PKTTYPE = SKF_AD_OFF + 4
const SKF_AD_VLAN_TAG = SKF_AD_OFF + 44
const SKF_AD_VLAN_TAG_PRESENT = SKF_AD_OFF + 48
const SKF_NET_OFF = 0xfff0_0000 // the packet from its network header on, wherever the program's own bytes begin
/** Of a tag: the VLAN's number, below priority and drop eligibility (linux/if_vlan.h VLAN_VID_MASK). */
const VLAN_ID = 0x0fff
// linux/if_packet.h: host 0, broadcast 1, multicast 2, other hosts 3, outgoing 4
const PACKET_MULTICAST = 2
const PACKET_OTHERHOST = 3

export type Instruction = readonly [code: number, ifTrue: number, ifFalse: number, constant: number]

/**
 * Takes frames of these EtherTypes and of no VLAN that are addressed to this host, to all, to a group, or to one of these MACs besides.
 * A tag with VLAN 0 says the frame's priority alone (IEEE 802.1Q section 6.9), and the kernel takes such frames for untagged ones.
 */
export function etherTypeFilter(etherTypes: readonly number[], macs: readonly Uint8Array[] = []): Instruction[] {
  const count = etherTypes.length
  // To leave them takes a JUMP: the others reach no further than 255 instructions.
  const others: Instruction[] = [
    [JUMP_EQUAL, 1, 0, PACKET_OTHERHOST],
    [RETURN, 0, 0, 0],
    ...macs.flatMap((mac, index): Instruction[] => [
      [LOAD_WORD, 0, 0, 0],
      [JUMP_EQUAL, 0, 3, readInt32(mac, 0) >>> 0],
      [LOAD_HALF_WORD, 0, 0, 4],
      [JUMP_EQUAL, 0, 1, readUint16(mac, 4)],
      [JUMP, 0, 0, (macs.length - 1 - index) * 5 + 1],
    ]),
    [RETURN, 0, 0, 0],
  ]
  return [
    [LOAD_BYTE, 0, 0, SKF_AD_PKTTYPE],
    [JUMP_GREATER, 1, 0, PACKET_MULTICAST],
    [JUMP, 0, 0, others.length],
    ...others,
    // The kernel keeps a VLAN tag beside the frame: without this a tagged frame would pass as one of the untagged network.
    [LOAD_BYTE, 0, 0, SKF_AD_VLAN_TAG_PRESENT],
    [JUMP_EQUAL, 2, 0, 0],
    [LOAD_HALF_WORD, 0, 0, SKF_AD_VLAN_TAG],
    [JUMP_ANY_BIT, count + 1, 0, VLAN_ID],
    [LOAD_HALF_WORD, 0, 0, SKF_AD_PROTOCOL],
    ...etherTypes.map((etherType, index): Instruction => [JUMP_EQUAL, count - index, 0, etherType]),
    [RETURN, 0, 0, 0],
    [RETURN, 0, 0, 0xffff_ffff],
  ]
}

/** Takes UDP datagrams to this port; what the program sees begins at the IPv4 header, or behind the IPv6 header. */
export function udpPortFilter(port: number, isIPv6: boolean): Instruction[] {
  const load: Instruction[] = isIPv6
    ? [[LOAD_HALF_WORD, 0, 0, 2]]
    : [
        [INDEX_BY_HEADER_LENGTH, 0, 0, 0],
        [LOAD_HALF_WORD_INDEXED, 0, 0, 2],
      ]
  return [...load, [JUMP_EQUAL, 0, 1, port], [RETURN, 0, 0, 0xffff_ffff], [RETURN, 0, 0, 0]]
}

/** Takes nothing. */
export const nothingFilter: readonly Instruction[] = [[RETURN, 0, 0, 0]]

/** To this many bytes the packets are cut that ipv6HeaderFilter() does not believe. */
export const CUT_HOP_LIMIT = 1
export const CUT_DESTINATION = 2

/**
 * For a raw IPv6 socket, which hands out packets without their IPv6 header: takes those to this address, given as four words,
 * and with this hop limit (any, unless given) whole. Of others it leaves as many bytes as say what was wrong, so that they can be
 * counted.
 */
export function ipv6HeaderFilter(destination: ArrayLike<number>, hopLimit?: number): Instruction[] {
  const checkHopLimit: Instruction[] = [
    [LOAD_BYTE, 0, 0, SKF_NET_OFF + 7],
    [JUMP_EQUAL, 1, 0, hopLimit ?? 0],
    [RETURN, 0, 0, CUT_HOP_LIMIT],
  ]
  return [
    ...(hopLimit === undefined ? [] : checkHopLimit),
    ...Array.from({ length: 4 }).flatMap((_, word): Instruction[] => [
      [LOAD_WORD, 0, 0, SKF_NET_OFF + 24 + word * 4],
      [JUMP_EQUAL, 1, 0, destination[word] >>> 0],
      [RETURN, 0, 0, CUT_DESTINATION],
    ]),
    [RETURN, 0, 0, 0xffff_ffff],
  ]
}

export function attachFilter(descriptor: number, program: readonly Instruction[], what: string): void {
  withFilterProgram(program, (option) => setOption(descriptor, SOL_SOCKET, SO_ATTACH_FILTER, option, what))
}

/** Lends the struct sock_fprog of a program, to be given to SO_ATTACH_FILTER before `attach` returns. */
export function withFilterProgram(program: readonly Instruction[], attach: (option: Uint8Array) => void): void {
  const instructions = new DataView(new ArrayBuffer(program.length * 8))
  for (const [index, [code, ifTrue, ifFalse, constant]] of program.entries()) {
    instructions.setUint16(index * 8, code, true)
    instructions.setUint8(index * 8 + 2, ifTrue)
    instructions.setUint8(index * 8 + 3, ifFalse)
    instructions.setUint32(index * 8 + 4, constant, true)
  }
  const header = new DataView(new ArrayBuffer(16))
  header.setUint16(0, program.length, true)
  header.setBigUint64(8, BigInt(addressOf(instructions.buffer)), true)
  attach(new Uint8Array(header.buffer))
  instructions.getUint8(0) // still in use here, so its memory was there during the call
}
