/** A virtual service as the forwarding loop knows it. */
import { parseIPv4 } from '../../protocol/packet/bytes.ts'
import { prefixMask } from '../../protocol/packet/prefix.ts'
import type { Scheduler } from '../../scheduler/scheduler.ts'
import type { PersistenceSpec, ServiceSpec } from '../service.ts'
import type { RealServer } from './real-server.ts'
import type { Slot } from './server-directory.ts'

export interface Persistence {
  readonly timeoutS: number
  /** Bits of a client's address, in the words of ConnectionKey, that tell clients apart. */
  readonly mask: Int32Array
  /** They are told apart by their SIP calls besides (--pe sip). */
  readonly isByCall: boolean
}

/** When the peers are told of a connection: when it is established, or before its first packet goes on (engine/confirmations.ts). */
export const SYNC_ESTABLISHED = 0
export const SYNC_CONFIRMED = 1
export const SYNC_CONFIRMED_ONLY = 2

export interface Service {
  readonly slot: Slot
  /** PROTOCOL_MARK or PROTOCOL_MARK6 with the mark as the address. */
  readonly protocol: number
  readonly isMark: boolean
  readonly isIPv6: boolean
  /** Address number (address-book.ts). */
  readonly address: number
  /** 0: every port. */
  readonly port: number
  scheduler: Scheduler
  schedulerFlags: readonly string[]
  persistence: Persistence | undefined
  /** Another, of 256, each time that clients come to be told apart otherwise: templates' counts are for one. */
  persistenceEdition: number
  /** Each datagram is scheduled for itself. */
  onePacket: boolean
  /** One of SYNC_*. */
  sync: number
  /** What the scheduler remembers. */
  memory: unknown
  /** IPVS's order: the most recently added first. */
  readonly servers: RealServer[]
}

/** A connection of a single datagram is nothing to be told of. */
export function syncOf({ sync, onePacket }: ServiceSpec): number {
  if (sync === undefined || onePacket === true) return SYNC_ESTABLISHED
  return sync === 'confirmed' ? SYNC_CONFIRMED : SYNC_CONFIRMED_ONLY
}

/** Whether clients are told apart alike. */
export function isSamePersistence(one: Persistence | undefined, other: Persistence | undefined): boolean {
  if (one === undefined || other === undefined) return one === other
  return one.isByCall === other.isByCall && one.mask.every((word, index) => word === other.mask[index])
}

export function persistenceOf({ timeoutS, netmask, engine }: PersistenceSpec, isIPv6: boolean): Persistence {
  const mask = isIPv6 ? prefixMask(Number(netmask)) : Int32Array.of(parseIPv4(netmask), 0, 0, 0)
  return { timeoutS, mask, isByCall: engine === 'sip' }
}
