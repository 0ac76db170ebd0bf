/** Key files as they are read: those of agents' reports, and the text of any. */
import { DirectorError } from '../../protocol/errors.ts'
import { type AgentKey, parseAgentKeys } from '../../protocol/wire/agent-key.ts'
import { readNamedFile } from './named-file.ts'

/** Somebody has given the key where its file was asked for: it must not be shown again. */
const LIKE_A_KEY = /[0-9a-f]{64}/i

/** At least one. @throws DirectorError CONFIG_UNREADABLE or CONFIG_INVALID */
export function readAgentKeys(file: string): AgentKey[] {
  return parseAgentKeys(readKeyText(file, "agents'"), file)
}

/**
 * @param whose keys they are, for messages
 * @throws DirectorError CONFIG_UNREADABLE, or CONFIG_INVALID when others than its owner may use it, or when it is a key in place of its name
 */
export function readKeyText(file: string, whose: string): string {
  if (LIKE_A_KEY.test(file)) {
    const seen = 'a key on a command line or in a configuration is seen by others'
    throw new DirectorError('CONFIG_INVALID', `expected the name of a file with the ${whose} key, not a key: ${seen}`)
  }
  return readNamedFile(file, `the ${whose} key`, true)
}
