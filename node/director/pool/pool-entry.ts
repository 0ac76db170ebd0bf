/**
 * What the pool's configuration is made of: one entry for each virtual service, with its servers, or for one that was removed,
 * one for the settings, one for the mark rules, and those that say who belongs to the pool.
 *
 * Entries come from peers of other versions too: fields that this version does not know, at any depth, are kept and passed on.
 */
import { z } from 'zod'
import { type ServiceAddress, serverKey, serviceKey } from '../../../forwarder/service.ts'
import { DIRECTOR_NAME } from '../../../protocol/names.ts'
import { peerIdText } from '../address-schema.ts'
import {
  markRuleSchema,
  persistenceSchema,
  SETTING_NAME_MAX,
  serverInputSchema,
  serviceAddressSchema,
  serviceInputSchema,
  tunnelSchema,
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
  tunnel: z.looseObject(tunnelSchema.shape).optional(),
  /** Of one that an edit gave weight 0: the last weight before that was not 0, by which mh keeps its clients' places. */
  lastWeight: serverInputSchema.shape.weight.unwrap().min(1).optional(),
  /** How often it was edited; absent: never. */
  edits: z.int().min(1).optional(),
})

const service = z.looseObject({
  ...serviceInputSchema.shape,
  scheduler: serviceInputSchema.shape.scheduler.unwrap(),
  persistence: z.looseObject(persistenceSchema.shape).optional(),
  sync: serviceInputSchema.shape.sync.unwrap().exclude(['established']).optional(),
  /** In the order in which they were added, oldest first. */
  servers: z
    .array(server)
    .refine((servers) => new Set(servers.map(serverKey)).size === servers.length, 'expected each server once'),
})

/** As it is in a configuration or a token: it comes to people's terminals. */
const directorName = z.string().regex(DIRECTOR_NAME)

export const stampSchema = z.looseObject({
  wallMs: z.int().min(0),
  counter: z.int().min(0).max(MAX_COUNTER),
  director: directorName,
})

/** As many as directors may have changed one entry before the longest silent ones are forgotten. */
export const SEEN_MAX = 64

/** By director, its latest change that was known where this one was made: wallMs and counter. */
export const seenSchema = z
  .record(directorName, z.tuple([z.int().min(0), z.int().min(0).max(MAX_COUNTER)]))
  .refine((directors) => Object.keys(directors).length <= SEEN_MAX)

/** Of changes to the same thing. */
const seen = seenSchema.optional()
/** Of changes to anything. */
const knew = seenSchema.optional()

const settings = z.record(z.string().min(1).max(SETTING_NAME_MAX), z.int())

export const poolEntrySchema = z.discriminatedUnion('kind', [
  z.looseObject({ kind: z.literal('service'), stamp: stampSchema, seen, knew, service }),
  /** Keeps an older copy of the service, at a director that was away, from coming back. */
  z.looseObject({ kind: z.literal('tombstone'), stamp: stampSchema, seen, knew, service: address }),
  /** Those that somebody has set, by name. */
  z.looseObject({ kind: z.literal('settings'), stamp: stampSchema, seen, knew, settings }),
  /** Of a director: whether it is shut out of the pool. */
  z.looseObject({ kind: z.literal('peer'), stamp: stampSchema, seen, knew, peer: peerIdText, revoked: z.boolean() }),
  /** Of a director that has shown a token. */
  z.looseObject({
    kind: z.literal('admission'),
    stamp: stampSchema,
    seen,
    knew,
    peer: peerIdText,
    token: z.string().max(1024),
  }),
  /** In the order in which they are asked. */
  z.looseObject({
    kind: z.literal('marks'),
    stamp: stampSchema,
    seen,
    knew,
    rules: z.array(z.looseObject(markRuleSchema.shape)),
  }),
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
  if (entry.kind === 'admission') return admissionEntryKey(entry.peer)
  return entry.kind === 'settings' ? SETTINGS_KEY : serviceEntryKey(entry.service)
}

/** Whether it says who belongs to the pool. */
export function isMembership(entry: PoolEntry): entry is Extract<PoolEntry, { kind: 'peer' } | { kind: 'admission' }> {
  return entry.kind === 'peer' || entry.kind === 'admission'
}

export function peerEntryKey(peer: string): string {
  return `peer/${peer}`
}

export function admissionEntryKey(peer: string): string {
  return `admission/${peer}`
}

export function serviceEntryKey(service: ServiceAddress): string {
  return `service/${serviceKey(service)}`
}

export type Seen = z.infer<typeof seenSchema>

/** What a change has seen that is made where `before` is in force. */
export function seenAfter(before: PoolEntry | undefined): Seen {
  if (!before) return {}
  const { wallMs, counter, director } = before.stamp
  const directors = Object.entries({ ...before.seen, [director]: [wallMs, counter] as [number, number] })
  return Object.fromEntries(directors.sort(([, a], [, b]) => b[0] - a[0] || b[1] - a[1]).slice(0, SEEN_MAX))
}

/** Whether who made `entry` knew of this change to the same thing. */
export function hasSeen(entry: PoolEntry, stamp: Stamp): boolean {
  return covers(entry.seen, stamp)
}

/** Whether a change is one of those that were known. A version that does not say counts as having known of all. */
export function covers(known: Seen | undefined, { wallMs, counter, director }: Stamp): boolean {
  if (!known) return true
  const [latestMs, latest] = Object.hasOwn(known, director) ? known[director] : [-1, 0]
  return latestMs > wallMs || (latestMs === wallMs && latest >= counter)
}

/** Of changes to the same thing that whoever made `entry` knew. */
export function seenStamps({ seen = {} }: PoolEntry): Stamp[] {
  return Object.entries(seen).map(([director, [wallMs, counter]]) => ({ wallMs, counter, director }))
}

/** Of a service, without the rest of it. */
export function addressOf({ protocol, address, port, mark }: ServiceAddress): PoolAddress {
  return { protocol, address, port, ...(mark && { mark }) }
}
