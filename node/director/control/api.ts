/**
 * The control API: what a director can be asked on its control socket, and the shapes of its input. HTTP, JSON bodies; those of answers
 * are in answers.ts. For operators: docs/control-api.md.
 *
 * | method | path         | body / query       | answer                     |
 * |--------|--------------|--------------------|----------------------------|
 * | GET    | /status      |                    | DirectorStatus             |
 * | GET    | /services    | ?protocol=&address=&port=&mark= for one; ?counters= | ServiceListing[]; 404 |
 * | POST   | /services    | ServiceInput       | 201; 409 SERVICE_EXISTS    |
 * | PUT    | /services    | ServiceInput       | 200; 404 SERVICE_MISSING   |
 * | DELETE | /services    | ServiceAddress     | 200; 404 SERVICE_MISSING   |
 * | POST   | /clear       |                    | 200, every service is gone |
 * | POST   | /servers     | ServerInput        | 201; 404, 409              |
 * | PUT    | /servers     | ServerInput        | 200; 404                   |
 * | DELETE | /servers     | ServerAddress      | 200; 404                   |
 * | POST   | /changes     | lines of JSON, a PoolEdit each | 200: all are made; or none is, and the error has `line` |
 * | POST   | /preview     | the same           | ChangePreview: nothing is changed |
 * | GET    | /configuration | ?revision=       | PoolDocument; 404 REVISION_MISSING |
 * | GET    | /revisions   |                    | RevisionListing[], newest first |
 * | GET    | /difference  | ?from=&to=, now unless given | string[]; 404 |
 * | POST   | /rollback    | { revision }       | 200; 404 REVISION_MISSING  |
 * | POST   | /zero        | ServiceAddress or {} | 200, counters from 0     |
 * | GET    | /settings    |                    | { name: value }, every one |
 * | PUT    | /settings    | { name: value }, some | 200                    |
 * | GET    | /marks       |                    | MarkRule[], the first that matches counts |
 * | POST   | /marks       | MarkInput          | 201; 409 MARK_EXISTS       |
 * | DELETE | /marks       | MarkRule           | 200; 404 MARK_MISSING      |
 * | GET    | /peers       |                    | PeerListing[]              |
 * | PUT    | /peers       | PeerInput          | 200: it is shut out, or let in again |
 * | GET    | /connections | ?clientPort= for those of one | ConnectionListing[] |
 * | POST   | /explain      | Question          | Explanation (forwarder/engine/explain.ts) |
 * | GET    | /sync-daemons |                   | SyncDaemonListing[], the master first |
 * | POST   | /sync-daemons | SyncDaemonInput   | 201; 404 INTERFACE_MISSING, 409 DAEMON_RUNNING |
 * | DELETE | /sync-daemons | { state }         | 200; 404 DAEMON_MISSING    |
 * | GET    | /health      |                    | HealthStatus: 200, or 503  |
 * | GET    | /events      |                    | lines of JSON, a DirectorEvent each |
 *
 * A change is answered when it is kept in the store, and with the `revision` that there is then. With `If-Match: "REVISION"` it is
 * made only if that is the configuration's revision still (RFC 9110 section 13.1.1); otherwise 412 REVISION_CONFLICT. An error is `{ code, message }` with the code of protocol/errors.ts;
 * 500 with the code INTERNAL is a bug, and the director's log has more of it.
 */
import { isIPv4, isIPv6 } from 'node:net'
import { z } from 'zod'
import { REVISION_START } from '../../../protocol/names.ts'
import { canonicalAddress } from '../../../protocol/packet/ipv6-address.ts'
import { canonicalPrefix, isOneFamily, isPrefix } from '../../../protocol/packet/prefix.ts'
import { SYNC_GROUP, SYNC_PORT } from '../../../protocol/wire/ipvs-sync.ts'
import { ipAddress, peerId } from '../address-schema.ts'

const MAX_INT = 2147483647

const port = z.int().min(0).max(65535)

export const serviceAddressSchema = z.strictObject({
  protocol: z.enum(['tcp', 'udp', 'sctp', 'fwm']),
  /** Of a firewall mark, the family alone counts: 0.0.0.0 or ::. */
  address: ipAddress,
  /** 0: every port; of a firewall mark always. */
  port,
  /** Of protocol fwm, and of no other. */
  mark: z.int().min(1).max(4294967295).optional(),
})

