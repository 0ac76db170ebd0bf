/** `director config`: the pool's configuration as a whole, its history, and the way back. */
import { Argument, type Command } from 'commander'
import type { PoolDocument, RevisionListing } from '../../director/control/answers.ts'
import { request, requestChanges, requestPreview, requestRollback } from '../../director/control/client.ts'
import { readInput } from '../standard-input.ts'
import { renderHistory } from './history-table.ts'
import { type SocketOptions, socketVerbs } from './socket-verbs.ts'
import { revisionName } from './values.ts'

type ShowOptions = SocketOptions & { revision?: string; json?: true }
type ApplyOptions = SocketOptions & { dryRun?: true }
type HistoryOptions = SocketOptions & { json?: true }

type Write = (text: string) => void

export function declare(command: Command): void {
  const { writeOut: write = (text) => void process.stdout.write(text) } = command.configureOutput()
  const verb = socketVerbs(command)
  verb('show', 'print all of it, in the form that apply reads')
    .option('--revision <revision>', 'as it was then')
    .option('--json', 'print it as JSON')
    .action((options: ShowOptions) => show(options, write))
  verb('apply', 'make it what a file says')
    .addArgument(new Argument('<file>', 'YAML with all of it, or - for standard input'))
    .option('--dry-run', 'only show what would change')
    .action((file: string, options: ApplyOptions) => apply(file, options, write))
  verb('history', 'show its last changes, newest first')
    .option('--json', 'print them as JSON')
    .action((options: HistoryOptions) => history(options, write))
  verb('diff', 'show what is different between two revisions')
    .addArgument(new Argument('[from]', 'the one before the last change'))
    .addArgument(new Argument('[to]', 'what is in force'))
    .action((from: string | undefined, to: string | undefined, options: SocketOptions) =>
      diff(from, to, options, write),
    )
  verb('rollback', 'make it what it was at a revision')
    .addArgument(new Argument('<revision>', 'as history shows it, or enough of its beginning').argParser(revisionName))
    .action((revision: string, options: SocketOptions) => rollback(revision, options, write))
}

async function show({ socket, revision, json }: ShowOptions, write: Write): Promise<void> {
  const query = revision === undefined ? '' : `?${new URLSearchParams({ revision })}`
  const document = (await request(socket, 'GET', `/configuration${query}`)) as PoolDocument
  if (json) {
    write(`${JSON.stringify(document)}\n`)
    return
  }
  const { printPoolFile } = await import('../pool-file.ts')
  for (const part of printPoolFile(document)) write(part)
}

async function apply(file: string, { socket, dryRun }: ApplyOptions, write: Write): Promise<void> {
  const { atLine, editsOf, parsePoolFile } = await import('../pool-file.ts')
  const poolFile = parsePoolFile(await readInput(file), file)
  const edits = editsOf(poolFile)
  try {
    const { revision, difference } = await requestPreview(socket, edits, poolFile.content.revision)
    const isSame = difference.length === 0
    // Based on what the difference was made from: what was not seen is not overwritten.
    const changed = isSame || dryRun ? undefined : await requestChanges(socket, edits, revision)
    for (const line of difference) write(`${line}\n`)
    if (isSame) write(`nothing to change: revision ${revision}\n`)
    if (changed) write(revisionLine(changed))
  } catch (error) {
    throw atLine(error, poolFile)
  }
}

/** Based on what the difference was made from, as apply. */
async function rollback(to: string, { socket }: SocketOptions, write: Write): Promise<void> {
  const { revision, isSame, difference } = await requestRollback(socket, to)
  for (const line of difference) write(`${line}\n`)
  write(isSame ? `nothing to change: revision ${revision}\n` : revisionLine({ revision }))
}

async function history({ socket, json }: HistoryOptions, write: Write): Promise<void> {
  const revisions = (await request(socket, 'GET', '/revisions')) as RevisionListing[]
  write(`${json ? JSON.stringify(revisions) : renderHistory(revisions)}\n`)
}

async function diff(
  from: string | undefined,
  to: string | undefined,
  { socket }: SocketOptions,
  write: Write,
): Promise<void> {
  const query = new URLSearchParams({ from: from ?? (await revisionBefore(socket)), ...(to !== undefined && { to }) })
  for (const line of (await request(socket, 'GET', `/difference?${query}`)) as string[]) write(`${line}\n`)
}

async function revisionBefore(socket: string): Promise<string> {
  const [newest, before = newest] = (await request(socket, 'GET', '/revisions')) as RevisionListing[]
  return before.revision
}

function revisionLine(answer: unknown): string {
  return `revision ${(answer as { revision: string }).revision}\n`
}
