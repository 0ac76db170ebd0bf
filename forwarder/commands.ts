/**
 * What the control thread may ask of the forwarding loop. Each is one message on the loop's port; the loop takes them
 * between two batches, so a command never meets a half-handled packet.
 */
import type { Question } from './engine/explain.ts'
import type { MarkRule, ServiceAddress, ServiceSpec } from './service.ts'
import type { EngineSettings } from './settings.ts'

/** An address that the forwarder, not the kernel, owns. */
export interface VirtualAddress {
  readonly address: string
  /** Name of the link on which it is answered for. */
  readonly link: string
  /**
   * active: answer ARP, take new connections.
   * lingering: resigned a moment ago; no ARP, but frames that still come are served, new connections too.
   * standby: no ARP; frames of known connections are forwarded all the same, others dropped.
   */
  readonly state: 'active' | 'lingering' | 'standby'
  /** Virtual router MAC that it is answered with; the link's own unless given. */
  readonly mac?: Uint8Array
}

export interface Route {
  /** Network address of either family; 0.0.0.0 or :: with prefixLength 0 is the default route. */
  readonly destination: string
  readonly prefixLength: number
  /** Next hop; undefined: the destination itself is on the link. */
  readonly gateway?: string
  readonly link: string
  /** The director's own address on that link: sender of ARP requests, outer source of tunnels. */
  readonly source: string
  /** What the whole way carries, where an operator has said so (`mtu` of ip-route(8)); undefined: as much as the link. */
  readonly mtu?: number
}

export type Command =
  /** Adds the service or changes it by difference; servers are told apart by address and port. */
  | { readonly kind: 'service'; readonly service: ServiceSpec }
  | { readonly kind: 'remove-service'; readonly service: ServiceAddress }
  /** The whole list; an address that is not in it is no longer ours. */
  | { readonly kind: 'virtual-addresses'; readonly addresses: readonly VirtualAddress[] }
  /** The whole routing table, and the MTUs of links by their names. */
  | { readonly kind: 'routes'; readonly routes: readonly Route[]; readonly mtus: Readonly<Record<string, number>> }
  /** All of them. */
  | { readonly kind: 'settings'; readonly settings: EngineSettings }
  /** Pages of 4 KiB that the host has to give. */
  | { readonly kind: 'available-memory'; readonly pages: number }
  /** All of them, in the order in which they are asked. */
  | { readonly kind: 'marks'; readonly rules: readonly MarkRule[] }
  /** Sends a whole Ethernet frame as it is, such as a gratuitous ARP, unless it comes too late to be true. Asked for at a time of monotonicMs(). */
  | { readonly kind: 'transmit'; readonly link: string; readonly frame: Uint8Array; readonly askedMs: number }
  /** Makes the way to the host's own stack; the loop answers 'host-device'. */
  | { readonly kind: 'open-host-device' }
  /** Answered with an explanation of the same id (worker.ts). Changes nothing. */
  | { readonly kind: 'explain'; readonly id: number; readonly question: Question }
  /** Forwards what waits on the links, and takes nothing from them any more; the loop answers 'rests'. */
  | { readonly kind: 'rest' }
  | { readonly kind: 'stop' }
