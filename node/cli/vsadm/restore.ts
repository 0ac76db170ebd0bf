/**
 * Command lines from stdin (-R). vsadm applies them as a whole or not at all; ipvsadm, to the letter, line by line: a line
 * that cannot be understood ends it, as one that asks for help does, one that is refused does not, and the last line's status is the
 * whole's.
 */
import type { TableEdit } from '../../director/control/api.ts'
import { ChangeRefused } from '../../director/control/client.ts'
import { asUsageError, commandOf, type Director, editOf, execute } from './execute.ts'
import { parseCommandLine } from './parse.ts'
import { type Dialect, OptionError, type Request, tryHelp, UsageError } from './request.ts'

export interface Output {
  write(text: string): void
  writeError(text: string): void
}

interface Line {
  /** From 1. */
  readonly number: number
  readonly words: readonly string[]
}

/** Resolves to the exit status. @throws UsageError for the line that ends it */
export async function restoreLineByLine(
  text: string,
  director: Director,
  dialect: Dialect,
  output: Output,
): Promise<number> {
  let status = 0
  for (const { words } of linesOf(text, dialect)) {
    let request: Request | undefined
    try {
      request = await parseLine(words, dialect)
      output.write(await execute(request, director, dialect))
      if (request.command === 'help' || request.command === 'version') return 0
      status = 0
    } catch (error) {
      const goesOn = error instanceof OptionError || (request !== undefined && request.command !== 'list')
      if (!(error instanceof UsageError) || !goesOn) throw error
      output.writeError(`${error.message}\n`)
      status = error.exitCode
    }
  }
  return status
}

/** Makes all of the changes, or none. @throws UsageError with the line that is to blame */
export async function restoreWhole(text: string, director: Director, dialect: Dialect): Promise<void> {
  const edits: TableEdit[] = []
  /** The number of the line that each is from. */
  const lines: number[] = []
  for (const line of linesOf(text, dialect)) {
    edits.push(await readEdit(line, dialect))
    lines.push(line.number)
  }
  if (edits.length === 0) return
  try {
    await director.change(edits)
  } catch (error) {
    if (!(error instanceof ChangeRefused)) throw error
    throw atLine(lines[error.at], asUsageError(error, { command: commandOf(edits[error.at]) }, dialect))
  }
}

async function readEdit({ number, words }: Line, dialect: Dialect): Promise<TableEdit> {
  let request: Request
  try {
    request = await parseLine(words, dialect)
  } catch (error) {
    throw error instanceof UsageError ? atLine(number, error) : error
  }
  const edit = editOf(request)
  if (edit) return edit
  const message = `the '${request.command}' command changes no table: only -A -E -D -C -a -e -d are restored together`
  throw atLine(number, new UsageError(message))
}

function atLine(number: number, { message, exitCode }: UsageError): UsageError {
  return new UsageError(`line ${number}: ${message.trimEnd()}: nothing is changed`, exitCode)
}

async function parseLine(words: readonly string[], dialect: Dialect): Promise<Request> {
  const request = await parseCommandLine(words, dialect)
  if (request.command === 'restore') throw tryHelp(dialect.program)
  return request
}

/** The lines that have words; the program's name is none, wherever it stands. A word that begins with # begins a comment, in vsadm only. */
function* linesOf(text: string, { program, strict }: Dialect): Generator<Line> {
  for (const [index, line] of text.split('\n').entries()) {
    const all = line.split(/[ \t\r]+/).filter((word) => word !== '' && word !== 'ipvsadm' && word !== program)
    const comment = strict ? -1 : all.findIndex((word) => word.startsWith('#'))
    const words = comment < 0 ? all : all.slice(0, comment)
    if (words.length > 0) yield { number: index + 1, words }
  }
}
