/**
 * Ethernet between directors, routers and servers, and what every host on it does: learn neighbours' MACs from ARP (RFC 826, gratuitous
 * ARP included), ask for those it does not know, and answer for its own address.
 */
import type { VirtualClock } from '../../node/director/virtual-clock.ts'
import {
  ARP_FRAME_LENGTH,
  ARP_REPLY,
  ARP_REQUEST,
  type ArpMessage,
  isIPv4Arp,
  readArp,
  writeArpFrame,
} from '../../protocol/packet/arp.ts'
import { formatMac, parseIPv4, parseMac } from '../../protocol/packet/bytes.ts'
import { BROADCAST_MAC, ETHERNET_HEADER_LENGTH } from '../../protocol/packet/ethernet.ts'
import { macOf } from './site.ts'

const DELAY_MS = 0.1
const BROADCAST = 'ff:ff:ff:ff:ff:ff'
const UNKNOWN_MAC = new Uint8Array(6)
/** Neighbours are asked again after this. */
const NEIGHBOUR_LIFE_MS = 15_000
const ASK_AGAIN_MS = 200

/** What has gone over the wires so far, by which two runs can be compared. */
export class WireTap {
  frames = 0
  fingerprint = 0

  note(frame: Uint8Array, atMs: number): void {
    this.frames++
    let mixed = this.fingerprint ^ Math.round(atMs * 1000)
    for (let at = 0; at < frame.length; at++) mixed = Math.imul(mixed ^ frame[at], 0x01000193)
    this.fingerprint = mixed >>> 0
  }
}

export class Segment {
  readonly clock: VirtualClock
  readonly #wire: WireTap
  readonly #stations = new Map<string, (frame: Uint8Array) => void>()
  /** Stations whose cable is out, by how many faults. */
  readonly #unplugged = new Map<string, number>()

  constructor(clock: VirtualClock, wire: WireTap) {
    this.clock = clock
    this.#wire = wire
  }

  attach(mac: string, receive: (frame: Uint8Array) => void): void {
    this.#stations.set(mac, receive)
  }

  detach(mac: string): void {
    this.#stations.delete(mac)
  }

  unplug(mac: string): void {
    this.#unplugged.set(mac, (this.#unplugged.get(mac) ?? 0) + 1)
  }

  plug(mac: string): void {
    this.#unplugged.set(mac, (this.#unplugged.get(mac) ?? 0) - 1)
  }

  send(frame: Uint8Array): void {
    const source = formatMac(frame, 6)
    if (this.#isUnplugged(source)) return
    this.#wire.note(frame, this.clock.now())
    this.clock.schedule(DELAY_MS, () => {
      const destination = formatMac(frame)
      if (destination !== BROADCAST) this.#deliver(destination, frame)
      else for (const mac of this.#stations.keys()) if (mac !== source) this.#deliver(mac, frame)
    })
  }

  #deliver(mac: string, frame: Uint8Array): void {
    if (!this.#isUnplugged(mac)) this.#stations.get(mac)?.(frame)
  }

  #isUnplugged(mac: string): boolean {
    return (this.#unplugged.get(mac) ?? 0) > 0
  }
}

export abstract class LanHost {
  readonly address: string
  readonly #segment: Segment
  readonly #mac: Uint8Array
  readonly #number: number
  readonly #neighbours = new Map<number, { mac: Uint8Array; learntMs: number }>()
  readonly #askedMs = new Map<number, number>()

  constructor(segment: Segment, address: string) {
    this.address = address
    this.#segment = segment
    this.#mac = parseMac(macOf(address))
    this.#number = parseIPv4(address)
    segment.attach(macOf(address), (frame) => this.#receive(frame))
  }

  /** An IPv4 packet in its frame. */
  protected abstract receive(frame: Uint8Array): void

  /** Whom this host takes for the holder of an address; undefined: it would have to ask. */
  neighbour(address: string): string | undefined {
    const known = this.#neighbours.get(parseIPv4(address))
    return known && formatMac(known.mac)
  }

  /** Sends a frame whose MACs are still to be filled in; without the next hop's it is lost, and asked for. */
  protected send(nextHop: number, frame: Uint8Array): void {
    const now = this.#segment.clock.now()
    const known = this.#neighbours.get(nextHop)
    if (!known || now - known.learntMs > NEIGHBOUR_LIFE_MS) this.#ask(nextHop, now)
    if (!known) return
    frame.set(known.mac, 0)
    frame.set(this.#mac, 6)
    this.#segment.send(frame)
  }

  #ask(address: number, now: number): void {
    if (now - (this.#askedMs.get(address) ?? Number.NEGATIVE_INFINITY) < ASK_AGAIN_MS) return
    this.#askedMs.set(address, now)
    this.#sayArp(BROADCAST_MAC, ARP_REQUEST, address, UNKNOWN_MAC)
  }

  #receive(frame: Uint8Array): void {
    if (!isIPv4Arp(frame, ETHERNET_HEADER_LENGTH, frame.length - ETHERNET_HEADER_LENGTH)) {
      this.receive(frame)
      return
    }
    const arp = readArp(frame, ETHERNET_HEADER_LENGTH)
    this.#learn(arp)
    if (arp.operation === ARP_REQUEST && arp.targetAddress === this.#number)
      this.#sayArp(arp.senderMac, ARP_REPLY, arp.senderAddress, arp.senderMac)
  }

  #learn({ senderAddress, senderMac }: ArpMessage): void {
    this.#neighbours.set(senderAddress, { mac: senderMac, learntMs: this.#segment.clock.now() })
  }

  #sayArp(destination: Uint8Array, operation: number, targetAddress: number, targetMac: Uint8Array): void {
    const frame = new Uint8Array(ARP_FRAME_LENGTH)
    writeArpFrame(frame, 0, destination, {
      operation,
      senderMac: this.#mac,
      senderAddress: this.#number,
      targetMac,
      targetAddress,
    })
    this.#segment.send(frame)
  }
}