/** The same as the words of a query. */
export const serviceQuerySchema = serviceAddressSchema.extend({
  port: z.coerce.number().pipe(port),
  mark: z.coerce.number().int().min(1).max(4294967295).optional(),
})

export const connectionsQuerySchema = z.strictObject({ clientPort: z.coerce.number().pipe(port).optional() })

/**
 * Traffic up to now; as it was when the rates were last estimated, which is what IPVS shows; or none, which is half of a long
 * listing less.
 */
export const counterViewSchema = z.enum(['now', 'snapshot', 'none']).default('now')
export type CounterView = z.infer<typeof counterViewSchema>

export const persistenceSchema = z.strictObject({
  timeoutS: z
    .int()
    .min(1)
    .max(31 * 86400),
  /** Clients that are one: a dotted mask for IPv4, a prefix length for IPv6. */
  netmask: z.string().max(15),
})

export const serviceInputSchema = serviceAddressSchema.extend({
  scheduler: z.string().min(1).max(16).default('wlc'),
  schedulerFlags: z
    .array(z.enum(['sh-fallback', 'sh-port', 'mh-fallback', 'mh-port', 'flag-1', 'flag-2', 'flag-3']))
    .max(7)
    .optional(),
  persistence: persistenceSchema.optional(),
  /** Counts once the service is persistent; ipvsadm takes it before, too. */
  persistenceEngine: z.string().min(1).max(16).optional(),
  onePacket: z.boolean().optional(),
  mss: z.literal('clamp').optional(),
  /** `established`, the default, is kept and shown as none: peers and clients of older versions know no such word. */
  sync: z.enum(['established', 'confirmed', 'confirmed-only']).optional(),
})

export const serverAddressSchema = z.strictObject({ service: serviceAddressSchema, address: ipAddress, port })

export const tunnelSchema = z.strictObject({
  type: z.enum(['ipip', 'gue', 'gre']),
  /** Of gue; 0 for the others. */
  port: z.int().min(0).max(65535),
  checksum: z.enum(['none', 'plain', 'remote']),
})

export const serverInputSchema = serverAddressSchema.extend({
  method: z.enum(['nat', 'tun', 'dr']).default('dr'),
  /** Configured weight; ipvsadm takes 0 to 2^31 - 1. */
  weight: z.int().min(0).max(MAX_INT).default(1),
  upperThreshold: z.int().min(0).max(MAX_INT).optional(),
  lowerThreshold: z.int().min(0).max(MAX_INT).optional(),
  tunnel: tunnelSchema.optional(),
})

/** One change of ipvsadm's. */
const tableEditSchema = z.discriminatedUnion('do', [
  z.strictObject({ do: z.literal('clear') }),
  z.strictObject({ do: z.literal('add-service'), service: serviceInputSchema }),
  z.strictObject({ do: z.literal('edit-service'), service: serviceInputSchema }),
  z.strictObject({ do: z.literal('delete-service'), service: serviceAddressSchema }),
  z.strictObject({ do: z.literal('add-server'), server: serverInputSchema }),
  z.strictObject({ do: z.literal('edit-server'), server: serverInputSchema }),
  z.strictObject({ do: z.literal('delete-server'), server: serverAddressSchema }),
])

export const SETTING_NAME_MAX = 64
export const settingsInputSchema = z.record(z.string().max(SETTING_NAME_MAX), z.int())

/** As it is compared and shown: without bits behind the prefix, and with its length. */
const prefix = z
  .string()
  .refine(isPrefix, 'expected a prefix such as 10.3.0.0/24 or 2001:db8::/32')
  // Runs on what was refused, too.
  .overwrite((text) => (isPrefix(text) ? canonicalPrefix(text) : text))

/** Packets of which all holds that is given get the mark. */
export const markRuleSchema = z
  .strictObject({
    mark: z.int().min(1).max(4294967295),
    protocol: z.enum(['tcp', 'udp', 'sctp']).optional(),
    source: prefix.optional(),
    destination: prefix.optional(),
    /** Of the destination. */
    firstPort: z.int().min(1).max(65535).optional(),
    /** Included; the first one unless given. */
    lastPort: z.int().min(1).max(65535).optional(),
    /** By its name. */
    link: z.string().min(1).max(15).optional(),
  })
  .refine(({ firstPort = 0, lastPort = firstPort }) => firstPort <= lastPort && (firstPort > 0 || lastPort === 0), {
    path: ['lastPort'],
    message: 'expected firstPort too, and no smaller port than that',
  })
  .refine(({ source, destination }) => isOneFamily(source, destination), {
    path: ['destination'],
    message: 'expected a prefix of the same IP version as the source',
  })

