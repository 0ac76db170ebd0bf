/**
 * vsadm from its words to its exit status; everything outside it comes in as a parameter. What only some commands need is loaded
 * with them: a listing is asked for far more often, and most of its time is that of loading.
 */
import { DirectorError } from '../../../protocol/errors.ts'
import { asUsageError, type Director, execute } from './execute.ts'
import type { NameDatabase } from './names.ts'
import { parseCommandLine } from './parse.ts'
import { type Dialect, UsageError } from './request.ts'

export interface Surroundings {
  /** The name the program was called by. */
  readonly program: string
  readonly director: Director
  readonly names: NameDatabase
  /** All of stdin; only -R reads it. */
  readStandardInput(): Promise<string>
  writeOutput(text: string): void
  writeError(text: string): void
}

/** Runs one command line. Resolves to the exit status. */
export async function runVsadm(words: readonly string[], surroundings: Surroundings): Promise<number> {
  const { program, director, names, writeOutput, writeError } = surroundings
  const isAsked = words[0] === '--strict'
  const dialect: Dialect = { program, names, strict: isAsked || program === 'ipvsadm' }
  try {
    return await run(isAsked ? words.slice(1) : words)
  } catch (error) {
    const failure = error instanceof DirectorError ? asUsageError(error, { command: 'restore' }, dialect) : error
    if (!(failure instanceof UsageError)) throw failure
    writeError(`${failure.message}\n`)
    return failure.exitCode
  }

  async function run(given: readonly string[]): Promise<number> {
    const request = await parseCommandLine(given.length > 0 ? given : ['--list'], dialect)
    if (request.command === 'restore') return await restore()
    writeOutput(await execute(request, director, dialect))
    return 0
  }

  async function restore(): Promise<number> {
    const { restoreLineByLine, restoreWhole } = await import('./restore.ts')
    const text = await surroundings.readStandardInput()
    if (dialect.strict) {
      return restoreLineByLine(text, director, dialect, { write: writeOutput, writeError })
    }
    await restoreWhole(text, director, dialect)
    return 0
  }
}
