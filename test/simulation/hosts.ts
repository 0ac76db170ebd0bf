/**
 * The hosts around the directors: routers with clients behind them, and real servers. Servers answer segments and nothing more; one
 * that gets a segment of a conversation it does not know resets it, and what the promises forbid is that the reset reaches its client.
 */
import { parseIPv4 } from '../../protocol/packet/bytes.ts'
import { TCP_ACK, TCP_FIN, TCP_PSH, TCP_RST, TCP_SYN } from '../../protocol/packet/tcp.ts'
import { tcpFrame } from '../support/frames.ts'
import { LanHost, type Segment } from './lan.ts'
import { isTcp, readSegment, readUnreachable } from './segment-reader.ts'
import { endpoint, type SimulatedService } from './site.ts'

const SERVER_SHIFT = 28

export interface ClientSide {
  /** A segment has come for the client of this endpoint. */
  hear(client: number, flags: number, sequence: number): void
  /** The client was told that there is nobody for its segment `sequence`, or its conversation was reset. */
  refuse(client: number, reason: string, sequence?: number): void
}

export class Router extends LanHost {
  readonly #clients: ClientSide

  constructor(segment: Segment, address: string, clients: ClientSide) {
    super(segment, address)
    this.#clients = clients
  }

  forward(nextHop: number, frame: Uint8Array): void {
    this.send(nextHop, frame)
  }

  protected receive(frame: Uint8Array): void {
    if (isTcp(frame)) {
      const { destination, flags, sequence } = readSegment(frame)
      if (flags & TCP_RST) this.#clients.refuse(destination, 'reset')
      else this.#clients.hear(destination, flags, sequence)
      return
    }
    const undelivered = readUnreachable(frame)
    if (undelivered) this.#clients.refuse(undelivered.source, 'unreachable', undelivered.sequence)
  }
}

export interface ServerSide {
  /** A SYN of this client has come. */
  reached(client: number, server: string): void
  /** A segment of a conversation that the server does not know; its reset passes no director. */
  stranger(client: number, server: string): void
  /** A way to the client that passes no director. */
  reply(client: number, flags: number, sequence: number): void
}

export class RealServer extends LanHost {
  readonly #service: SimulatedService
  readonly #side: ServerSide
  /** By client, the sequence number of the last SYN. As long as the simulation lasts, older ones are in TIME_WAIT. */
  readonly #known = new Map<number, number>()
  readonly #number: number
  readonly #replies = new Map<string, Uint8Array>()

  constructor(segment: Segment, address: string, service: SimulatedService, side: ServerSide) {
    super(segment, address)
    this.#service = service
    this.#side = side
    this.#number = service.servers.indexOf(address)
  }

  protected receive(frame: Uint8Array): void {
    if (!isTcp(frame)) return
    const { source, destination, flags, sequence, acknowledgement } = readSegment(frame)
    const { method, gateway, serverPort } = this.#service
    if (destination !== endpoint(method === 'dr' ? this.#service.address : this.address, serverPort)) return
    const opened = this.#known.get(source)
    // A SYN that is older than the last one was late.
    if (flags & TCP_SYN && (opened === undefined || ((sequence - opened) | 0) >= 0)) {
      this.#known.set(source, sequence)
      this.#side.reached(source, this.address)
      this.#reply(source, TCP_SYN | TCP_ACK, firstSequence(this.#number, sequence))
      return
    }
    const next = (firstSequence(this.#number, opened ?? 0) + 1) | 0
    const isOlder = opened !== undefined && sequence !== ((opened + 1) | 0)
    if (isOlder) this.#reply(source, TCP_ACK, next)
    else if (opened === undefined || acknowledgement !== next) {
      if (gateway === undefined) this.#side.stranger(source, this.address)
      else this.#reply(source, TCP_RST, acknowledgement)
    } else if (flags & TCP_FIN) this.#reply(source, TCP_FIN | TCP_ACK, next)
    else if (flags & TCP_PSH) this.#reply(source, TCP_PSH | TCP_ACK, next)
  }

  #reply(client: number, flags: number, sequence: number): void {
    const { gateway, serverPort } = this.#service
    if (gateway === undefined) {
      this.#side.reply(client, flags, sequence)
      return
    }
    const key = `${client} ${flags} ${sequence}`
    let frame = this.#replies.get(key)
    if (!frame) {
      const from = `${this.address}:${serverPort}`
      const to = `${addressText(client)}:${client % 65536}`
      frame = tcpFrame({ from, to, flags, sequence, payload: flags & TCP_PSH ? '!' : '' })
      this.#replies.set(key, frame)
    }
    this.send(parseIPv4(gateway), frame.slice())
  }
}

/** A server's answer to a SYN of this sequence number. The top bits are its own: by them a client knows who answers. */
function firstSequence(server: number, opened: number): number {
  return (server << SERVER_SHIFT) | (Math.imul(opened, 0x9e3779b1) >>> (32 - SERVER_SHIFT))
}

/** The number of the server whose first sequence number it is. */
export function serverOf(firstSequence: number): number {
  return firstSequence >>> SERVER_SHIFT
}

function addressText(client: number): string {
  const address = Math.floor(client / 65536)
  return [24, 16, 8, 0].map((shift) => (address >>> shift) & 255).join('.')
}
