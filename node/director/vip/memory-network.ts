/**
 * A VRRP network in memory, for tests and simulation: what one port sends, every port that it reaches receives after a delay.
 * Messages pass through the same bytes as on the wire. What is lost, doubled or late is up to whoever makes the network.
 */
import { VRRP_HOP_LIMIT, type VrrpDatagram, vrrpGroupOf } from '../../../protocol/packet/vrrp.ts'
import type { Clock } from '../clock.ts'
import type { VrrpTransport } from './vrrp-transport.ts'

/** As many as a socket's receive buffer holds, roughly; more are lost. */
const LONGEST_QUEUE = 1024

const DELAY_MS = 0.1

/** What becomes of a message on its way from one address to another: the delay of each copy that arrives, in milliseconds. */
export type MessageFate = (from: string, to: string, message: Uint8Array) => readonly number[]

interface Port {
  readonly address: string
  readonly queue: VrrpDatagram[]
  handler: ((datagram: VrrpDatagram) => void) | undefined
  frozen: boolean
  closed: boolean
}

export class MemoryNetwork {
  readonly #clock: Clock
  readonly #fate: MessageFate
  readonly #ports = new Map<string, Port>()
  readonly #cuts = new Set<string>()

  constructor(clock: Clock, fate: MessageFate = () => [DELAY_MS]) {
    this.#clock = clock
    this.#fate = fate
  }

  /** Joins the network under an address. */
  join(address: string): VrrpTransport {
    const port: Port = { address, queue: [], handler: undefined, frozen: false, closed: false }
    this.#ports.set(address, port)
    return {
      address,
      send: (message, destination) => this.#send(port, message, destination),
      onDatagram: (handler) => {
        port.handler = handler
      },
      drain: () => this.#deliver(port),
      close: () => this.#close(port),
    }
  }

  /** Cuts or joins one direction between two addresses. */
  reach(from: string, to: string, reachable: boolean): void {
    if (reachable) this.#cuts.delete(`${from} ${to}`)
    else this.#cuts.add(`${from} ${to}`)
  }

  /** A frozen port queues what arrives and hands nothing out by itself, as the socket of a stopped process does. */
  freeze(address: string, frozen: boolean): void {
    const port = this.#ports.get(address)
    if (!port) return
    port.frozen = frozen
    if (!frozen) this.#deliver(port)
  }

  /** Somebody else may have joined under its address since. */
  #close(port: Port): void {
    port.closed = true
    if (this.#ports.get(port.address) === port) this.#ports.delete(port.address)
  }

  #send({ address: source, closed }: Port, message: Uint8Array, destination: string): boolean {
    if (closed) return false
    for (const to of this.#ports.values()) {
      if (to.address !== destination && vrrpGroupOf(to.address) !== destination) continue
      if (to.address === source || this.#cuts.has(`${source} ${to.address}`)) continue
      for (const delayMs of this.#fate(source, to.address, message)) {
        const datagram = { source, destination, hopLimit: VRRP_HOP_LIMIT, message: message.slice() }
        this.#clock.schedule(delayMs, () => {
          if (to.queue.length < LONGEST_QUEUE) to.queue.push(datagram)
          if (!to.frozen) this.#deliver(to)
        })
      }
    }
    return true
  }

  #deliver(port: Port): void {
    for (let datagram = port.queue.shift(); datagram && !port.closed; datagram = port.queue.shift())
      port.handler?.(datagram)
  }
}
