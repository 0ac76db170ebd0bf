/**
 * The VIP service: every configured group of virtual addresses, on one VRRP transport, with the forwarder that owns them.
 *
 * Liveness and ownership are VRRP's alone (RFC 9568); whether this director is in sync is asked of the caller each time it
 * matters. Runs on the main thread, where raw sockets work.
 */
import type { Forwarder } from '../../../forwarder/forwarder.ts'
import { decodeAdvertisement, type VrrpDatagram, type VrrpRefusal } from '../../../protocol/packet/vrrp.ts'
import { type Clock, systemClock } from '../clock.ts'
import type { VipStatus } from '../control/api.ts'
import { type VipConfig, VipGroup } from './vip-group.ts'
import type { VrrpTransport } from './vrrp-transport.ts'

export interface VipOptions {
  readonly vips: readonly VipConfig[]
  /** Primary address of the outside interface: advertisements come from it, and it breaks ties. */
  readonly sourceAddress: string
  /** Names of the forwarder's links. `inside` carries the gateways; the outside unless given. */
  readonly outside: string
  readonly inside?: string
}

export interface VipComponents {
  readonly transport: VrrpTransport
  readonly forwarder: Pick<Forwarder, 'setVirtualAddresses' | 'transmit' | 'mac'>
  /** Whether this director's table is as good as its peers'. Asked often; must be cheap. */
  readonly isInSync: () => boolean
  readonly clock?: Clock
  /** One line for the log: a change of state and why, a peer set up differently, a stall. */
  readonly note?: (message: string) => void
}

/** Reasons of our own beside the codec's: nobody here has that VRID; the sender has our address. */
export type VipRefusal = VrrpRefusal | 'unknown-vrid' | 'own-address'

export class VipService {
  /** Advertisements that were not believed, by reason. */
  readonly refusals: Partial<Record<VipRefusal, number>> = {}
  readonly #options: VipOptions
  readonly #components: VipComponents
  readonly #groups: readonly VipGroup[]
  readonly #handlers: ((status: VipStatus[]) => void)[] = []

  constructor(options: VipOptions, components: VipComponents) {
    this.#options = options
    this.#components = components
    const links = { outside: options.outside, inside: options.inside ?? options.outside }
    const lent = {
      transport: components.transport,
      forwarder: components.forwarder,
      isInSync: components.isInSync,
      clock: components.clock ?? systemClock,
      note: components.note ?? (() => {}),
      addressesChanged: () => this.#placeAddresses(),
      statusChanged: () => this.#publish(),
    }
    this.#groups = options.vips.map((vip) => new VipGroup(vip, options.sourceAddress, links, lent))
  }

  get status(): VipStatus[] {
    return this.#groups.map((group) => group.status)
  }

  /** Called after every change of state, holder or reason to wait. */
  onChange(handler: (status: VipStatus[]) => void): void {
    this.#handlers.push(handler)
  }

  start(): void {
    this.#components.transport.onDatagram((datagram) => this.#receive(datagram))
    this.#placeAddresses()
    for (const group of this.#groups) group.start()
  }

  /** Hands every address over in order and closes the transport. When it resolves, the forwarder may stop. */
  async stop(): Promise<void> {
    await Promise.all(this.#groups.map((group) => group.stop()))
    this.#components.transport.close()
  }

  /** Gives everything up at once because of `reason`, or, with undefined, takes part again. */
  setFault(reason: string | undefined): void {
    for (const group of this.#groups) group.setFault(reason)
  }

  #receive(datagram: VrrpDatagram): void {
    const decoded = decodeAdvertisement(datagram)
    const group = decoded.ok && this.#groups.find(({ config }) => config.vrid === decoded.advertisement.vrid)
    if (decoded.ok && group && datagram.source !== this.#options.sourceAddress) {
      group.hear(datagram.source, decoded.advertisement, decoded.checksum)
      return
    }
    const reason = !decoded.ok ? decoded.reason : group ? 'own-address' : 'unknown-vrid'
    this.refusals[reason] = (this.refusals[reason] ?? 0) + 1
  }

  #placeAddresses(): void {
    this.#components.forwarder.setVirtualAddresses(this.#groups.flatMap((group) => group.virtualAddresses))
  }

  #publish(): void {
    const status = this.status
    for (const handler of this.#handlers) handler(status)
  }
}
