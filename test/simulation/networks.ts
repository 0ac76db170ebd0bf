/**
 * The networks between simulated directors as faults find them: what is lost, late, doubled or cut off, for gossip and for VRRP
 * each by itself. Every fault adds its share and takes it away again, so that they may overlap.
 */
import { MemoryNetwork as GossipNetwork } from '../../node/director/cluster/memory-transport.ts'
import { MemoryNetwork as VrrpNetwork } from '../../node/director/vip/memory-network.ts'
import type { VirtualClock } from '../../node/director/virtual-clock.ts'
import type { Random } from '../random.ts'
import { fraction } from './draw.ts'

export type Plane = 'gossip' | 'vrrp'
export const PLANES: readonly Plane[] = ['gossip', 'vrrp']

/** What a disturbed network does to messages; shares in [0, 1]. */
export interface Weather {
  readonly loss: number
  readonly duplication: number
  /** Added at random to each message, which makes them overtake each other. */
  readonly jitterMs: number
}

/** One way, milliseconds. */
const DELAY_MS = 0.3
/** Until a peer that has fallen silent is taken for gone (peer-link.ts). */
export const DETECTION_MS = 450

export class Networks {
  readonly gossip: GossipNetwork
  readonly vrrp: VrrpNetwork
  readonly #random: Random
  readonly #weathers = new Map<Plane, Weather[]>(PLANES.map((plane) => [plane, []]))
  /** How many faults cut each way, by plane. */
  readonly #cuts = new Map<string, number>()

  /** @param heard called when an advertisement arrives; addresses */
  constructor(clock: VirtualClock, random: Random, heard: (from: string, to: string, vrid: number) => void) {
    this.#random = random
    this.gossip = new GossipNetwork({
      clock,
      random: () => fraction(random),
      delayMs: DELAY_MS,
      detectionMs: DETECTION_MS,
    })
    this.vrrp = new VrrpNetwork(clock, (from, to, [, vrid]) => {
      const delays = this.#vrrpFate(from, to)
      for (const delayMs of delays) clock.schedule(delayMs, () => heard(from, to, vrid))
      return delays
    })
  }

  cut(plane: Plane, from: string, to: string): void {
    const key = `${plane} ${from} ${to}`
    const before = this.#cuts.get(key) ?? 0
    this.#cuts.set(key, before + 1)
    if (plane === 'gossip' && before === 0) this.gossip.cutOneWay(from, to)
  }

  heal(plane: Plane, from: string, to: string): void {
    const key = `${plane} ${from} ${to}`
    const left = (this.#cuts.get(key) ?? 0) - 1
    this.#cuts.set(key, left)
    if (plane === 'gossip' && left === 0) this.reconnect(from, to)
  }

  /** Two directors that gave each other up find each other again, unless a fault is between them. */
  reconnect(one: string, other: string): void {
    if (!this.isCut('gossip', one, other) && !this.isCut('gossip', other, one)) this.gossip.heal(one, other)
  }

  isCut(plane: Plane, from: string, to: string): boolean {
    return (this.#cuts.get(`${plane} ${from} ${to}`) ?? 0) > 0
  }

  disturb(plane: Plane, weather: Weather): void {
    this.#weathers.get(plane)?.push(weather)
    this.#forecast(plane)
  }

  calm(plane: Plane, weather: Weather): void {
    const weathers = this.#weathers.get(plane) ?? []
    weathers.splice(weathers.indexOf(weather), 1)
    this.#forecast(plane)
  }

  #forecast(plane: Plane): void {
    if (plane !== 'gossip') return
    const { loss, duplication, jitterMs } = this.#worst(plane)
    Object.assign(this.gossip, { loss, duplication, jitterMs })
  }

  #worst(plane: Plane): Weather {
    const weathers = this.#weathers.get(plane) ?? []
    const worst = (field: keyof Weather) => Math.max(0, ...weathers.map((weather) => weather[field]))
    return { loss: worst('loss'), duplication: worst('duplication'), jitterMs: worst('jitterMs') }
  }

  #vrrpFate(from: string, to: string): number[] {
    const { loss, duplication, jitterMs } = this.#worst('vrrp')
    if (this.isCut('vrrp', from, to) || fraction(this.#random) < loss) return []
    const copies = fraction(this.#random) < duplication ? 2 : 1
    return Array.from({ length: copies }, () => DELAY_MS + fraction(this.#random) * jitterMs)
  }
}
