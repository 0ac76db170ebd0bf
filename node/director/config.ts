/**
 * A director's own configuration file: what belongs to this node alone. The virtual services live in the pool, not here.
 * For operators: docs/configuration.md, which a test compares with what is here.
 */
import { z } from 'zod'
import { DirectorError } from '../../protocol/errors.ts'
import { DIRECTOR_NAME, DIRECTOR_NAME_RULE } from '../../protocol/names.ts'
import { isIPv6Text } from '../../protocol/packet/ipv6-address.ts'
import { parsePoolKey } from '../../protocol/pool-key.ts'
import { joinTokenBytes } from '../../protocol/wire/join-token.ts'
import { endpoint, interfaceName, peerId } from './address-schema.ts'
import { PEERS_MAX } from './cluster/transport.ts'
import { vipsSchema } from './vip/vip-config.ts'
import { parseYaml, readText } from './yaml-file.ts'

const name = z.string().regex(DIRECTOR_NAME, `expected a name of ${DIRECTOR_NAME_RULE}`)
const peer = z.strictObject({
  name,
  id: peerId,
  address: endpoint,
})

const cluster = z
  .strictObject({
    listen: endpoint,
    peers: z.array(peer).max(PEERS_MAX).default([]),
    /** Public halves of the pool's key, more than one while it is exchanged: whoever has a token that they have signed may join. */
    poolKeys: z
      .array(
        z
          .string()
          .refine((text) => parsePoolKey(text) !== undefined, 'expected a key as `director token key` prints it'),
      )
      .max(4)
      .default([]),
    /** By which this director joins (protocol/wire/join-token.ts). Nothing in it is secret. */
    token: z
      .string()
      .refine((text) => joinTokenBytes(text) !== undefined, 'expected a token as `director token create` prints it')
      .optional(),
  })
  .superRefine(({ peers }, context) => {
    for (const field of ['name', 'id'] as const) {
      const values = peers.map((peer) => peer[field])
      const again = values.findIndex((value, index) => values.indexOf(value) < index)
      if (again < 0) continue
      const message = `expected another ${field}: two peers have ${values[again]}`
      context.addIssue({ code: 'custom', path: ['peers', again, field], message })
    }
  })
  .refine(({ token, poolKeys }) => token === undefined || poolKeys.length > 0, {
    path: ['token'],
    message: "expected poolKeys beside it, with the pool's key that has signed it",
  })

const director = z.strictObject({
  name,
  interfaces: z.strictObject({
    outside: interfaceName,
    /** Where the real servers are; the same as outside unless given. */
    inside: interfaceName.optional(),
  }),
  /** Folder of the level store. */
  store: z.string().min(1).default('/var/lib/linux-director'),
  /** Path of the control socket. */
  control: z.string().min(1).max(100).default('/run/linux-director/control.sock'),
  /** The same control for other machines (control/control-tls.ts): every certificate of that CA, or those with one of the names. */
  controlTls: z
    .strictObject({
      listen: endpoint,
      keyFile: z.string().min(1),
      certificateFile: z.string().min(1),
      clientCaFile: z.string().min(1),
      /** Common names of clients' certificates. */
      allow: z.array(z.string().min(1)).min(1).max(1000).optional(),
    })
    .optional(),
  cluster,
  vips: vipsSchema,
  agents: z
    .strictObject({
      listen: endpoint,
      /** The agents' keys, and whom each is for (protocol/wire/agent-key.ts). */
      keyFile: z.string().min(1),
    })
    .optional(),
  /** The real servers' HAProxy agents (load/agent-answer.ts), all on one port. They are not asked unless given. */
  agentCheck: z
    .strictObject({
      port: z.int().min(1).max(65_535),
      intervalMs: z.int().min(100).max(3_600_000).default(2000),
      timeoutMs: z.int().min(10).max(60_000).default(1000),
      /** What is said to an agent first. */
      send: z.string().max(1024).default(''),
    })
    .optional(),
  health: z
    .strictObject({
      intervalMs: z.int().min(10).max(3_600_000).default(1000),
      timeoutMs: z.int().min(10).max(60_000).default(1000),
      /** Successes in a row that make a dead server live. */
      rise: z.int().min(1).max(100).default(2),
      /** Failures in a row that make a live server dead. */
      fall: z.int().min(1).max(100).default(3),
    })
    .prefault({}),
  /** How often the connection table is written to the store; 0: never, and it is not read at the start either. */
  checkpoint: z.strictObject({ intervalS: z.int().min(0).max(3600).default(30) }).prefault({}),
  /** Size of the connection table; a power of two. */
  connections: z
    .int()
    .min(1024)
    .max(2 ** 24)
    .refine((n) => (n & (n - 1)) === 0, 'expected a power of two')
    .default(2 ** 20),
  logLevel: z.enum(['trace', 'debug', 'info', 'warn', 'error', 'silent']).default('info'),
})

export const directorConfigSchema = director.superRefine(({ name, cluster }, context) => {
  const own = cluster.peers.findIndex((peer) => peer.name === name)
  if (own < 0) return
  const message = `expected another name: ${name} is this director itself, which is none of its peers`
  context.addIssue({ code: 'custom', path: ['cluster', 'peers', own, 'name'], message })
})

export type DirectorConfig = z.infer<typeof directorConfigSchema>
export type ControlTlsConfig = NonNullable<DirectorConfig['controlTls']>

/** @throws DirectorError CONFIG_INVALID when a peer is this director itself, which may be known only when its store has been read */
export function demandOthers({ cluster }: DirectorConfig, ownId: string): void {
  const own = cluster.peers.find(({ id }) => id === ownId)
  if (!own) return
  const message = `cluster.peers: the id of ${own.name} is this director's own: run \`director identity\` there and copy what it prints`
  throw new DirectorError('CONFIG_INVALID', message)
}

/** Whether the director needs IPv6 addresses of its host. */
export function usesIPv6({ vips, cluster, agents, controlTls }: DirectorConfig): boolean {
  const endpoints = [cluster, agents, controlTls].flatMap((part) => part?.listen ?? [])
  return vips.some(({ addresses }) => isIPv6Text(addresses[0])) || endpoints.some((listen) => listen.startsWith('['))
}

/**
 * Reads and checks a configuration file.
 * @throws DirectorError CONFIG_UNREADABLE or CONFIG_INVALID; the message has file, line, field and what was expected
 */
export function loadDirectorConfig(file: string): DirectorConfig {
  return parseDirectorConfig(readText(file), file)
}

/** As loadDirectorConfig, from text; `file` is only for messages. */
export function parseDirectorConfig(text: string, file: string): DirectorConfig {
  return parseYaml(text, file, directorConfigSchema).content
}
