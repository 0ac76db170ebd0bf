/**
 * A director's forwarder as a test bench: what engine tests, the 1999 examples, the fuzzer and the benchmarks put frames into
 * and take frames out of. The hosts around it (clients, real servers, a router) exist as addresses and MACs.
 */

import type { Route, VirtualAddress } from '../../forwarder/commands.ts'
import { VNET_HEADER_LENGTH } from '../../forwarder/link/link.ts'
import type { MemoryLink } from '../../forwarder/link/memory-link.ts'
import type { ServiceSpec } from '../../forwarder/service.ts'
import type { EngineSettings } from '../../forwarder/settings.ts'
import { ARP_FRAME_LENGTH, ARP_REPLY, writeArpFrame } from '../../protocol/packet/arp.ts'
import { parseIPv4, parseMac } from '../../protocol/packet/bytes.ts'
import { isIPv6Text, parseIPv6 } from '../../protocol/packet/ipv6-address.ts'
import { unsolicitedAdvertisement } from '../../protocol/packet/neighbour-discovery.ts'
import { RECORD_LENGTH } from '../../protocol/wire/connection-record.ts'
import { MemoryForwarder, type MemoryForwarderOptions } from './memory-forwarder.ts'

export interface DirectorBenchOptions extends Omit<MemoryForwarderOptions, 'startMs' | 'epochMs'> {
  readonly addresses: readonly VirtualAddress[]
  readonly routes: readonly Route[]
  readonly services: readonly ServiceSpec[]
  /** MAC by address of hosts that have answered ARP or neighbour discovery already. */
  readonly neighbours?: Readonly<Record<string, string>>
}

const START_MS = 1_000_000

export class DirectorBench extends MemoryForwarder {
  /** The time that the next breath is given. */
  nowMs = START_MS
  #breathedMs = START_MS

  constructor(options: DirectorBenchOptions) {
    super({ ...options, startMs: START_MS, epochMs: 1_700_000_000_000 })
    this.engine.placeAddresses(
      options.addresses,
      options.links.map((link) => link.name),
    )
    this.engine.setRoutes(options.routes)
    for (const service of options.services) this.engine.services.set(service)
    this.resolve(options.neighbours ?? {})
  }

  /** Changes settings; the others stay. */
  set(settings: Partial<EngineSettings>): void {
    this.engine.applySettings({ ...this.engine.settings, ...settings })
  }

  /** Lets hosts answer the ARP requests and solicitations of the forwarder, as far as it has sent any, and forgets those requests. */
  resolve(neighbours: Readonly<Record<string, string>>): void {
    this.nowMs += 1024
    this.loop.breathe(this.nowMs)
    for (const link of this.links) link.take()
    for (const [address, mac] of Object.entries(neighbours)) {
      for (const link of this.links) {
        if (isIPv6Text(address)) {
          link.inject(unsolicitedAdvertisement(parseIPv6(address), parseMac(mac)))
          continue
        }
        const frame = new Uint8Array(ARP_FRAME_LENGTH)
        writeArpFrame(frame, 0, link.mac, {
          operation: ARP_REPLY,
          senderMac: parseMac(mac),
          senderAddress: parseIPv4(address),
          targetMac: link.mac,
          targetAddress: 0,
        })
        link.inject(frame)
      }
    }
    this.breathe()
    for (const link of this.links) link.take()
  }

  /** One frame in on a link, one breath, and what came out: by link name, without virtio headers. */
  send(linkName: string, frame: Uint8Array, vnetHeader?: Uint8Array): Sent[] {
    // The loop has not stood still until now.
    if (this.nowMs !== this.#breathedMs) this.loop.breathe(this.nowMs)
    this.link(linkName).inject(frame, vnetHeader)
    return this.breathe()
  }

  breathe(): Sent[] {
    this.#breathedMs = this.nowMs
    this.loop.breathe(this.nowMs)
    return this.links.flatMap((link) =>
      link.take().map((bytes) => ({
        link: link.name,
        vnetHeader: bytes.subarray(0, VNET_HEADER_LENGTH),
        frame: bytes.subarray(VNET_HEADER_LENGTH),
      })),
    )
  }

  link(name: string): MemoryLink {
    const link = this.links.find((candidate) => candidate.name === name)
    if (link === undefined) throw new RangeError(`no link ${name}`)
    return link
  }
}

/** Takes what a director has to tell its peers. */
export function told(bench: DirectorBench): Uint8Array[] {
  const records: Uint8Array[] = []
  for (let at = bench.outgoing.peek(); at >= 0; at = bench.outgoing.peek()) {
    records.push(bench.outgoing.bytes.slice(at, at + RECORD_LENGTH))
    bench.outgoing.advance()
  }
  return records
}

/** A peer's record comes to a director. Returns whether it is taken. */
export function tell(bench: DirectorBench, record: Uint8Array): boolean {
  const isTaken = bench.engine.replication.apply(record, 0)
  // The way to the client may be asked for.
  bench.breathe()
  return isTaken
}

export interface Sent {
  link: string
  vnetHeader: Uint8Array
  frame: Uint8Array
}
