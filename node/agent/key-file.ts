/** The keys of agents' reports, read from their file. */
import { readFileSync } from 'node:fs'
import { DirectorError } from '../../protocol/errors.ts'
import { type AgentKey, parseAgentKeys } from '../../protocol/wire/agent-key.ts'

/** Somebody has given the key where its file was asked for: it must not be shown again. */
const LIKE_A_KEY = /[0-9a-f]{64}/i

/** At least one. @throws DirectorError CONFIG_UNREADABLE or CONFIG_INVALID */
export function readAgentKeys(file: string): AgentKey[] {
  if (LIKE_A_KEY.test(file)) {
    const seen = 'a key on a command line or in a configuration is seen by others'
    throw new DirectorError('CONFIG_INVALID', `expected the name of a file with the agents' key, not a key: ${seen}`)
  }
  let text: string
  try {
    text = readFileSync(file, 'utf8')
  } catch (error) {
    throw new DirectorError('CONFIG_UNREADABLE', `${file}: the agents' key cannot be read: ${(error as Error).message}`)
  }
  return parseAgentKeys(text, file)
}
