/**
 * vsadm from its words to its exit status; everything outside it comes in as a parameter.
 */
import { type Control, execute } from './execute.ts'
import { helpText, versionText } from './help.ts'
import type { NameDatabase } from './names.ts'
import { type Dialect, parseCommandLine, tryHelp, UsageError } from './parse.ts'

export interface Surroundings {
  /** The name the program was called by. */
  readonly program: string
  readonly control: Control
  readonly names: NameDatabase
  /** All of stdin; only -R reads it. */
  readStandardInput(): string
  writeOutput(text: string): void
  writeError(text: string): void
}

/** Runs one command line. Resolves to the exit status. */
export async function runVsadm(words: readonly string[], surroundings: Surroundings): Promise<number> {
  const { program, control, names, writeOutput, writeError } = surroundings
  const dialect: Dialect = { program, names, strict: program === 'ipvsadm' }
  try {
    return await run(words.length > 0 ? words : ['--list'])
  } catch (error) {
    return report(error)
  }

  async function run(words: readonly string[]): Promise<number> {
    const parsed = await parseCommandLine(words, dialect)
    if (parsed.command === 'restore') return await restore()
    if (parsed.command === 'help') writeOutput(helpText(program))
    else if (parsed.command === 'version') writeOutput(versionText(program))
    else writeOutput(await execute(parsed, control, names))
    return 0
  }

  /**
   * Each line is a command line, with or without the program's name in front. A line that cannot be understood ends it;
   * one that the director refuses does not, and the last line's status is the whole's: so does ipvsadm.
   */
  async function restore(): Promise<number> {
    let status = 0
    for (const line of surroundings.readStandardInput().split('\n')) {
      const words = line.split(/\s+/).filter(Boolean)
      if (words[0] === 'ipvsadm' || words[0] === program) words.shift()
      if (words.length === 0) continue
      const parsed = await parseCommandLine(words, dialect)
      if (parsed.command === 'restore') throw tryHelp(program)
      try {
        writeOutput(await execute(parsed, control, names))
        status = 0
      } catch (error) {
        status = report(error)
      }
    }
    return status
  }

  function report(error: unknown): number {
    if (!(error instanceof UsageError)) throw error
    writeError(`${error.message}\n`)
    return error.exitCode
  }
}
