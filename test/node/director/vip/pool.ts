/** A pool of VIP services on a network in memory and a clock that moves only when told to. */
import type { VirtualAddress } from '../../../../forwarder/commands.ts'
import type { Clock } from '../../../../node/director/clock.ts'
import { MemoryNetwork as ClusterNetwork } from '../../../../node/director/cluster/memory-transport.ts'
import type { Transport } from '../../../../node/director/cluster/transport.ts'
import { MemoryNetwork, type MessageFate } from '../../../../node/director/vip/memory-network.ts'
import { VipService, type VrrpKeys } from '../../../../node/director/vip/vip.ts'
import type { VipConfig } from '../../../../node/director/vip/vip-config.ts'
import type { VrrpTransport } from '../../../../node/director/vip/vrrp-transport.ts'
import { VirtualClock } from '../../../../node/director/virtual-clock.ts'
import { createVrrpKey } from '../../../../protocol/packet/vrrp-trailer.ts'

export const VIP = '10.0.0.100'
export const GATEWAY = '172.16.0.1'
export const KEY_FILE = '/etc/linux-director/directors.key'
/** Of the year 2023: what wall clocks show when a pool's clock is at 0. */
export const WALL_START_MS = 1_700_000_000_000
export const VIP6 = '2001:db8:1::100'
export const GATEWAY6 = '2001:db8:2::1'

export function vipConfig(changes: Partial<VipConfig> = {}): VipConfig {
  return {
    vrid: 51,
    version: 3,
    priority: 100,
    advertisementIntervalMs: 50,
    preempt: true,
    preemptDelayMs: 0,
    virtualMac: false,
    addresses: [VIP],
    ...changes,
  }
}

const PEERS = ['10.0.0.1', '10.0.0.2', '10.0.0.3']

export interface Transmitted {
  readonly atMs: number
  readonly link: string
  readonly frame: Uint8Array
}

export class PoolMember {
  readonly address: string
  readonly service: VipService
  readonly transmitted: Transmitted[] = []
  /** Of each advertisement, where it went and the virtual MAC that it went from. */
  readonly advertised: { readonly to: string; readonly from: Uint8Array | undefined }[] = []
  readonly notes: string[] = []
  /** Where its host lets nothing out to. */
  readonly refused = new Set<string>()
  /** For a test to set; false when another has taken over while this one stood still. */
  inSync = true
  /** How far its wall clock is ahead. */
  wallAheadMs = 0
  /** Why tracked scripts fail, by program; the others succeed. */
  readonly failures = new Map<string, string>()
  /** Command lines, in order. */
  readonly scripts: string[] = []
  placed: readonly VirtualAddress[] = []
  readonly cluster: Transport
  readonly #network: MemoryNetwork
  readonly #transports: readonly VrrpTransport[]
  readonly #clock: StallableClock

  constructor(pool: Pool, address: string, vips: readonly VipConfig[]) {
    this.address = address
    this.#network = pool.network
    this.cluster = pool.cluster.join(address, PEERS)
    this.#transports = [address, linkLocal(address)].map((own): VrrpTransport => {
      const transport = pool.network.join(own)
      return {
        ...transport,
        send: (message, destination, groupMac) => {
          if (this.refused.has(destination)) return false
          this.advertised.push({ to: destination, from: groupMac })
          return transport.send(message, destination)
        },
      }
    })
    this.#clock = new StallableClock(pool.clock)
    const mac = Uint8Array.of(2, 0, 0, 0, 0, Number(address.split('.')[3]))
    this.service = new VipService(
      { vips, outside: 'outside', inside: 'inside', keys: pool.keys },
      {
        transports: this.#transports,
        cluster: this.cluster,
        clock: this.#clock,
        wallClockMs: () => WALL_START_MS + pool.clock.now() + this.wallAheadMs,
        isInSync: () => this.inSync,
        onOvertaken: () => {
          this.inSync = false
        },
        runScript: (command) => {
          this.scripts.push(command.join(' '))
          return { ended: Promise.resolve(this.failures.get(command[0])), gone: Promise.resolve(), kill: () => {} }
        },
        note: (message) => this.notes.push(message),
        forwarder: {
          mac: () => mac,
          setVirtualAddresses: (addresses) => {
            this.placed = addresses
          },
          transmit: (link, frame) => this.transmitted.push({ atMs: pool.clock.now(), link, frame }),
        },
      },
    )
  }

  get state(): string {
    return this.service.status[0].state
  }

  /** State of the first address in the forwarder. */
  get placedState(): string {
    return this.placed[0].state
  }

  /** The process is gone: it neither sends nor hears, and its timers end. */
  crash(): void {
    for (const transport of this.#transports) transport.close()
    this.#clock.stall()
  }

  /** The process stands still, as after SIGSTOP; its socket goes on queueing. */
  freeze(): void {
    this.#clock.stall()
    this.#freezeNetwork(true)
  }

  /** It goes on: its timers are overdue, its socket is full. Which comes first is up to the event loop. */
  thaw(first: 'timers' | 'socket'): void {
    if (first === 'timers') this.#clock.resume()
    this.#freezeNetwork(false)
    if (first === 'socket') this.#clock.resume()
  }

  #freezeNetwork(frozen: boolean): void {
    for (const { address } of this.#transports) this.#network.freeze(address, frozen)
  }
}