export const markInputSchema = z.strictObject({
  rule: markRuleSchema,
  /** Its place in the list, from 1; the last unless given. */
  at: z.int().min(1).optional(),
})

export type MarkInput = z.infer<typeof markInputSchema>

/** A service as a document of the whole configuration has it. */
export const wholeServiceSchema = serviceInputSchema.extend({
  /** In the order in which schedulers take them. */
  servers: z.array(serverInputSchema.omit({ service: true })).default([]),
})

/** One change of a document that is applied whole. */
export const poolEditSchema = z.discriminatedUnion('do', [
  ...tableEditSchema.options,
  /** It is then this, whether or not there was one before. */
  z.strictObject({ do: z.literal('replace-service'), service: wholeServiceSchema }),
  z.strictObject({ do: z.literal('edit-settings'), settings: settingsInputSchema }),
  /** What is not named has its default again. */
  z.strictObject({ do: z.literal('replace-settings'), settings: settingsInputSchema }),
  markInputSchema.extend({ do: z.literal('add-mark') }),
  z.strictObject({ do: z.literal('delete-mark'), rule: markRuleSchema }),
  z.strictObject({ do: z.literal('replace-marks'), rules: z.array(markRuleSchema) }),
])

export const REVISION = /^[0-9a-f]{12}$/
const revision = z.string().regex(REVISION_START, 'expected a revision as `director config history` lists them')
export const rollbackSchema = z.strictObject({ revision })
export const configurationQuerySchema = z.strictObject({ revision: revision.optional() })
export const differenceQuerySchema = z.strictObject({ from: revision.optional(), to: revision.optional() })

export const peerInputSchema = z.strictObject({ id: peerId, revoked: z.boolean() })

/** A packet that opens a connection. */
export const questionSchema = z
  .strictObject({
    protocol: z.enum(['tcp', 'udp', 'sctp']).default('tcp'),
    client: ipAddress,
    clientPort: port,
    virtual: ipAddress,
    virtualPort: port,
  })
  .refine(({ client, virtual }) => isIPv6(client) === isIPv6(virtual), {
    path: ['client'],
    message: 'expected an address of the same IP version as the virtual one',
  })

const syncState = z.enum(['master', 'backup'])
export const syncDaemonAddressSchema = z.strictObject({ state: syncState })
/** A daemon of the kernel's sync protocol, with ipvsadm's defaults. */
export const syncDaemonInputSchema = z.strictObject({
  state: syncState,
  interface: z.string().max(64).default(''),
  syncId: z.int().min(0).max(255).default(0),
  /** Bytes; what fits the interface unless given. */
  maxLength: z.int().min(1).max(65_507).optional(),
  group: z
    .string()
    .refine(
      (text) => (isIPv4(text) ? /^(22[4-9]|23\d)\./.test(text) : isIPv6(text) && /^ff[^:%]{2}:[^%]*$/i.test(text)),
      'expected a multicast address such as 224.0.0.81 or ff02::81',
    )
    // Runs on what was refused, too.
    .overwrite((text) => (isIPv6(text) ? canonicalAddress(text) : text))
    .default(SYNC_GROUP),
  port: z.int().min(1).max(65535).default(SYNC_PORT),
  ttl: z.int().min(1).max(255).default(1),
})
export type SyncDaemonInput = z.infer<typeof syncDaemonInputSchema>

export type ServiceInput = z.infer<typeof serviceInputSchema>
export type ServerInput = z.infer<typeof serverInputSchema>
export type ServerAddress = z.infer<typeof serverAddressSchema>
export type PersistenceInput = z.infer<typeof persistenceSchema>
export type TunnelInput = z.infer<typeof tunnelSchema>
export type WholeService = z.infer<typeof wholeServiceSchema>
export type TableEdit = z.infer<typeof tableEditSchema>
export type PoolEdit = z.infer<typeof poolEditSchema>
