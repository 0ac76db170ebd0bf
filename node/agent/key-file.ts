/** Key files as they are read: those of agents' reports, and the text of any. */
import { readFileSync } from 'node:fs'
import { DirectorError } from '../../protocol/errors.ts'
import { type AgentKey, parseAgentKeys } from '../../protocol/wire/agent-key.ts'

/** Somebody has given the key where its file was asked for: it must not be shown again. */
const LIKE_A_KEY = /[0-9a-f]{64}/i

/** At least one. @throws DirectorError CONFIG_UNREADABLE or CONFIG_INVALID */
export function readAgentKeys(file: string): AgentKey[] {
  return parseAgentKeys(readKeyText(file, "agents'"), file)
}

/**
 * @param whose keys they are, for messages
 * @throws DirectorError CONFIG_UNREADABLE, or CONFIG_INVALID when it is a key in place of the name of its file
 */
export function readKeyText(file: string, whose: string): string {
  if (LIKE_A_KEY.test(file)) {
    const seen = 'a key on a command line or in a configuration is seen by others'
    throw new DirectorError('CONFIG_INVALID', `expected the name of a file with the ${whose} key, not a key: ${seen}`)
  }
  try {
    return readFileSync(file, 'utf8')
  } catch (error) {
    const reason = (error as Error).message
    throw new DirectorError('CONFIG_UNREADABLE', `${file}: the ${whose} key cannot be read: ${reason}`)
  }
}
