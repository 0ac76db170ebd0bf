/**
 * The forwarder as the rest of the director sees it: a thread that forwards, and shared memory to read it by.
 * Everything here runs on the control thread.
 */

import type { Route, VirtualAddress } from './commands.ts'
import type { DefenceFacts } from './defence-facts.ts'
import type { Explanation, Question } from './engine/explain.ts'
import type { MarkRule, ServiceAddress, ServiceSpec } from './service.ts'
import type { EngineSettings } from './settings.ts'
import type { RecordRing } from './table/record-ring.ts'

/** The TUN device by which packets reach local servers. It lives as long as the forwarder does. */
export const HOST_DEVICE = 'director-host'

export interface ForwarderOptions {
  /** Kernel interfaces to take frames from; the first is the outside. */
  readonly interfaces: readonly string[]
  /** Connection table size, a power of two. */
  readonly connections: number
}

export interface ServerCounters {
  activeConnections: number
  inactiveConnections: number
  /** Templates of persistent clients. */
  persistentConnections: number
  connections: number
  inPackets: number
  outPackets: number
  inBytes: number
  outBytes: number
}

export interface LinkCounters {
  name: string
  receivedFrames: number
  transmittedFrames: number
  transmitErrors: number
  overruns: number
}

/** Frames that wait for an address to be resolved, for missing fragments or for a confirmation, and for how many there is memory. */
export interface FrameCounts {
  kept: number
  capacity: number
}

/** A connection copied out of the table, or a template. Addresses of IPv6 in the form of RFC 5952. */
export interface ConnectionSnapshot {
  /** In lower case; "ip": any, of a firewall mark's template. */
  protocol: string
  /** IPVS's name of the state, such as ESTABLISHED. */
  state: string
  expiresMs: number
  clientAddress: string
  clientPort: number
  virtualAddress: string
  virtualPort: number
  serverAddress: string
  serverPort: number
  /** Remembers a client's server and is no connection itself; of a firewall mark, its virtual address is the mark. */
  isTemplate?: boolean
  /** What it tells clients apart by, as IPVS shows it. */
  persistenceEngine?: { name: string; data: string }
}

export interface Forwarder {
  /** Records that the loop has written, for replication to send. */
  readonly outgoing: RecordRing
  /** Records of peers, for the loop to apply. Call wakeUp() after a batch. */
  readonly incoming: RecordRing
  /** File descriptor of the eventfd that ends the loop's wait; usable from any thread of the process. */
  readonly wakeDescriptor: number
  /** The connection table's shared memory, for ConnectionReader in other threads. */
  readonly tableMemory: SharedArrayBuffer
  /** The server directory's, which goes with it. */
  readonly directoryMemory: SharedArrayBuffer
  /** 6 bytes. */
  mac(link: string): Uint8Array
  setService(service: ServiceSpec): void
  removeService(service: ServiceAddress): void
  setVirtualAddresses(addresses: readonly VirtualAddress[]): void
  /** @param mtus of links, by name; the others' stay. None becomes larger than the largest was at the start */
  setRoutes(routes: readonly Route[], mtus?: Readonly<Record<string, number>>): void
  setSettings(settings: EngineSettings): void
  /** For the defences that are at work while memory is short. @param pages of 4 KiB that the host has to give */
  setAvailableMemory(pages: number): void
  /** The rules of firewall marks, in the order in which they are asked. */
  setMarks(rules: readonly MarkRule[]): void
  /** Sends a whole Ethernet frame, unless the loop stands still for more than half a second yet: it may be true no more. */
  transmit(link: string, frame: Uint8Array): void
  /** Makes HOST_DEVICE, by which the host's own stack serves as a local real server. Rejects when it cannot be made. */
  openHostDevice(): Promise<void>
  /** What would become of a packet that opens a connection. Changes nothing. */
  explain(question: Question): Promise<Explanation>
  wakeUp(): void
  /** Totals of a service, or of one of its servers. Since the forwarder started. */
  serviceCounters(service: ServiceAddress): ServerCounters
  serverCounters(service: ServiceAddress, server: { address: string; port: number }): ServerCounters
  /** @param clientPort only those of this port */
  connections(clientPort?: number): Iterable<ConnectionSnapshot>
  readonly connectionCount: number
  readonly drops: Record<string, number>
  readonly defences: DefenceFacts
  linkStatistics(): LinkCounters[]
  readonly frames: FrameCounts
  /** False once the loop has ended, for whatever reason. */
  readonly isRunning: boolean
  /** How long ago the loop last breathed, which it does twenty times a second at least. */
  readonly silentForMs: number
  /**
   * Active addresses are answered for (ARP, neighbour discovery) for so long from now on, and no longer unless this is called again. Until the
   * first call there is no limit.
   */
  answerFor(ms: number): void
  /**
   * Forwards what waits on the links, and takes nothing from them any more. Resolves when that is so: then all that there is to tell peers is
   * in `outgoing`.
   */
  rest(): Promise<void>
  /** Called once if the loop dies, or has died. */
  onFailure(handler: (error: Error) => void): void
  stop(): Promise<void>
}
