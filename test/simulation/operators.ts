/** Operators: the configuration changes now and then, at whatever director they happen to be logged in to. */

import type { Clock } from '../../node/director/clock.ts'
import type { PoolEdit } from '../../node/director/control/api.ts'
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
    repeat(this.#world.clock, CHANGE_INTERVAL_MS, () => this.isAtWork && this.#change())
  }

  #change(): void {
    const { directors } = this.#world
    const director = pick(this.#random, directors)
    const { address, port, method, servers, serverPort } = pick(this.#random, SERVICES)
    const weight = between(this.#random, 0, 4)
    const server = pick(this.#random, servers)
    const spare = { protocol: 'tcp', address, port: pick(this.#random, SPARE_PORTS) } as const
    const kind = this.#random.below(6)
    const revision = this.#random.below(1000)
    if (director.threads.main.stalls > 0 || method === 'local') return
    const { pool } = director
    const add: PoolEdit = { do: 'add-service', service: { ...spare, scheduler: 'rr' } }
    const remove: PoolEdit = { do: 'delete-service', service: spare }
    const set: PoolEdit = { do: 'edit-settings', settings: { timeoutUdpS: 200 + 10 * weight } }
    const service = { protocol: 'tcp', address, port } as const
    const weigh: PoolEdit = {
      do: 'edit-server',
      server: { service, address: server, port: serverPort, method, weight },
    }
    const documents = [[add], [remove], [weigh], [add, weigh, set], [remove, set]]
    ignoreRefusal(kind < documents.length ? pool.edit(documents[kind]) : goBack(pool, revision))
  }
}

export function repeat(clock: Clock, intervalMs: number, task: () => void): void {
  clock.schedule(intervalMs, () => {
    task()
    repeat(clock, intervalMs, task)
  })
}

/** Somebody else may have been quicker, or the way back be lost with a store. */
export function ignoreRefusal(done: Promise<void> | undefined): void {
  done?.catch((error: unknown) => {
    if (!(error instanceof DirectorError)) throw error
  })
}

/** To one of the revisions at which everything was there that clients use. */
async function goBack(pool: PoolConfiguration, which: number): Promise<void> {
  const revisions = pool.revisions()
  const { revision } = revisions[which % revisions.length]
  const { state } = await pool.stateAt(revision)
  const isWhole = SERVICES.every(({ address, port, servers }) =>
    state
      .services()
      .some((one) => one.address === address && one.port === port && one.servers.length === servers.length),
  )
  if (isWhole) await pool.rollback(revision)
}
