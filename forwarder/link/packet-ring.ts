/**
 * A link over a kernel interface: an AF_PACKET ring to receive in place, sendmmsg(2) to transmit without a copy of ours.
 *
 * The kernel fills the slots in order and hands each over by its status word; a frame stays in its slot, writable, until
 * release() hands the slot back. transmit() only notes where a frame lies: in this ring, in another link's, or in
 * memory from allocateFrameMemory(). The virtio header lies directly before the frame, so that both are one piece.
 *
 * Status words are read and written with Atomics, which order the frame's bytes against them on every processor that
 * Node runs on. The ring holds little-endian words; the processor must be little endian, as x86-64 and arm64 are here.
 *
 * Frames leave through the interface's queueing discipline: going around it (PACKET_QDISC_BYPASS) saves about 0.1 us of
 * 2.3 us a frame on veth, but loses the bursts that a card's own queue cannot take, and hides the frames from tcpdump.
 */
import { EBADF, ENETDOWN, ENODEV, ENXIO } from '../sys/errors.ts'
import { interfaceFacts } from '../sys/interface.ts'
import { MessageBatch } from '../sys/message-batch.ts'
import {
  CAPTURED_WORD,
  LENGTH_WORD,
  OFFSETS_WORD,
  openPacketSocket,
  type PacketSocket,
  TP_STATUS_KERNEL,
  TP_STATUS_USER,
} from '../sys/packet-socket.ts'
import { type Frame, type Link, type LinkStatistics, VNET_HEADER_LENGTH } from './link.ts'

export interface PacketRingOptions {
  /** Frames that may wait to be received; each takes 65,728 bytes of kernel memory. Default 2046, rounded up to 31s. */
  readonly slots?: number
  /** Frames that transmit() takes between two flushes, 1 to 1024. Default 512. */
  readonly transmitQueue?: number
}

/** Refusals that the next message will meet too. */
const interfaceGone = [ENETDOWN, ENXIO, ENODEV, EBADF].map((number) => -number)

export class PacketRingLink implements Link {
  readonly name: string
  readonly mac: Uint8Array
  readonly mtu: number
  readonly statistics: LinkStatistics
  /** For PollSet: readable while a frame waits. */
  readonly descriptor: number

  readonly #socket: PacketSocket
  readonly #words: Int32Array
  /** Of each slot, its first word's index in #words. */
  readonly #slotWords: Int32Array
  readonly #queue: MessageBatch
  #isOpen = true
  #next = 0
  #held = 0
  #queued = 0
  #queuedBytes = 0
  #lost = 0

  /** @throws DirectorError INTERFACE_MISSING, PRIVILEGE_MISSING or MODULE_MISSING */
  constructor(interfaceName: string, { slots = 2046, transmitQueue = 512 }: PacketRingOptions = {}) {
    const facts = interfaceFacts(interfaceName)
    this.name = interfaceName
    this.mac = facts.mac
    this.mtu = facts.mtu
    this.#queue = new MessageBatch(transmitQueue)
    this.#socket = openPacketSocket(interfaceName, facts, slots)
    this.descriptor = this.#socket.descriptor
    this.#words = new Int32Array(this.#socket.ring.buffer)
    this.#slotWords = this.#socket.slotOffsets.map((offset) => offset / 4)

    const overruns = () => this.#countLost()
    this.statistics = {
      receivedFrames: 0,
      receivedBytes: 0,
      transmittedFrames: 0,
      transmittedBytes: 0,
      transmitErrors: 0,
      /** Asks the kernel: read it when somebody wants to know, not once a batch. */
      get overruns() {
        return overruns()
      },
    }
  }

  receive(frames: Frame[]): number {
    if (!this.#isOpen) return 0
    const words = this.#words
    const slots = this.#slotWords.length
    let count = 0
    let bytes = 0
    while (count < frames.length && this.#held < slots) {
      const word = this.#slotWords[this.#next]
      if ((Atomics.load(words, word) & TP_STATUS_USER) === 0) break
      this.#next = this.#next + 1 === slots ? 0 : this.#next + 1
      this.#held++
      const length = words[word + LENGTH_WORD]
      if (words[word + CAPTURED_WORD] !== length) {
        this.#lost++
        continue
      }
      const frame = frames[count++]
      frame.memory = this.#socket.ring.frames
      frame.start = word * 4 + (words[word + OFFSETS_WORD] & 0xffff)
      frame.length = length
      bytes += length
    }
    this.statistics.receivedFrames += count
    this.statistics.receivedBytes += bytes
    return count
  }

  transmit(frame: Frame): boolean {
    if (this.#queued === this.#queue.capacity || !this.#isOpen) {
      this.statistics.transmitErrors++
      return false
    }
    const { start, length } = frame
    this.#queue.set(this.#queued++, frame.memory, start - VNET_HEADER_LENGTH, length + VNET_HEADER_LENGTH)
    this.#queuedBytes += length
    return true
  }

  flush(): void {
    const queued = this.#queued
    if (queued === 0) return
    let refused = 0
    let next = 0
    while (next < queued) {
      const sent = this.#queue.send(this.descriptor, next, queued - next)
      if (sent > 0) {
        next += sent
        continue
      }
      // Only the first message was refused: leave it out and go on. Every turn takes at least one message off.
      const until = interfaceGone.includes(sent) ? queued : next + 1
      for (; next < until; next++) {
        refused++
        this.#queuedBytes -= this.#queue.length(next) - VNET_HEADER_LENGTH
      }
    }
    this.statistics.transmittedFrames += queued - refused
    this.statistics.transmittedBytes += this.#queuedBytes
    this.statistics.transmitErrors += refused
    this.#queued = 0
    this.#queuedBytes = 0
  }

  release(): void {
    const slots = this.#slotWords.length
    let slot = this.#next - this.#held
    if (slot < 0) slot += slots
    for (; this.#held > 0; this.#held--) {
      Atomics.store(this.#words, this.#slotWords[slot], TP_STATUS_KERNEL)
      slot = slot + 1 === slots ? 0 : slot + 1
    }
  }

  /**
   * Lets frames to these MACs come in too, besides those to the interface's own.
   * @throws DirectorError
   */
  takeMacs(macs: readonly Uint8Array[]): void {
    if (this.#isOpen) this.#socket.takeMacs(macs)
  }

  close(): void {
    if (!this.#isOpen) return
    this.#countLost()
    this.#isOpen = false
    this.#held = 0
    this.#queued = 0
    this.#queuedBytes = 0
    this.#socket.close()
  }

  #countLost(): number {
    if (this.#isOpen) this.#lost += this.#socket.takeDrops()
    return this.#lost
  }
}
