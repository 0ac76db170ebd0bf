/** Keeps the forwarder's routes and MTUs what the kernel's are. */

import type { Forwarder } from '../../../forwarder/forwarder.ts'
import type { HostNetwork, readHostNetwork } from './network.ts'
import { mtusOf } from './network.ts'

/** Changes of the routing table come in crowds: it is read when they have had this long to come. */
const SETTLE_MS = 200

export interface RouteFollowerOptions {
  readonly forwarder: Pick<Forwarder, 'setRoutes'>
  readonly read: () => ReturnType<typeof readHostNetwork>
  /** The forwarder has been told of it. */
  readonly onRead: (now: HostNetwork) => void
  readonly warn: (error: unknown, message: string) => void
}

export class RouteFollower {
  readonly #options: RouteFollowerOptions
  #timer: NodeJS.Timeout | undefined

  constructor(options: RouteFollowerOptions) {
    this.#options = options
  }

  /** To be called when they may have. */
  mayHaveChanged(): void {
    this.#timer ??= setTimeout(() => this.#read(), SETTLE_MS)
  }

  close(): void {
    clearTimeout(this.#timer)
  }

  async #read(): Promise<void> {
    const { forwarder, read, onRead, warn } = this.#options
    this.#timer = undefined
    try {
      const now = await read()
      forwarder.setRoutes(now.routes, mtusOf(now))
      onRead(now)
    } catch (error) {
      warn(error, 'the routing table cannot be read: going on with the last one')
    }
  }
}