function linkLocal(address: string): string {
  return `fe80::${address.split('.')[3]}`
}

export class Pool {
  readonly clock = new VirtualClock()
  readonly network: MemoryNetwork
  /** Of which a member is part once its cluster is started. */
  readonly cluster = new ClusterNetwork({ clock: this.clock, random: () => 0.5 })
  readonly keys: VrrpKeys = new Map([[KEY_FILE, [createVrrpKey(new Uint8Array(32).fill(1))]]])
  readonly members: PoolMember[] = []

  /** @param fate what becomes of messages; they arrive at once unless given */
  constructor(fate?: MessageFate) {
    this.network = new MemoryNetwork(this.clock, fate)
  }

  /** A director on 10.0.0.<last> and fe80::<last>, with one group for each of the changes. */
  add(last: number, ...changes: Partial<VipConfig>[]): PoolMember {
    const groups = changes.length === 0 ? [{}] : changes
    const member = new PoolMember(
      this,
      `10.0.0.${last}`,
      groups.map((group) => vipConfig(group)),
    )
    this.members.push(member)
    return member
  }

  start(): void {
    for (const { service } of this.members) service.start()
  }

  /** Cuts or heals every connection between two groups. */
  partition(some: readonly PoolMember[], others: readonly PoolMember[], cut: boolean): void {
    for (const one of some) {
      for (const other of others) {
        for (const address of [
          (member: PoolMember) => member.address,
          (member: PoolMember) => linkLocal(member.address),
        ]) {
          this.network.reach(address(one), address(other), !cut)
          this.network.reach(address(other), address(one), !cut)
        }
      }
    }
  }
}

/** A process's view of time: while it is stalled, what falls due waits, in order. */
class StallableClock implements Clock {
  readonly #clock: Clock
  #stalled = false
  #overdue: (() => void)[] = []

  constructor(clock: Clock) {
    this.#clock = clock
  }

  now(): number {
    return this.#clock.now()
  }

  schedule(delayMs: number, task: () => void): () => void {
    let cancelled = false
    const run = () => {
      if (cancelled) return
      if (this.#stalled) this.#overdue.push(run)
      else task()
    }
    const cancel = this.#clock.schedule(delayMs, run)
    return () => {
      cancelled = true
      cancel()
    }
  }

  stall(): void {
    this.#stalled = true
  }

  resume(): void {
    this.#stalled = false
    const overdue = this.#overdue
    this.#overdue = []
    for (const run of overdue) run()
  }
}

export const states = (members: readonly PoolMember[]) => members.map(({ state }) => state).join(' ')

/** How many milliseconds of `durationMs` had so many active directors. */
export async function watch(
  pool: Pool,
  members: readonly PoolMember[],
  durationMs: number,
): Promise<Record<number, number>> {
  const counts: Record<number, number> = {}
  for (let ms = 0; ms < durationMs; ms++) {
    await pool.clock.advance(1)
    const active = members.filter(({ state }) => state === 'active').length
    counts[active] = (counts[active] ?? 0) + 1
  }
  return counts
}

/** Best first; the third has the same priority as the second and the higher address. */
export function threeDirectors(): { pool: Pool; best: PoolMember; second: PoolMember; third: PoolMember } {
  const pool = new Pool()
  const best = pool.add(1, { priority: 150 })
  const second = pool.add(2, { priority: 100 })
  const third = pool.add(3, { priority: 100 })
  return { pool, best, second, third }
}

export async function settled() {
  const three = threeDirectors()
  three.pool.start()
  await three.pool.clock.advance(1000)
  return three
}

export const placed = (members: readonly PoolMember[]) => members.map(({ placedState }) => placedState).join(' ')
