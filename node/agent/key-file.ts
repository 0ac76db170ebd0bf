/** The key that agents and directors share, read from its file. */
import { readFileSync } from 'node:fs'
import { DirectorError } from '../../protocol/errors.ts'
import { parseAgentKey } from '../../protocol/wire/agent-report.ts'

/** @throws DirectorError CONFIG_UNREADABLE or CONFIG_INVALID */
export function readAgentKey(file: string): Buffer {
  let text: string
  try {
    text = readFileSync(file, 'utf8')
  } catch (error) {
    throw new DirectorError('CONFIG_UNREADABLE', `${file}: the agents' key cannot be read: ${(error as Error).message}`)
  }
  return parseAgentKey(text, file)
}
