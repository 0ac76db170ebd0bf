/**
 * The keys under which agents sign their reports (agent-report.ts), and the text of the files that hold them.
 *
 * ```
 * # web1
 * 3f0c...64 hexadecimal digits...  10.2.0.11 2001:db8::11
 * ```
 *
 * One key a line, and behind it the addresses of the real server that it is for; a key without addresses may speak for any.
 * Empty lines and lines that begin with # are passed over. Directors take every key of their file, so that a server has an old one
 * and a new one while they are exchanged; an agent signs with the first of its own.
 *
 * A key is chosen by its id, which is in each report: the first 8 bytes of HMAC-SHA256 (RFC 2104) under the key over a fixed text. It
 * follows from the key, so nobody has to keep the two together, and tells nothing of it.
 */
import { createHmac } from 'node:crypto'
import { isIP } from 'node:net'
import { DirectorError } from '../errors.ts'
import { canonicalAddress } from '../packet/ipv6-address.ts'

const AGENT_KEY_BYTES = 32
export const AGENT_KEY_ID_BYTES = 8
const ID_TEXT = 'linux-director agent key id'

export interface AgentKey {
  /** 16 hexadecimal digits. */
  readonly id: string
  readonly secret: Uint8Array
  /** Of the real server that it is for, in their canonical form; empty: of any. */
  readonly addresses: readonly string[]
}

/** @param secret 32 bytes */
export function createAgentKey(secret: Uint8Array, addresses: readonly string[] = []): AgentKey {
  const id = createHmac('sha256', secret)
    .update(ID_TEXT)
    .digest('hex')
    .slice(0, 2 * AGENT_KEY_ID_BYTES)
  return { id, secret, addresses: [...new Set(addresses.map(canonicalAddress))] }
}

/**
 * The keys in the text of a key file, at least one.
 * @throws DirectorError CONFIG_INVALID; it names the line and shows nothing of it. `file` is only for the message
 */
export function parseAgentKeys(text: string, file: string): AgentKey[] {
  const keys = new Map<string, AgentKey>()
  for (const [index, line] of text.split('\n').entries()) {
    const [digits, ...addresses] = line.trim().split(/\s+/)
    if (digits === '' || digits.startsWith('#')) continue
    const refuse = (expected: string) => new DirectorError('CONFIG_INVALID', `${file}:${index + 1}: ${expected}`)
    if (!/^[0-9a-fA-F]{64}$/.test(digits)) {
      throw refuse(`expected a key of ${AGENT_KEY_BYTES * 2} hexadecimal digits, as \`director agent-key\` prints`)
    }
    if (addresses.some((address) => isIP(address) === 0 || address.includes('%'))) {
      throw refuse("expected behind the key the addresses of its server and nothing else: '10.2.0.11 2001:db8::11'")
    }
    const key = createAgentKey(Buffer.from(digits, 'hex'), addresses)
    if (keys.has(key.id)) throw refuse('this key is there already: expected one line for each key')
    keys.set(key.id, key)
  }
  if (keys.size > 0) return [...keys.values()]
  throw new DirectorError('CONFIG_INVALID', `${file}: has no key: \`director agent-key\` makes one`)
}
