/**
 * One virtual router with its effects: its timer, its advertisements, the state of its addresses in the forwarder and their
 * announcement. The decisions are virtual-router.ts's.
 *
 * The addresses' states follow: active while the router is; for LINGER_MS after that lingering, since neighbours still send to
 * us until they have heard the successor; then standby.
 */
import type { VirtualAddress } from '../../../forwarder/commands.ts'
import type { Forwarder } from '../../../forwarder/forwarder.ts'
import { formatMac } from '../../../protocol/packet/bytes.ts'
import { isIPv6Text } from '../../../protocol/packet/ipv6-address.ts'
import { virtualRouterMac } from '../../../protocol/packet/virtual-router-mac.ts'
import type { DecodedAdvertisement, VrrpChecksum, VrrpDatagram, VrrpRefusal } from '../../../protocol/packet/vrrp.ts'
import { encodeAdvertisement, PRIORITY_RESIGN, vrrpGroupOf } from '../../../protocol/packet/vrrp.ts'
import type { SharedKey } from '../../../protocol/shared-key.ts'
import { type Clock, sleep } from '../clock.ts'
import type { VipStatus } from '../control/answers.ts'
import { announcementFrames, announcementTime, BURST_LENGTH_MS } from './announcements.ts'
import { Authentication } from './authentication.ts'
import type { Reign } from './ended-reigns.ts'
import { PeerRules } from './peer-rules.ts'
import type { RunScript } from './run-script.ts'
import type { ScriptChecks } from './script-checks.ts'
import { StatusScript } from './status-script.ts'
import type { SyncGroup, SyncMember } from './sync-group.ts'
import { stallTolerance, successionTime, usurpationTime } from './timing.ts'
import { Tracking } from './tracking.ts'
import type { VipConfig } from './vip-config.ts'
import { type RouterAction, type RouterInput, type RouterState, VirtualRouter } from './virtual-router.ts'
import type { VrrpTransport } from './vrrp-transport.ts'

const LINGER_MS = 2000
/** After a successor is heard, its announcements and the frames on their way are waited for. */
const SETTLE_MS = BURST_LENGTH_MS + 50
/** An orderly stop never takes longer, however slow the pool's advertisements are. */
const LONGEST_STOP_MS = 15_000
/** What a stop waits for the script that is told of it. */
const LONGEST_SCRIPT_MS = 2000
/** After so long what did not get out is tried again. */
const RETRY_MS = 1000

/** Who has found out that a group can take no part. */
type Finder = 'service' | 'tracking' | 'sender' | 'sync-group'

/** What the service lends to each of its groups. */
export interface VipGroupComponents {
  /** Of the group's family. */
  readonly transport: VrrpTransport
  readonly clock: Clock
  /** Milliseconds since 1970. */
  readonly wallClockMs: () => number
  /** That sign and are believed, if the group's configuration asks for authentication. */
  readonly keys: readonly SharedKey[]
  readonly forwarder: Pick<Forwarder, 'transmit' | 'mac'>
  readonly isInSync: () => boolean
  readonly onOvertaken: () => void
  /** It was active until now. */
  readonly onEnded: (reign: Reign) => void
  readonly runScript: RunScript
  /** Runs what groups track. */
  readonly checks: Pick<ScriptChecks, 'add'>
  /** That it moves together with; undefined: it moves alone. */
  readonly syncGroup: SyncGroup | undefined
  /** The states of this group's addresses have changed. */
  readonly addressesChanged: () => void
  /** The status has changed in something that an operator or another part waits for. */
  readonly statusChanged: () => void
  readonly note: (message: string) => void
}

export class VipGroup implements SyncMember {
  readonly config: VipConfig
  readonly #links: { readonly outside: string; readonly inside: string }
  readonly #components: VipGroupComponents
  readonly #router: VirtualRouter
  readonly #tracking: Tracking
  readonly #script: StatusScript | undefined
  /** Why the group can take no part, by who found out. */
  readonly #faults = new Map<Finder, string>()
  /** The one that the router knows of. */
  #knownFault: string | undefined
  #inSync = false
  #cancelTimer = () => {}
  #cancelAnnouncement = () => {}
  #cancelLinger = () => {}
  #cancelRetry = () => {}
  /** Since when this host has let nothing out, to whomever; undefined: it did the last time. */
  #unheardSinceMs: number | undefined
  #addressState: VirtualAddress['state'] = 'standby'
  #activeSinceMs: number | null = null
  #hasBeenActive = false
  /** When another router was first heard to be active since the addresses were given up; undefined: not yet. */
  #succeededMs: number | undefined
  /** How the last peer computed its checksum: it is answered in the same way. */
  #checksum: VrrpChecksum = 'pseudo-header'
  #lastStatus = ''
  readonly #destinations: readonly string[]
  /** The virtual one; undefined: that of the interface. */
  readonly #mac: Uint8Array | undefined
  readonly #authentication: Authentication | undefined
  readonly #peers: PeerRules
  #successorHeard: (() => void) | undefined

