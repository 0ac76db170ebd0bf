/**
 * The VRRP transport on a real interface, of either family: it hears by a raw socket (raw(7)) of protocol 112, and sends whole IP
 * packets by another one. The kernel would take the source of what it puts headers in front of from the addresses that the interface
 * has by then, of IPv6 the newest above all, and peers believe no message whose checksum is over another.
 *
 * The raw-socket package's own receiver takes one packet a turn of the event loop. Its native half underneath is used besides:
 * drain() empties the kernel's queue at once.
 *
 * What goes out from a virtual router MAC does so as a frame, through a socket that is opened when it is first needed.
 */
import type { Socket } from 'raw-socket'
import { type FrameSender, openFrameSender } from '../../../forwarder/sys/frame-sender.ts'
import { openPacketSender, type PacketSender } from '../../../forwarder/sys/packet-sender.ts'
import { DirectorError } from '../../../protocol/errors.ts'
import { isIPv6Text } from '../../../protocol/packet/ipv6-address.ts'
import { advertisementFrame } from '../../../protocol/packet/virtual-router-mac.ts'
import { PROTOCOL_VRRP, type VrrpDatagram } from '../../../protocol/packet/vrrp.ts'
import { vrrpPacket } from '../../../protocol/packet/vrrp-packet.ts'
import { systemClock } from '../clock.ts'
import type { VrrpSocketStatus } from '../control/answers.ts'
import { RareNotes } from '../rare-notes.ts'
import type { SetOption, VrrpSocketFamily, VrrpSocketOptions } from './vrrp-socket-family.ts'
import { vrrpOverIPv4 } from './vrrp-socket-ipv4.ts'
import { vrrpOverIPv6 } from './vrrp-socket-ipv6.ts'
import type { VrrpTransport } from './vrrp-transport.ts'

/** asm-generic/socket.h. */
const SOL_SOCKET = 1
const SO_RCVBUF = 8
const SO_BINDTODEVICE = 25

/** What is sent is queued as internetwork control (TC_PRIO_CONTROL in linux/pkt_sched.h). */
const PRIORITY_CONTROL = 7
const RECEIVE_BUFFER_BYTES = 256 * 1024
/** One drain() takes no more, so that a flood cannot hold the event loop. */
const LONGEST_DRAIN = 256

export interface VrrpSocket extends VrrpTransport {
  readonly status: VrrpSocketStatus
  /**
   * Is in its groups for certain when it returns. The kernel forgets them with what an interface has of the family, which goes when its MTU
   * gets too small for that, and remembers that the socket has joined: so it leaves first.
   * @throws DirectorError as openVrrpSocket()
   */
  joinAgain(): void
  /** Called once if it has been lost, and hears nothing any more. It still sends. */
  onFailure(handler: (error: Error) => void): void
}

/**
 * Opens the socket of the source address's family, and joins the group unless it is for named peers.
 * @throws DirectorError MODULE_MISSING, PRIVILEGE_MISSING, INTERFACE_MISSING, or FORWARDER_FAILED when there are too many groups
 */
export async function openVrrpSocket(options: VrrpSocketOptions): Promise<VrrpSocket> {
  const isIPv6 = isIPv6Text(options.sourceAddress)
  const family = isIPv6 ? vrrpOverIPv6 : vrrpOverIPv4
  const socket = await createRawSocket(family)
  try {
    configure(socket, family, options)
    return new RawVrrpSocket(socket, openPacketSender(options.interfaceName, isIPv6, PRIORITY_CONTROL), family, options)
  } catch (error) {
    socket.close()
    throw explain(error as Error, family, options.interfaceName)
  }
}

class RawVrrpSocket implements VrrpSocket {
  readonly address: string
  readonly #counters = { sendErrors: 0, receiveErrors: 0, unsoundPackets: 0 }
  #lastError: string | null = null
  readonly #notes: RareNotes
  readonly #socket: Socket
  readonly #packets: PacketSender
  readonly #family: VrrpSocketFamily
  readonly #options: VrrpSocketOptions
  readonly #buffer: Buffer
  #frames: FrameSender | undefined
  #handler: ((datagram: VrrpDatagram) => void) | undefined
  #closed = false
  #failure: Error | undefined
  #failed: (error: Error) => void = () => {}

