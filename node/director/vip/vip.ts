/**
 * The VIP service: every configured group of virtual addresses, on one VRRP transport a family, with the forwarder that owns
 * them.
 *
 * Liveness and ownership are VRRP's alone (RFC 9568); whether this director is in sync is asked of the caller each time it
 * matters. Runs on the main thread, where raw sockets work.
 */
import type { Forwarder } from '../../../forwarder/forwarder.ts'
import { isIPv6Text } from '../../../protocol/packet/ipv6-address.ts'
import { decodeAdvertisement, type VrrpDatagram, type VrrpRefusal } from '../../../protocol/packet/vrrp.ts'
import type { SharedKey } from '../../../protocol/shared-key.ts'
import { type Clock, systemClock } from '../clock.ts'
import type { VipStatus } from '../control/answers.ts'
import { EndedReigns, type Reign, type ReignTransport } from './ended-reigns.ts'
import { type RunScript, runScript as runProgram } from './run-script.ts'
import { ScriptChecks } from './script-checks.ts'
import { SyncGroup } from './sync-group.ts'
import type { VipConfig } from './vip-config.ts'
import { VipGroup } from './vip-group.ts'
import type { VrrpTransport } from './vrrp-transport.ts'

export interface VipOptions {
  readonly vips: readonly VipConfig[]
  /** Names of the forwarder's links. `inside` carries the gateways; the outside unless given. */
  readonly outside: string
  readonly inside?: string
  /** By key file: those that groups with authentication name. */
  readonly keys?: VrrpKeys
}

export type VrrpKeys = ReadonlyMap<string, readonly SharedKey[]>

export interface VipComponents {
  /** One for each family that a group is of. */
  readonly transports: readonly VrrpTransport[]
  readonly forwarder: Pick<Forwarder, 'setVirtualAddresses' | 'transmit' | 'mac'>
  /** Whether this director's table is as good as its peers'. Asked often; must be cheap. */
  readonly isInSync: () => boolean
  /** This director stood still, and another has taken over: from now on it is in sync only if it has what that one told meanwhile. */
  readonly onOvertaken: () => void
  /** To the other directors. */
  readonly cluster: ReignTransport
  readonly clock?: Clock
  /** Milliseconds since 1970, for the age of advertisements with authentication; really, unless given. */
  readonly wallClockMs?: () => number
  /** Runs the scripts that groups name; really, unless given. */
  readonly runScript?: RunScript
  /** One line for the log: a change of state and why, a peer set up differently, a stall. */
  readonly note?: (message: string) => void
}

/** Reasons of our own beside the codec's: nobody here has that VRID; the sender has our address. */
export type VipRefusal = VrrpRefusal | 'unknown-vrid' | 'own-address'

export class VipService {
  /** Advertisements that were not believed, by reason. */
  readonly refusals: Partial<Record<VipRefusal, number>> = {}
  readonly #components: VipComponents
  readonly #groups: readonly VipGroup[]
  readonly #checks: ScriptChecks
  /** By subject. */
  readonly #faults = new Map<string, { readonly reason: string; readonly of: string }>()
  readonly #handlers = new Set<(status: VipStatus[]) => void>()

