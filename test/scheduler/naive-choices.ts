/** The schedulers that look at nothing but the servers' numbers, as the words of their definition. */
import type { ModelledServer } from './modelled-service.ts'
import { leastLoaded, overheadOf, RingModel } from './naive-models.ts'

const delayOf = (server: ModelledServer) => BigInt(server.activeConnections) + 1n
const heaviestOf = (servers: ModelledServer[]) =>
  servers.find((one) => servers.every((other) => other.weight <= one.weight))

export class NaiveShortestExpectedDelay extends RingModel {
  pick(): ModelledServer | undefined {
    return leastLoaded(this.available(), delayOf)
  }
}

export class NaiveNeverQueue extends RingModel {
  pick(): ModelledServer | undefined {
    const idle = this.available().find((server) => server.activeConnections === 0)
    return idle ?? leastLoaded(this.available(), delayOf)
  }
}

export class NaiveFailover extends RingModel {
  pick(): ModelledServer | undefined {
    return heaviestOf(this.available())
  }
}

export class NaiveOverflow extends RingModel {
  pick(): ModelledServer | undefined {
    return heaviestOf(this.available().filter((server) => server.activeConnections <= server.weight))
  }
}

/** Every lot is a ticket with a server's name on it; ticket 0 is the first server's too. */
export class NaivePowerOfTwoChoices extends RingModel {
  readonly #random: () => number

  constructor(random: () => number) {
    super()
    this.#random = random
  }

  pick(): ModelledServer | undefined {
    const servers = this.available()
    if (servers.length === 0) return undefined
    const tickets = [servers[0], ...servers.flatMap((server) => Array<ModelledServer>(server.weight).fill(server))]
    const draw = () => tickets[Math.floor(this.#random() * tickets.length)]
    return leastLoaded([draw(), draw()], overheadOf)
  }
}
