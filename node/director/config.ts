/**
 * A director's own configuration file: what belongs to this node alone. The virtual services live in the pool, not here.
 */
import { readFileSync } from 'node:fs'
import { LineCounter, parseDocument } from 'yaml'
import { z } from 'zod'
import { DirectorError } from '../../protocol/errors.ts'
import { isIPv6Text } from '../../protocol/packet/ipv6-address.ts'
import { endpoint, interfaceName, peerId } from './address-schema.ts'
import { vipsSchema } from './vip/vip-config.ts'

const name = z.string().regex(/^[a-z0-9][a-z0-9-]{0,62}$/, 'expected a name of letters, digits and dashes')
const peer = z.strictObject({
  name,
  id: peerId,
  address: endpoint,
})

export const directorConfigSchema = z.strictObject({
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
  cluster: z.strictObject({ listen: endpoint, peers: z.array(peer).max(63).default([]) }),
  vips: vipsSchema,
  agents: z
    .strictObject({
      listen: endpoint,
      /** The agents' keys, and whom each is for (protocol/wire/agent-key.ts). */
      keyFile: z.string().min(1),
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
  /** Size of the connection table; a power of two. */
  connections: z
    .int()
    .min(1024)
    .max(2 ** 24)
    .refine((n) => (n & (n - 1)) === 0, 'expected a power of two')
    .default(2 ** 20),
  logLevel: z.enum(['trace', 'debug', 'info', 'warn', 'error', 'silent']).default('info'),
})

export type DirectorConfig = z.infer<typeof directorConfigSchema>

/** Whether the director needs IPv6 addresses of its host. */
export function usesIPv6({ vips, cluster, agents }: DirectorConfig): boolean {
  const endpoints = agents ? [cluster.listen, agents.listen] : [cluster.listen]
  return vips.some(({ addresses }) => isIPv6Text(addresses[0])) || endpoints.some((listen) => listen.startsWith('['))
}

/**
 * Reads and checks a configuration file.
 * @throws DirectorError CONFIG_UNREADABLE or CONFIG_INVALID; the message has file, line, field and what was expected
 */
export function loadDirectorConfig(file: string): DirectorConfig {
  let text: string
  try {
    text = readFileSync(file, 'utf8')
  } catch (error) {
    throw new DirectorError('CONFIG_UNREADABLE', `${file}: cannot be read: ${(error as Error).message}`)
  }
  return parseDirectorConfig(text, file)
}

/** As loadDirectorConfig, from text; `file` is only for messages. */
export function parseDirectorConfig(text: string, file: string): DirectorConfig {
  const lines = new LineCounter()
  const document = parseDocument(text, { lineCounter: lines })
  const broken = document.errors[0]
  if (broken) {
    const line = lines.linePos(broken.pos[0]).line
    throw new DirectorError('CONFIG_INVALID', `${file}:${line}: not valid YAML: ${broken.message.split('\n')[0]}`)
  }
  const result = directorConfigSchema.safeParse(document.toJS())
  if (result.success) return result.data
  const issue = result.error.issues[0]
  const path = issue.code === 'unrecognized_keys' ? [...issue.path, issue.keys[0]] : issue.path
  const message =
    issue.code === 'unrecognized_keys' ? 'is not a known field; remove it or correct its name' : issue.message
  throw new DirectorError('CONFIG_INVALID', `${file}:${lineOf(path)}: ${path.join('.') || 'document'}: ${message}`)

  /** Line of the field, or of the nearest parent that is in the file. */
  function lineOf(fields: readonly PropertyKey[]): number {
    for (let depth = fields.length; depth > 0; depth--) {
      const parent = document.getIn(fields.slice(0, depth - 1), true) as { items?: unknown[] } | undefined
      const pair = parent?.items?.find(
        (item) => (item as { key?: { value?: unknown } })?.key?.value === fields[depth - 1],
      ) as { key: { range?: [number, number, number] } } | undefined
      const node = pair?.key ?? (document.getIn(fields.slice(0, depth), true) as { range?: [number, number, number] })
      if (node?.range) return lines.linePos(node.range[0]).line
    }
    return 1
  }
}