  constructor(options: VipOptions, components: VipComponents) {
    this.#components = components
    const links = { outside: options.outside, inside: options.inside ?? options.outside }
    const { clock = systemClock, runScript = runProgram } = components
    this.#checks = new ScriptChecks(clock, runScript)
    const endedReigns = new EndedReigns({
      transport: components.cluster,
      ended: () => this.#groups.filter(({ hasEnded }) => hasEnded).map(({ reign }) => reign),
      onOther: (reason, reign) => this.#contested(reason, reign),
    })
    const lent = {
      forwarder: components.forwarder,
      isInSync: components.isInSync,
      onOvertaken: components.onOvertaken,
      onEnded: (reign: Reign) => endedReigns.tell(reign),
      clock,
      wallClockMs: components.wallClockMs ?? Date.now,
      runScript,
      checks: this.#checks,
      note: components.note ?? (() => {}),
      addressesChanged: () => this.#placeAddresses(),
      statusChanged: () => this.#publish(),
    }
    const syncGroups = new Map(options.vips.map(({ syncGroup: name = '' }) => [name, new SyncGroup(name)]))
    this.#groups = options.vips.map((vip) => {
      const isIPv6 = isIPv6Text(vip.addresses[0])
      const transport = components.transports.find(({ address }) => isIPv6Text(address) === isIPv6)
      if (!transport) throw new RangeError(`no transport for ${vip.addresses[0]}`)
      const syncGroup = vip.syncGroup === undefined ? undefined : syncGroups.get(vip.syncGroup)
      return new VipGroup(vip, links, { ...lent, transport, syncGroup, keys: keysOf(vip, options.keys) })
    })
  }

  get status(): VipStatus[] {
    return this.#groups.map((group) => group.status)
  }

  /** Called after every change of a group's status. Returns what ends that. */
  onChange(handler: (status: VipStatus[]) => void): () => void {
    this.#handlers.add(handler)
    return () => this.#handlers.delete(handler)
  }

  start(): void {
    for (const transport of this.#components.transports) {
      transport.onDatagram((datagram) => this.#receive(transport, datagram))
    }
    this.#placeAddresses()
    for (const group of this.#groups) group.start()
    this.#checks.start()
  }

  /** From now on these keys count and no others: all the key files of the configuration, read again. */
  setKeys(keys: VrrpKeys): void {
    for (const group of this.#groups) group.setKeys(keysOf(group.config, keys))
  }

  /**
   * Hands every address over in order and closes the transports. When it resolves, the forwarder may stop.
   * @param isForwarding false: it has died, and nothing is gained by waiting for successors
   */
  async stop(isForwarding = true): Promise<void> {
    this.#checks.stop()
    await Promise.all(this.#groups.map((group) => group.stop(isForwarding)))
    for (const transport of this.#components.transports) transport.close()
  }

  /**
   * Gives everything up at once because of `reason`, or, with undefined, takes part again when nothing else is wrong either.
   * @param subject what has failed or is well again
   * @param of the address of a transport concerns the groups of its family alone; the subject itself unless given
   */
  setFault(subject: string, reason: string | undefined, of = subject): void {
    if (reason === undefined) this.#faults.delete(subject)
    else this.#faults.set(subject, { reason, of })
    const { transports } = this.#components
    for (const group of this.#groups) {
      const concerning = [...this.#faults.values()].find(({ of }) =>
        transports.every(({ address }) => address !== of || address === group.transport.address),
      )
      group.setFault(concerning?.reason)
    }
  }

  /** An interface that groups may track, used by the director or not, has failed (a reason) or is well again (undefined). */
  setLink(name: string, fault: string | undefined): void {
    for (const group of this.#groups) group.setLink(name, fault)
  }

  #contested(reason: string, reign?: Reign): void {
    for (const group of this.#groups) {
      const { vrid, family } = group.reign
      const { address } = group.transport
      const isMeant =
        !reign || (reign.vrid === vrid && reign.family === family && (reign.holder ?? address) === address)
      if (isMeant) group.contested(reason)
    }
  }

  #receive(transport: VrrpTransport, datagram: VrrpDatagram): void {
    const reason = this.#deliver(transport, datagram)
    if (reason !== undefined) this.refusals[reason] = (this.refusals[reason] ?? 0) + 1
  }

  /** Says why the datagram is not believed, if it is not. */
  #deliver(transport: VrrpTransport, datagram: VrrpDatagram): VipRefusal | undefined {
    const decoded = decodeAdvertisement(datagram, transport.address)
    if (!decoded.ok) return decoded.reason
    const { vrid } = decoded.advertisement
    const group = this.#groups.find((one) => one.transport === transport && one.config.vrid === vrid)
    if (!group) return 'unknown-vrid'
    if (datagram.source === transport.address) return 'own-address'
    return group.hear(datagram, decoded)
  }

  #placeAddresses(): void {
    this.#components.forwarder.setVirtualAddresses(this.#groups.flatMap((group) => group.virtualAddresses))
  }

  #publish(): void {
    const status = this.status
    for (const handler of this.#handlers) handler(status)
  }
}

function keysOf({ authentication }: VipConfig, keys: VrrpKeys = new Map()): readonly SharedKey[] {
  if (!authentication) return []
  const own = keys.get(authentication.keyFile)
  if (!own) throw new RangeError(`no keys of ${authentication.keyFile}`)
  return own
}
