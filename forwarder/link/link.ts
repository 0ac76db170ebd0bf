/**
 * A link: where frames enter and leave. A breath is receive, handle each frame in place, flush, release.
 *
 * Frame memory contract, the same for every link:
 * - `bytes[start - VNET_HEADER_LENGTH .. start)` is a struct virtio_net_hdr (linux/virtio_net.h, little endian here:
 *   flags u8, gso_type u8, hdr_len u16, gso_size u16, csum_start u16, csum_offset u16) that says whether the transport
 *   checksum is unfinished and whether the frame is longer than the wire allows and will be cut by the sender.
 *   csum_start counts from `start`.
 * - before that lie at least HEADROOM writable bytes, so that an outer header can be put in front in place.
 * - a received frame stays valid and writable until release().
 */
export const VNET_HEADER_LENGTH = 10
export const HEADROOM = 64
/** The largest frame a link carries: 64 KiB of IP and its Ethernet header. */
export const MAX_FRAME_LENGTH = 65_536 + 14

export const VNET_NEEDS_CSUM = 1
/** Where csum_start is in the header. */
export const VNET_CHECKSUM_START = 6
export const VNET_GSO_NONE = 0
export const VNET_GSO_TCPV4 = 1
export const VNET_GSO_TCPV6 = 4
export const VNET_GSO_UDP_L4 = 5

/** Memory that frames live in. `address` is where the kernel sees bytes[0], split so that no BigInt is needed. */
export interface FrameMemory {
  readonly bytes: Uint8Array
  /** The same memory; one load instead of four where a field of a packet is read. */
  readonly view: DataView
  readonly addressHigh: number
  readonly addressLow: number
}

/** One frame; the object is reused from frame to frame. */
export interface Frame {
  memory: FrameMemory
  /** Offset of the first Ethernet byte in memory.bytes. */
  start: number
  /** Length in bytes from the Ethernet header to the last payload byte, without the frame check sequence. */
  length: number
}

/** Frames for receive() to fill; each is made once and used again and again. */
export function createFrames(count: number): Frame[] {
  const memory: FrameMemory = {
    bytes: new Uint8Array(0),
    view: new DataView(new ArrayBuffer(0)),
    addressHigh: 0,
    addressLow: 0,
  }
  return Array.from({ length: count }, () => ({ memory, start: 0, length: 0 }))
}

export interface Link {
  readonly name: string
  /** 6 bytes. */
  readonly mac: Uint8Array
  readonly mtu: number
  /** Counts of the link's own: frames in, out, frames the kernel refused, frames lost before we saw them. */
  readonly statistics: LinkStatistics
  /** Fills `frames` from its start and returns how many; 0 when nothing waits. Never blocks. Only frames that came in from the network. */
  receive(frames: Frame[]): number
  /** Queues one frame for flush(). It must stay untouched until then. False (and counted) when the queue is full. */
  transmit(frame: Frame): boolean
  /** Hands all queued frames to the network, in order, in as few system calls as possible. */
  flush(): void
  /** Gives every received frame back. */
  release(): void
  close(): void
}

export interface LinkStatistics {
  receivedFrames: number
  receivedBytes: number
  transmittedFrames: number
  transmittedBytes: number
  /** Frames that the kernel or the peer refused. */
  transmitErrors: number
  /** Frames that came while the ring was full. */
  overruns: number
}
