/**
 * What the pool's configuration is made of: one entry for each virtual service, with its servers, or for one that was removed,
 * one for the settings, and one for the mark rules.
 *
 * Entries come from peers of other versions too: fields that this version does not know are kept and passed on.
 */
import { z } from 'zod'
import { type ServiceAddress, serverKey, serviceKey } from '../../../forwarder/service.ts'
import { peerId } from '../address-schema.ts'
import {
  markRuleSchema,
  SETTING_NAME_MAX,
  serverInputSchema,
  serviceAddressSchema,
  serviceInputSchema,
} from '../control/api.ts'
import { MAX_COUNTER, type Stamp } from './hybrid-logical-clock.ts'

export const SETTINGS_KEY = 'settings'
export const MARKS_KEY = 'marks'

const address = z.looseObject(serviceAddressSchema.shape)

const { service: _, ...serverShape } = serverInputSchema.shape
const server = z.looseObject({
  ...serverShape,
  method: serverInputSchema.shape.method.unwrap(),
  /** As configured. */
  weight: serverInputSchema.shape.weight.unwrap(),
  /** How often it was edited; absent: never. */
  edits: z.int().min(1).optional(),
})

const service = z.looseObject({
  ...serviceInputSchema.shape,
  scheduler: serviceInputSchema.shape.scheduler.unwrap(),
  /** In the order in which they were added, oldest first. */
  servers: z
    .array(server)
    .refine((servers) => new Set(servers.map(serverKey)).size === servers.length, 'expected each server once'),
})

const stamp = z.looseObject({
  wallMs: z.int().min(0),
  counter: z.int().min(0).max(MAX_COUNTER),
  director: z.string().min(1).max(63),
})

const settings = z.record(z.string().min(1).max(SETTING_NAME_MAX), z.int())

export const poolEntrySchema = z.discriminatedUnion('kind', [
  z.looseObject({ kind: z.literal('service'), stamp, service }),
  /** Keeps an older copy of the service, at a director that was away, from coming back. */
  z.looseObject({ kind: z.literal('tombstone'), stamp, service: address }),
  /** Those that somebody has set, by name. */
  z.looseObject({ kind: z.literal('settings'), stamp, settings }),
  /** Of a director: whether it is shut out of the pool. */
  z.looseObject({ kind: z.literal('peer'), stamp, peer: peerId, revoked: z.boolean() }),
  /** In the order in which they are asked. */
  z.looseObject({ kind: z.literal('marks'), stamp, rules: z.array(z.looseObject(markRuleSchema.shape)) }),
])

/** Of a service. */
export type PoolAddress = z.infer<typeof address>
export type PoolServer = z.infer<typeof server>
export type PoolService = z.infer<typeof service>
export type PoolEntry = z.infer<typeof poolEntrySchema>

/** Entries of the same key are about the same thing: the newest counts. */
export function entryKey(entry: PoolEntry): string {
  if (entry.kind === 'marks') return MARKS_KEY
  if (entry.kind === 'peer') return peerEntryKey(entry.peer)
  return entry.kind === 'settings' ? SETTINGS_KEY : serviceEntryKey(entry.service)
}

export function peerEntryKey(peer: string): string {
  return `peer/${peer}`
}

export function serviceEntryKey(service: ServiceAddress): string {
  return `service/${serviceKey(service)}`
}

export function tombstoneOf({ protocol, address, port, mark }: ServiceAddress, stamp: Stamp): PoolEntry {
  return { kind: 'tombstone', stamp: { ...stamp }, service: { protocol, address, port, ...(mark && { mark }) } }
}
