/** Files that a configuration, an environment or a command names, read whole; one with a secret only if it is its owner's alone. */
import { closeSync, fstatSync, openSync, readFileSync } from 'node:fs'
import { DirectorError } from '../../protocol/errors.ts'

const OPEN_TO_OTHERS = 0o077

/**
 * @param what is in it, for messages
 * @param isSecret nobody but its owner may be able to read or write it
 * @throws DirectorError CONFIG_UNREADABLE, or CONFIG_INVALID when others may use a secret, with the file
 */
export function readNamedFile(file: string, what: string, isSecret: boolean): string {
  try {
    const descriptor = openSync(file, 'r')
    try {
      if (isSecret && (fstatSync(descriptor).mode & OPEN_TO_OTHERS) !== 0) {
        throw new DirectorError('CONFIG_INVALID', `${file}: others than its owner may use this key: chmod 600 it`)
      }
      return readFileSync(descriptor, 'utf8')
    } finally {
      closeSync(descriptor)
    }
  } catch (error) {
    if (error instanceof DirectorError) throw error
    const reason = (error as Error).message
    throw new DirectorError('CONFIG_UNREADABLE', `${file}: ${what} cannot be read: ${reason}`)
  }
}
