/** Operators: the configuration changes now and then, at whatever director they happen to be logged in to. */

import type { PoolConfiguration } from '../../node/director/pool/pool-configuration.ts'
import { DirectorError } from '../../protocol/errors.ts'
import type { Random } from '../random.ts'
import { between, pick } from './draw.ts'
import { SERVICES } from './site.ts'
import type { World } from './world.ts'

const CHANGE_INTERVAL_MS = 250
/** Nobody's clients use these; they come and go. */
const SPARE_PORTS = [8001, 8002, 8003]

/** The services that clients use, with all their servers. @param sync none: the default */
export async function configure(pool: PoolConfiguration, random: Random, sync: World['sync']): Promise<void> {
  for (const { address, port, method, servers, serverPort } of SERVICES) {
    if (method === 'local') throw new RangeError('a simulated service has servers of its own')
    const service = { protocol: 'tcp', address, port } as const
    await pool.addService({ ...service, scheduler: pick(random, ['rr', 'wlc', 'lc', 'sh', 'mh', 'wrr']), sync })
    for (const server of servers) {
      await pool.addServer({ service, address: server, port: serverPort, method, weight: 1 })
    }
  }
}

export class Operators {
  isAtWork = true
  readonly #world: World
  readonly #random: Random

  constructor(world: World, random: Random) {
    this.#world = world
    this.#random = random
  }

  start(): void {
    this.#world.clock.schedule(CHANGE_INTERVAL_MS, () => {
      if (this.isAtWork) this.#change()
      this.start()
    })
  }

  #change(): void {
    const { directors } = this.#world
    const director = pick(this.#random, directors)
    const { address, port, method, servers, serverPort } = pick(this.#random, SERVICES)
    const weight = between(this.#random, 0, 4)
    const server = pick(this.#random, servers)
    const spare = { protocol: 'tcp', address, port: pick(this.#random, SPARE_PORTS) } as const
    const kind = this.#random.below(3)
    if (director.threads.main.stalls > 0 || method === 'local') return
    const { pool } = director
    const done =
      kind === 0
        ? pool.addService({ ...spare, scheduler: 'rr' })
        : kind === 1
          ? pool.removeService(spare)
          : pool.editServer({
              service: { protocol: 'tcp', address, port },
              address: server,
              port: serverPort,
              method,
              weight,
            })
    // Somebody else may have been quicker.
    done.catch((error: unknown) => {
      if (!(error instanceof DirectorError)) throw error
    })
  }
}
