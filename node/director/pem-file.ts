/** Files of PEM (RFC 7468) that a configuration, an environment or a command names. No error has anything of a key in it. */
import { DirectorError } from '../../protocol/errors.ts'
import { readNamedFile } from '../agent/named-file.ts'

/** What a file's name was asked for and this was given: PEM, or its first line of an Ed25519 key. */
const LIKE_PEM = /-----BEGIN|MC4CAQAw/

/**
 * @param what is in it, for messages
 * @param isSecret nobody but its owner may be able to read or write it
 * @throws DirectorError CONFIG_UNREADABLE or CONFIG_INVALID, with the file
 */
export function readPem(file: string, what: string, isSecret = false): string {
  if (LIKE_PEM.test(file)) {
    throw new DirectorError('CONFIG_INVALID', `expected the name of a file with ${what}, not what is in it`)
  }
  return readNamedFile(file, what, isSecret)
}
