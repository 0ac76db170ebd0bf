/**
 * The VRRP transport on a real interface: a raw IPv4 socket (raw(7), ip(7)) of protocol 112.
 *
 * The package's own send() waits for the event loop and starves while packets keep coming in, and its receiver takes one
 * packet a turn. Its native half underneath is used instead: sending acts at once, and drain() empties the kernel's queue.
 */
import type { Socket } from 'raw-socket'
import { DirectorError } from '../../../protocol/errors.ts'
import { parseIPv4, writeInt32 } from '../../../protocol/packet/bytes.ts'
import {
  PROTOCOL_VRRP,
  readVrrpPacket,
  VRRP_GROUP_IPV4,
  VRRP_HOP_LIMIT,
  type VrrpDatagram,
} from '../../../protocol/packet/vrrp.ts'
import type { VrrpTransport } from './vrrp-transport.ts'

/** asm-generic/socket.h and linux/in.h. */
const SOL_SOCKET = 1
const SO_RCVBUF = 8
const SO_PRIORITY = 12
const SO_BINDTODEVICE = 25
const IPPROTO_IP = 0
const IP_TOS = 1
const IP_MULTICAST_IF = 32
const IP_MULTICAST_TTL = 33
const IP_MULTICAST_LOOP = 34
const IP_ADD_MEMBERSHIP = 35
const IP_MULTICAST_ALL = 49

/** Class selector 6, internetwork control, and the queue that goes with it (TC_PRIO_CONTROL in linux/pkt_sched.h). */
const TOS_INTERNETWORK_CONTROL = 0xc0
const PRIORITY_CONTROL = 7
const RECEIVE_BUFFER_BYTES = 256 * 1024
/** The longest advertisement: IP header with options, 255 addresses. */
const LONGEST_PACKET = 60 + 8 + 255 * 4
/** One drain() takes no more, so that a flood cannot hold the event loop. */
const LONGEST_DRAIN = 256

export interface VrrpSocketOptions {
  readonly interfaceName: string
  /** Kernel's number of the interface. */
  readonly interfaceIndex: number
  /** The interface's primary IPv4 address: source of what is sent. */
  readonly sourceAddress: string
}

export interface VrrpSocket extends VrrpTransport {
  /** What the socket could not do, or threw away, by reason. */
  readonly counters: { sendErrors: number; receiveErrors: number; unsoundPackets: number }
  /** Text of the last error of sending or receiving; undefined: none yet. */
  readonly lastError: string | undefined
}

/**
 * Opens the socket and joins the group.
 * @throws DirectorError MODULE_MISSING, PRIVILEGE_MISSING or INTERFACE_MISSING
 */
export async function openVrrpSocket(options: VrrpSocketOptions): Promise<VrrpSocket> {
  const socket = await createRawSocket()
  try {
    configure(socket, options)
  } catch (error) {
    socket.close()
    throw explain(error as Error, options.interfaceName)
  }
  return new RawVrrpSocket(socket)
}

class RawVrrpSocket implements VrrpSocket {
  readonly counters = { sendErrors: 0, receiveErrors: 0, unsoundPackets: 0 }
  lastError: string | undefined
  readonly #socket: Socket
  readonly #buffer = Buffer.alloc(LONGEST_PACKET)
  #handler: ((datagram: VrrpDatagram) => void) | undefined
  #closed = false

  constructor(socket: Socket) {
    this.#socket = socket
    socket.on('message', (packet: Buffer) => this.#receive(packet))
    socket.on('error', (error: Error) => this.#failedToReceive(error))
  }

  send(message: Uint8Array): void {
    if (this.#closed) return
    try {
      this.#socket.wrap.send(Buffer.from(message), 0, message.length, VRRP_GROUP_IPV4, () => {})
    } catch (error) {
      this.counters.sendErrors++
      this.lastError = (error as Error).message
    }
  }

  onDatagram(handler: (datagram: VrrpDatagram) => void): void {
    this.#handler = handler
  }

  drain(): void {
    for (let taken = 0; taken < LONGEST_DRAIN && !this.#closed; taken++) {
      let length = 0
      try {
        this.#socket.wrap.recv(this.#buffer, (_, received) => {
          length = received
        })
      } catch (error) {
        this.#failedToReceive(error as Error)
        return
      }
      this.#receive(this.#buffer.subarray(0, length))
    }
  }

  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#socket.close()
  }

  #receive(packet: Buffer): void {
    // The buffer is used again for the next packet: the handler gets its own copy.
    const read = readVrrpPacket(Uint8Array.from(packet))
    if (read.ok) this.#handler?.(read.datagram)
    else this.counters.unsoundPackets++
  }

  #failedToReceive(error: Error): void {
    if (isEmpty(error)) return
    this.counters.receiveErrors++
    this.lastError = error.message
  }
}

async function createRawSocket(): Promise<Socket> {
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
    return module.createSocket({ protocol: PROTOCOL_VRRP, bufferSize: LONGEST_PACKET })
  } catch (error) {
    throw new DirectorError(
      'PRIVILEGE_MISSING',
      `VRRP needs a raw socket (${firstLine(error as Error)}): run as root or with CAP_NET_RAW`,
    )
  }
}

function configure(socket: Socket, options: VrrpSocketOptions): void {
  const set = (level: number, option: number, value: number | Buffer) =>
    typeof value === 'number'
      ? socket.setOption(level, option, value)
      : socket.setOption(level, option, value, value.length)
  const membership = multicastRequest(options)
  set(SOL_SOCKET, SO_BINDTODEVICE, Buffer.from(`${options.interfaceName}\0`))
  set(SOL_SOCKET, SO_RCVBUF, RECEIVE_BUFFER_BYTES)
  set(IPPROTO_IP, IP_MULTICAST_ALL, 0)
  set(IPPROTO_IP, IP_ADD_MEMBERSHIP, membership)
  set(IPPROTO_IP, IP_MULTICAST_IF, membership)
  set(IPPROTO_IP, IP_MULTICAST_TTL, VRRP_HOP_LIMIT)
  set(IPPROTO_IP, IP_MULTICAST_LOOP, 0)
  set(IPPROTO_IP, IP_TOS, TOS_INTERNETWORK_CONTROL)
  set(SOL_SOCKET, SO_PRIORITY, PRIORITY_CONTROL)
}

/** struct ip_mreqn: group, own address, interface index in the machine's order (both supported machines: little endian). */
function multicastRequest(options: VrrpSocketOptions): Buffer {
  const request = Buffer.alloc(12)
  writeInt32(request, 0, parseIPv4(VRRP_GROUP_IPV4))
  writeInt32(request, 4, parseIPv4(options.sourceAddress))
  request.writeInt32LE(options.interfaceIndex, 8)
  return request
}

function explain(error: Error, interfaceName: string): DirectorError {
  if (/not permitted|denied/.test(error.message)) {
    return new DirectorError(
      'PRIVILEGE_MISSING',
      `${interfaceName}: VRRP's socket cannot be set up (${error.message}): run as root or with CAP_NET_RAW`,
    )
  }
  return new DirectorError(
    'INTERFACE_MISSING',
    `${interfaceName}: cannot take part in VRRP (${error.message}): the interface must exist, be up and have an IPv4 address`,
  )
}

/** EAGAIN: the package reports errors by their text alone. */
function isEmpty(error: Error): boolean {
  return /temporarily unavailable/i.test(error.message)
}

function firstLine(error: Error): string {
  return error.message.split('\n')[0]
}
