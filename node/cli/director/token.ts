/** `director token`: the pool's key, and what it signs for directors that are to join. Needs no running director. */
import type { KeyObject } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { type Command, InvalidArgumentError } from 'commander'
import { DirectorError } from '../../../protocol/errors.ts'
import { createPoolKey, parsePrivatePoolKey, publicPoolKeyText } from '../../../protocol/pool-key.ts'
import {
  encodeJoinToken,
  type JoinToken,
  joinTokenBytes,
  joinTokenText,
  readJoinToken,
} from '../../../protocol/wire/join-token.ts'
import { readPem } from '../../director/pem-file.ts'
import { peerId } from './peer-id.ts'
import { directorName, duration, endpoint } from './values.ts'

const DEFAULT_LIFE_MS = 24 * 3_600_000

interface CreateOptions {
  key: string
  peer: string
  name: string
  address: string
  expires?: number
}

export function declare(command: Command): void {
  command.helpCommand(false)
  const { writeOut = () => {} } = command.configureOutput()
  const print = (line: string) => writeOut(`${line}\n`)
  const verb = (name: string, summary: string) =>
    command.command(name).description(summary).copyInheritedSettings(command)
  verb('key', "make the pool's key, and print its public half")
    .requiredOption('--out <file>', 'where the private half goes')
    .action(({ out }: { out: string }) => {
      writeNew(out, createPoolKey())
      print(publicPoolKeyText(readKey(out)))
    })
  verb('public-key', 'print the public half of the key in a file')
    .requiredOption('--key <file>', "the pool's key")
    .action(({ key }: { key: string }) => print(publicPoolKeyText(readKey(key))))
  verb('create', 'print a token by which one director can join')
    .requiredOption('--key <file>', "the pool's key")
    .requiredOption('--peer <peer-id>', 'of that director, as `director identity` prints it there', peerId)
    .requiredOption('--name <name>', 'of that director, as in its configuration', directorName)
    .requiredOption('--address <address:port>', 'where the others reach it', endpoint)
    .option('--expires <time>', 'how long it lets in: 30m, 7d; 24h unless given', duration)
    .action(({ key, peer, name, address, expires = DEFAULT_LIFE_MS }: CreateOptions) => {
      const issuedMs = Date.now()
      const token = { peer, name, address, issuedMs, expiresMs: issuedMs + expires }
      print(joinTokenText(encodeJoinToken(token, readKey(key))))
    })
  verb('show', 'say what is in a token')
    .argument('<token>', 'as `director token create` prints it', readToken)
    .action((token: JoinToken) => print(describeToken(token)))
}

function describeToken({ peer, name, address, issuedMs, expiresMs }: JoinToken): string {
  const [issued, expires] = [issuedMs, expiresMs].map((ms) => new Date(ms).toISOString())
  return `${name} at ${address}, peer id ${peer}, issued ${issued}, lets in until ${expires}`
}

/** A key that is there is never written over. */
function writeNew(file: string, text: string): void {
  try {
    writeFileSync(file, text, { mode: 0o600, flag: 'wx' })
  } catch (error) {
    throw new DirectorError('INPUT_INVALID', `the key cannot be written: ${(error as Error).message}`)
  }
}

function readKey(file: string): KeyObject {
  const key = parsePrivatePoolKey(readPem(file, "the pool's key", true))
  if (key) return key
  throw new DirectorError('CONFIG_INVALID', `${file}: there is no pool's key in it, as \`director token key\` makes it`)
}

function readToken(text: string): JoinToken {
  const bytes = joinTokenBytes(text)
  const token = bytes && readJoinToken(bytes, undefined)
  if (typeof token === 'object') return token
  throw new InvalidArgumentError('Expected a token as `director token create` prints it, whole.')
}
