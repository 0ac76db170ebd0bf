/** The director of a simulated pool that is shut out while all the rest happens: it goes on as if nothing had happened. */
import type { Random } from '../random.ts'
import { between } from './draw.ts'
import { ignoreRefusal, repeat } from './operators.ts'
import { SERVICES } from './site.ts'
import type { World } from './world.ts'

const CHANGE_INTERVAL_MS = 300
const AGAIN_INTERVAL_MS = 500
/** What operators never set. */
export const LAST_WORD_S = 999

export class Outsider {
  isRevoked = false
  /** It says its last word now, which nobody must hear. */
  isAtItsEnd = false
  readonly #world: World
  readonly #random: Random

  constructor(world: World, random: Random) {
    this.#world = world
    this.#random = random
  }

  start(): void {
    repeat(this.#world.clock, CHANGE_INTERVAL_MS, () => this.#change())
  }

  /** An operator shuts it out at this director, or at another; and sees to it that it stays so when who knew of it has lost his store. */
  revoke(number: number): void {
    const { directors, outsider, clock } = this.#world
    if (!outsider) return
    this.isRevoked = true
    clock.schedule(AGAIN_INTERVAL_MS, () => this.revoke(number))
    if (directors.some(({ revoked }) => revoked.has(outsider.id))) return
    const able = directors.filter(({ threads }) => threads.main.stalls === 0)
    const director = able.find((each) => each.number === number) ?? able[0]
    if (director) ignoreRefusal(director.pool.members.setRevoked(outsider.id, true))
  }

  #change(): void {
    const { outsider } = this.#world
    const { address } = SERVICES[0]
    const spare = { protocol: 'tcp', address, port: between(this.#random, 8001, 8003) } as const
    if (this.isAtItsEnd && !this.isRevoked) return
    if (this.isAtItsEnd) ignoreRefusal(outsider?.pool.setSettings({ timeoutUdpS: LAST_WORD_S }))
    else if (this.#random.oneIn(2)) ignoreRefusal(outsider?.pool.addService({ ...spare, scheduler: 'rr' }))
    else ignoreRefusal(outsider?.pool.removeService(spare))
  }
}