  constructor(
    config: VipConfig,
    links: { readonly outside: string; readonly inside: string },
    components: VipGroupComponents,
  ) {
    this.config = config
    this.#links = links
    this.#components = components
    const { address } = components.transport
    // One list may serve all directors: who finds itself in it means the others.
    this.#destinations = config.unicastPeers?.filter((peer) => peer !== address) ?? [vrrpGroupOf(address)]
    this.#mac = config.virtualMac ? virtualRouterMac(config.vrid, this.#family === 6) : undefined
    this.#router = new VirtualRouter({
      address,
      priority: config.priority,
      intervalMs: config.advertisementIntervalMs,
      preempt: config.preempt,
      preemptDelayMs: config.preemptDelayMs,
      version: config.version,
      isGrouped: components.syncGroup !== undefined,
    })
    components.syncGroup?.add(this)
    this.#tracking = new Tracking(config.priority, config.track)
    const { clock, wallClockMs, runScript, keys } = components
    const note = (message: string) => components.note(`${this.name}: ${message}`)
    const { authentication } = config
    this.#authentication =
      authentication && new Authentication(keys, authentication.required, { clock, wallClockMs, note })
    this.#peers = new PeerRules(config, address, this.#authentication, note)
    this.#script = config.onStatus && new StatusScript(config.onStatus, runScript, note)
    for (const [index, script] of (config.track?.scripts ?? []).entries()) {
      components.checks.add(script, (failure) => {
        this.#tracking.setScript(index, failure)
        this.#applyTracking()
      })
    }
  }

  /** As the log has it: of a family each, two groups may have one number. */
  get name(): string {
    return `vrid ${this.config.vrid}${this.#family === 6 ? ' (IPv6)' : ''}`
  }

  /** In one word. */
  get #scriptName(): string {
    return `vrid-${this.config.vrid}${this.#family === 6 ? '-ipv6' : ''}`
  }

  get #family(): 4 | 6 {
    return isIPv6Text(this.config.addresses[0]) ? 6 : 4
  }

  get transport(): VrrpTransport {
    return this.#components.transport
  }

  /** As of now: of one that has ended, to be told to others. */
  get reign(): Reign {
    const { holder } = this.#router
    return { vrid: this.config.vrid, family: this.#family, ...(holder !== null && { holder }) }
  }

  get virtualAddresses(): VirtualAddress[] {
    const common = { state: this.#addressState, ...(this.#mac && { mac: this.#mac }) }
    return this.#placed().map((placed) => ({ ...placed, ...common }))
  }

  get status(): VipStatus {
    return {
      vrid: this.config.vrid,
      state: this.#router.state,
      priority: this.config.priority,
      effectivePriority: this.#router.effectivePriority,
      tracked: this.#tracking.status,
      syncGroup: this.config.syncGroup ?? null,
      addresses: [...this.config.addresses],
      gateway: this.config.gateway ?? null,
      virtualMac: this.#mac === undefined ? null : formatMac(this.#mac),
      advertisementIntervalMs: this.config.advertisementIntervalMs,
      holder: this.#router.holder,
      activeSinceMonotonicMs: this.#activeSinceMs,
      waiting: this.#router.waiting,
    }
  }

  start(): void {
    this.#applyTracking()
    this.#step({ kind: 'start' })
  }

  /**
   * Resigns and keeps forwarding until it is safe to stop: a successor is heard and its announcements are out, or nobody has
   * come in the time that the slowest successor would take. So it is after a resignation for a fault, which may be why it stops.
   */
  async stop(isForwarding: boolean): Promise<void> {
    const { clock } = this.#components
    this.#step({ kind: 'stop' })
    this.#cancelLinger()
    this.#cancelRetry()
    if (this.#addressState === 'lingering' && isForwarding) {
      if (this.#succeededMs === undefined) await this.#succession()
      const settledMs = (this.#succeededMs ?? clock.now()) + SETTLE_MS
      if (settledMs > clock.now()) await sleep(clock, settledMs - clock.now())
    }
    this.#place('standby')
    await this.#script?.end(clock, LONGEST_SCRIPT_MS)
  }

  /** The forwarder or a link has failed (a reason), or is well again (undefined). */
  setFault(reason: string | undefined): void {
    this.#setFault('service', reason)
  }

  get state(): RouterState {
    return this.#router.state
  }

  get isReady(): boolean {
    return this.#router.isReady
  }

  get ownFault(): string | undefined {
    return this.#faults.get('service') ?? this.#faults.get('tracking') ?? this.#faults.get('sender')
  }

  activate(): void {
    this.#step({ kind: 'activate' })
  }

  yield(reason: string): void {
    this.#step({ kind: 'yield', reason })
  }

  /** Whether it has been active, and is not any more. */
  get hasEnded(): boolean {
    return this.#hasBeenActive && this.state !== 'active'
  }

  /** Another director was active, too, or may have been: what is active here announces the addresses again when it next speaks. */
  contested(reason: string): void {
    this.#step({ kind: 'contested', reason })
  }

  setSyncFault(reason: string | undefined): void {
    this.#setFault('sync-group', reason)
  }

  /** An interface that may be tracked has failed (a reason), or is well again (undefined). */
  setLink(name: string, fault: string | undefined): void {
    this.#tracking.setLink(name, fault)
    this.#applyTracking()
  }

  /** An advertisement for this virtual router; says why it is not believed, if it is not. */
  hear(datagram: VrrpDatagram, decoded: DecodedAdvertisement): VrrpRefusal | undefined {
    const from = datagram.source
    const refusal = this.#peers.refusalOf(datagram, decoded)
    if (refusal !== undefined) return refusal
    const { advertisement, checksum } = decoded
    this.#checksum = checksum
    this.#peers.compare(from, advertisement)
    const { priority, intervalMs } = advertisement
    this.#step({ kind: 'advertisement', from, priority, intervalMs })
    if (priority === PRIORITY_RESIGN) return undefined
    this.#leaveTo(from)
    this.#succeededMs ??= this.#components.clock.now()
    this.#successorHeard?.()
    return undefined
  }

  /** The keys of its configuration's key file. */
  setKeys(keys: readonly SharedKey[]): void {
    this.#authentication?.setKeys(keys)
  }

  #setFault(finder: Finder, reason: string | undefined): void {
    if (this.#faults.get(finder) === reason) return
    if (reason === undefined) this.#faults.delete(finder)
    else this.#faults.set(finder, reason)
    // The sync group first: what ends here may go on in another member, and must not seem to be over in between.
    if (finder !== 'sync-group') this.#components.syncGroup?.faultChanged()
    const fault = this.#fault
    if (fault === this.#knownFault) return
    this.#knownFault = fault
    this.#step(fault === undefined ? { kind: 'cleared' } : { kind: 'fault', reason: fault })
  }

  /** Whoever is active too while nothing of ours gets out does not hear of us: there would be two for as long as that lasts. */
  #leaveTo(from: string): void {
    if (this.state !== 'active' || this.#unheardSinceMs === undefined) return
    const unheardMs = this.#components.clock.now() - this.#unheardSinceMs
    if (unheardMs < usurpationTime(this.config.advertisementIntervalMs)) return
    this.#setFault('sender', `${from} is active too, and hears nothing: advertisements do not get out`)
    this.#resignAgain()
  }

  /** The resignation is what shows when something gets out again: it takes nothing from the one that is active. */
  #resignAgain(): void {
    this.#cancelRetry = this.#components.clock.schedule(RETRY_MS, () => {
      this.#advertise(PRIORITY_RESIGN)
      if (this.#unheardSinceMs === undefined) this.#setFault('sender', undefined)
      else this.#resignAgain()
    })
  }

  get #fault(): string | undefined {
    return this.ownFault ?? this.#faults.get('sync-group')
  }

  #applyTracking(): void {
    const { priority, fault } = this.#tracking
    if (this.config.track) this.#step({ kind: 'priority', priority })
    this.#setFault('tracking', fault)
  }

  /** Resolves when another router is heard to be active, or when nobody can be expected any more. */
  #succession(): Promise<void> {
    const { clock } = this.#components
    const limitMs = Math.min(successionTime(this.config.advertisementIntervalMs), LONGEST_STOP_MS)
    return new Promise((resolve) => {
      const cancelLimit = clock.schedule(limitMs, resolve)
      this.#successorHeard = () => {
        cancelLimit()
        resolve()
      }
    })
  }

  #step(input: RouterInput): void {
    const nowMs = this.#components.clock.now()
    const inSync = this.#components.isInSync()
    const before = this.#router.state
    if (inSync !== this.#inSync) {
      this.#inSync = inSync
      this.#perform(this.#router.handle({ kind: 'sync', inSync }, nowMs), nowMs)
    }
    this.#perform(this.#router.handle(input, nowMs), nowMs)
    const { state, effectivePriority } = this.#router
    if (state !== before) this.#script?.tell(this.#scriptName, state, effectivePriority)
    this.#components.syncGroup?.settle(this, before)
    const status = JSON.stringify(this.status)
    if (status === this.#lastStatus) return
    this.#lastStatus = status
    this.#components.statusChanged()
  }

  #perform(actions: readonly RouterAction[], nowMs: number): void {
    for (const action of actions) {
      switch (action.kind) {
        case 'advertise':
          this.#advertise(action.priority)
          break
        case 'become':
          this.#components.note(`${this.name}: ${action.state}: ${action.reason}`)
          if (action.state === 'active') this.#takeOver(nowMs)
          else if (this.#addressState === 'active') this.#giveUp()
          break
        case 'arm':
          this.#cancelTimer()
          this.#cancelTimer = this.#at(action.dueMs, () => this.#timeout())
          break
        case 'disarm':
          this.#cancelTimer()
          break
        case 'announce':
          this.#announce(nowMs)
          break
        case 'overtaken':
          this.#components.onOvertaken()
          break
        case 'note':
          this.#components.note(`${this.name}: ${action.message}`)
          break
      }
    }
  }

  /** What has arrived is looked at before the timer decides: it may say that there is nothing to decide. */
  #timeout(): void {
    this.#components.transport.drain()
    this.#step({ kind: 'timer' })
  }

  #advertise(priority: number): void {
    const { version, vrid, addresses, advertisementIntervalMs: intervalMs } = this.config
    const advertisement = { version, vrid, priority, intervalMs, addresses }
    const { transport } = this.#components
    // To named peers from the interface's own: a frame would have to know the MAC of each, or of the router on the way to it.
    const groupMac = this.config.unicastPeers ? undefined : this.#mac
    let isOut = false
    for (const destination of this.#destinations) {
      const message = encodeAdvertisement(advertisement, transport.address, destination, this.#checksum)
      const signed = this.#authentication?.sign(message, transport.address, destination)
      if (transport.send(signed ?? message, destination, groupMac)) isOut = true
    }
    if (isOut) this.#unheardSinceMs = undefined
    else this.#unheardSinceMs ??= this.#components.clock.now()
  }

  #takeOver(nowMs: number): void {
    this.#cancelLinger()
    this.#unheardSinceMs = undefined
    this.#activeSinceMs = nowMs
    this.#hasBeenActive = true
    this.#place('active')
    this.#announce(nowMs)
  }

  #giveUp(): void {
    this.#cancelAnnouncement()
    this.#activeSinceMs = null
    this.#succeededMs = undefined
    this.#place('lingering')
    this.#components.onEnded(this.reign)
    this.#cancelLinger = this.#components.clock.schedule(LINGER_MS, () => this.#place('standby'))
  }

  #place(state: VirtualAddress['state']): void {
    if (state === this.#addressState) return
    this.#addressState = state
    this.#components.addressesChanged()
  }

  #announce(startMs: number): void {
    this.#cancelAnnouncement()
    const { forwarder, clock } = this.#components
    const frames = this.#placed().flatMap(({ address, link }) =>
      announcementFrames(address, this.#mac ?? forwarder.mac(link)).map((frame) => ({ link, frame })),
    )
    const { advertisementIntervalMs: intervalMs } = this.config
    const round = (number: number, beganMs: number) => {
      const dueMs = beganMs + announcementTime(number)
      if (clock.now() - dueMs >= stallTolerance(intervalMs)) {
        // After a standstill somebody else may have the addresses, and would not hear of this: the router listens first.
        const listenedMs = clock.now() + 2 * intervalMs
        this.#cancelAnnouncement = this.#at(listenedMs, () => round(number, beganMs + listenedMs - dueMs))
        return
      }
      for (const { link, frame } of frames) forwarder.transmit(link, frame)
      this.#cancelAnnouncement = this.#at(beganMs + announcementTime(number + 1), () => round(number + 1, beganMs))
    }
    round(0, startMs)
  }

  /** By the time at which it is due, so that one late timer does not make the next one late. */
  #at(dueMs: number, task: () => void): () => void {
    const { clock } = this.#components
    return clock.schedule(Math.max(0, dueMs - clock.now()), task)
  }

  /** Every address of the group and the link it belongs to: they move together. */
  #placed(): { address: string; link: string }[] {
    const placed = this.config.addresses.map((address) => ({ address, link: this.#links.outside }))
    if (this.config.gateway !== undefined) placed.push({ address: this.config.gateway, link: this.#links.inside })
    return placed
  }
}
