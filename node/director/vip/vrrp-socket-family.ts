/** What the VRRP sockets of the two address families have apart from each other. */
import type { Decoded, VrrpDatagram } from '../../../protocol/packet/vrrp.ts'
import type { Clock } from '../clock.ts'

export interface VrrpSocketOptions {
  readonly interfaceName: string
  /** Kernel's number of the interface. */
  readonly interfaceIndex: number
  /** Source of what is sent: the interface's primary IPv4 address, or the link-local address that the kernel sends from. */
  readonly sourceAddress: string
  /** Messages come to the source address, from peers that are named, and not to the group; of IPv4 both are heard. */
  readonly isUnicast?: boolean
  /** Of IPv6: virtual addresses, each with the number of the interface where it is answered for. */
  readonly virtualAddresses?: readonly { readonly address: string; readonly interfaceIndex: number }[]
  /** A line for the log: what cannot be sent, and why; at once, and then every ten minutes at most. */
  readonly warn?: (message: string) => void
  /** For that; really, unless given. */
  readonly clock?: Pick<Clock, 'now'>
}

/** Sets one option: setsockopt(2). */
export type SetOption = (level: number, option: number, value: number | Uint8Array) => void

export interface VrrpSocketFamily {
  /** As raw-socket numbers them. */
  readonly addressFamily: 1 | 2
  readonly longestPacket: number
  /** What an interface must have to take part, for the operator. */
  readonly needs: string
  /** Lets in no packets of groups but those that the socket has joined; SO_BINDTODEVICE is set. */
  configure(set: SetOption, options: VrrpSocketOptions): void
  /** Joins the groups whose packets are to come in. */
  join(set: SetOption, options: VrrpSocketOptions): void
  /** Leaves them; the kernel refuses it for those that the socket is not in. */
  leave(set: SetOption, options: VrrpSocketOptions): void
  /** What recvfrom(2) gave; `sender` is its text of that. */
  read(packet: Uint8Array, sender: string, options: VrrpSocketOptions): Decoded<{ readonly datagram: VrrpDatagram }>
}