  constructor(socket: Socket, packets: PacketSender, family: VrrpSocketFamily, options: VrrpSocketOptions) {
    this.#socket = socket
    this.#packets = packets
    this.#family = family
    this.#options = options
    this.address = options.sourceAddress
    this.#notes = new RareNotes(options.clock ?? systemClock, options.warn ?? (() => {}))
    this.#buffer = Buffer.alloc(family.longestPacket)
    // What came before the socket knew its interface, group and filter may be from anywhere.
    this.drain()
    socket.on('message', (packet: Buffer, source: string) => this.#receive(packet, source))
    // Without an error it is epoll(7)'s. The package closes the socket then, and opens another one, in no group, when it is next read from.
    socket.on('error', (error?: Error) => error && this.#failedToReceive(error))
    socket.on('close', () => this.#lose())
  }

  get status(): VrrpSocketStatus {
    return { address: this.address, ...this.#counters, lastError: this.#lastError }
  }

  send(message: Uint8Array, destination: string, groupMac?: Uint8Array): boolean {
    if (this.#closed) return false
    try {
      if (groupMac) this.#sendFrame(advertisementFrame(message, this.address, groupMac))
      else this.#packets.send(vrrpPacket(message, this.address, destination))
      return true
    } catch (error) {
      this.#counters.sendErrors++
      this.#lastError = (error as Error).message
      this.#notes.tell('send', `VRRP from ${this.address} does not get out, peers may take over: ${this.#lastError}`)
      return false
    }
  }

  onDatagram(handler: (datagram: VrrpDatagram) => void): void {
    this.#handler = handler
  }

  joinAgain(): void {
    const set = optionsOf(this.#socket)
    const setIfPossible: SetOption = (level, option, value) => {
      try {
        set(level, option, value)
      } catch {
        // It is not in the group: the last time it could not be joined.
      }
    }
    this.#family.leave(setIfPossible, this.#options)
    try {
      this.#family.join(set, this.#options)
    } catch (error) {
      throw explain(error as Error, this.#family, this.#options.interfaceName)
    }
  }

  onFailure(handler: (error: Error) => void): void {
    this.#failed = handler
    if (this.#failure) handler(this.#failure)
  }

  drain(): void {
    for (let taken = 0; taken < LONGEST_DRAIN && !this.#closed && !this.#failure; taken++) {
      let length = 0
      let source = ''
      try {
        this.#socket.wrap.recv(this.#buffer, (_, received, sender) => {
          length = received
          source = sender
        })
      } catch (error) {
        this.#failedToReceive(error as Error)
        return
      }
      this.#receive(this.#buffer.subarray(0, length), source)
    }
  }

  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#socket.close()
    this.#packets.close()
    this.#frames?.close()
  }

  #sendFrame(frame: Uint8Array): void {
    const { interfaceName, interfaceIndex } = this.#options
    this.#frames ??= openFrameSender(interfaceName, interfaceIndex, PRIORITY_CONTROL)
    this.#frames.send(frame)
  }

  #receive(packet: Buffer, source: string): void {
    if (!this.#handler) return
    // The buffer is used again for the next packet: the handler gets its own copy.
    const read = this.#family.read(Uint8Array.from(packet), source, this.#options)
    if (read.ok) this.#handler(read.datagram)
    else this.#counters.unsoundPackets++
  }

  #lose(): void {
    if (this.#closed || this.#failure) return
    this.#failure = new DirectorError('FORWARDER_FAILED', `the kernel has ended VRRP's socket of ${this.address}`)
    this.#failed(this.#failure)
  }

  #failedToReceive(error: Error): void {
    if (isEmpty(error)) return
    this.#counters.receiveErrors++
    this.#lastError = error.message
  }
}

async function createRawSocket({ addressFamily, longestPacket }: VrrpSocketFamily): Promise<Socket> {
  let module: typeof import('raw-socket').default
  try {
    module = (await import('raw-socket')).default
  } catch (error) {
    throw new DirectorError(
      'MODULE_MISSING',
      `raw-socket is not built for this Node (${firstLine(error as Error)}): run director setup`,
    )
  }
  try {
    return module.createSocket({ protocol: PROTOCOL_VRRP, addressFamily, bufferSize: longestPacket })
  } catch (error) {
    throw new DirectorError(
      'PRIVILEGE_MISSING',
      `VRRP needs a raw socket (${firstLine(error as Error)}): run as root or with CAP_NET_RAW`,
    )
  }
}

function optionsOf(socket: Socket): SetOption {
  return (level, option, value) =>
    typeof value === 'number'
      ? socket.setOption(level, option, value)
      : socket.setOption(level, option, Buffer.from(value), value.length)
}

function configure(socket: Socket, family: VrrpSocketFamily, options: VrrpSocketOptions): void {
  const set = optionsOf(socket)
  set(SOL_SOCKET, SO_BINDTODEVICE, Buffer.from(`${options.interfaceName}\0`))
  set(SOL_SOCKET, SO_RCVBUF, RECEIVE_BUFFER_BYTES)
  family.configure(set, options)
  family.join(set, options)
}

function explain(error: Error, family: VrrpSocketFamily, interfaceName: string): DirectorError {
  if (error instanceof DirectorError) return error
  if (/not permitted|denied/.test(error.message)) {
    return new DirectorError(
      'PRIVILEGE_MISSING',
      `${interfaceName}: VRRP's socket cannot be set up (${error.message}): run as root or with CAP_NET_RAW`,
    )
  }
  return new DirectorError(
    'INTERFACE_MISSING',
    `${interfaceName}: cannot take part in VRRP (${error.message}): the interface must exist, be up and have ${family.needs}`,
  )
}

/** EAGAIN: the package reports errors by their text alone. */
function isEmpty(error: Error): boolean {
  return /temporarily unavailable/i.test(error.message)
}

function firstLine(error: Error): string {
  return error.message.split('\n')[0]
}
