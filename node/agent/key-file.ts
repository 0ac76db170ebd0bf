/** The keys of agents' reports, read from their file. */
import { readFileSync } from 'node:fs'
import { DirectorError } from '../../protocol/errors.ts'
import { type AgentKey, parseAgentKeys } from '../../protocol/wire/agent-key.ts'

/** At least one. @throws DirectorError CONFIG_UNREADABLE or CONFIG_INVALID */
export function readAgentKeys(file: string): AgentKey[] {
  let text: string
  try {
    text = readFileSync(file, 'utf8')
  } catch (error) {
    throw new DirectorError('CONFIG_UNREADABLE', `${file}: the agents' key cannot be read: ${(error as Error).message}`)
  }
  return parseAgentKeys(text, file)
}
