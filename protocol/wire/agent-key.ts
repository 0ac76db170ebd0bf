/**
 * The keys under which agents sign their reports (agent-report.ts), and the text of the files that hold them (shared-key.ts).
 *
 * ```
 * # web1
 * 3f0c...64 hexadecimal digits...  10.2.0.11 2001:db8::11
 * ```
 *
 * Behind a key are the addresses of the real server that it is for; a key without addresses may speak for any. Directors take
 * every key of their file, so that a server has an old one and a new one while they are exchanged; an agent signs with the first
 * of its own.
 */
import { isIP } from 'node:net'
import { canonicalAddress } from '../packet/ipv6-address.ts'
import { keyId, parseKeyFile, type SharedKey } from '../shared-key.ts'

const ID_TEXT = 'linux-director agent key id'

export interface AgentKey extends SharedKey {
  /** Of the real server that it is for, in their canonical form; empty: of any. */
  readonly addresses: readonly string[]
}

/** @param secret 32 bytes */
export function createAgentKey(secret: Uint8Array, addresses: readonly string[] = []): AgentKey {
  return { id: keyId(secret, ID_TEXT), secret, addresses: [...new Set(addresses.map(canonicalAddress))] }
}

/**
 * The keys in the text of a key file, at least one.
 * @throws DirectorError CONFIG_INVALID; it names the line and shows nothing of it. `file` is only for the message
 */
export function parseAgentKeys(text: string, file: string): AgentKey[] {
  return parseKeyFile(text, file, (secret, addresses, refuse) => {
    if (addresses.some((address) => isIP(address) === 0 || address.includes('%'))) {
      throw refuse("expected behind the key the addresses of its server and nothing else: '10.2.0.11 2001:db8::11'")
    }
    return createAgentKey(secret, addresses)
  })
}
