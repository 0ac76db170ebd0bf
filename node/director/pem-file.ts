/** Files of PEM (RFC 7468) that a configuration, an environment or a command names. No error has anything of a key in it. */
import { closeSync, fstatSync, openSync, readFileSync } from 'node:fs'
import { DirectorError } from '../../protocol/errors.ts'

const READABLE_BY_OTHERS = 0o077
/** What a file's name was asked for and this was given: PEM, or its first line of an Ed25519 key. */
const LIKE_PEM = /-----BEGIN|MC4CAQAw/

/**
 * @param what is in it, for messages
 * @param isSecret nobody but its owner may be able to read it
 * @throws DirectorError CONFIG_UNREADABLE or CONFIG_INVALID, with the file
 */
export function readPem(file: string, what: string, isSecret = false): string {
  if (LIKE_PEM.test(file)) {
    throw new DirectorError('CONFIG_INVALID', `expected the name of a file with ${what}, not what is in it`)
  }
  try {
    const descriptor = openSync(file, 'r')
    try {
      if (isSecret && (fstatSync(descriptor).mode & READABLE_BY_OTHERS) !== 0) {
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
