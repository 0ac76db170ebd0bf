/**
 * What a command line asks for, and how one that cannot be carried out is answered.
 */
import type { ServerInput, ServiceInput } from '../../director/control/api.ts'
import type { CommandName, OptionName } from './grammar.ts'
import type { NameDatabase } from './names.ts'

/** A command line that is not carried out: a line for stderr and an exit status. */
export class UsageError extends Error {
  readonly exitCode: number
  constructor(message: string, exitCode = 2) {
    super(message)
    this.name = 'UsageError'
    this.exitCode = exitCode
  }
}

/** An option in the middle of a line is wrong. In a document that is restored line by line, the next line has its turn. */
export class OptionError extends UsageError {
  constructor(word: string, reason: string) {
    super(`${word}: ${reason}`, 255)
  }
}

export interface SyncDaemon {
  readonly state: 'master' | 'backup'
  readonly interface: string
  readonly syncId: number
  readonly maxLength?: number
  readonly group?: string
  readonly port?: number
  readonly ttl?: number
}

export interface Request {
  readonly command: CommandName | 'help' | 'version'
  readonly options: ReadonlySet<OptionName>
  /** Undefined: no service was named. -A and -E use all of it, the others what identifies it. */
  readonly service: ServiceInput | undefined
  /** Of -a, -e and -d. */
  readonly server: ServerInput | undefined
  /** Of --set: seconds of an established TCP connection, of one that is closing, and of UDP. */
  readonly timeouts: readonly number[]
  /** Of --start-daemon and --stop-daemon. */
  readonly daemon: SyncDaemon
}

export interface Dialect {
  /** What the program was called by; stands in messages. */
  readonly program: string
  /** Nothing but ipvsadm's own language: not the spelling of 1999, none of its mistakes mended. */
  readonly strict: boolean
  readonly names: NameDatabase
}

export function tryHelp(program: string): UsageError {
  return new UsageError(`Try \`${program} -h' or '${program} --help' for more information.`, 255)
}
