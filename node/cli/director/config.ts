/** `director config`: the pool's configuration as a whole, its history, and the way back. */
import { Argument, type Command, Option } from 'commander'
import type { PoolDocument, RevisionListing } from '../../director/control/api.ts'
import { request, requestChanges, requestPreview } from '../../director/control/client.ts'
import { controlSocketPath } from '../control-socket.ts'
import { renderHistory } from './history-table.ts'

interface Options {
  socket: string
}
type ShowOptions = Options & { revision?: string; json?: true }
type ApplyOptions = Options & { dryRun?: true }
type HistoryOptions = Options & { json?: true }

type Write = (text: string) => void

export function declare(command: Command): void {
  command.helpCommand(false)
  const { writeOut: write = (text) => void process.stdout.write(text) } = command.configureOutput()
  const verb = (name: string, summary: string) =>
    command
      .command(name)
      .description(summary)
      .copyInheritedSettings(command)
      .addOption(
        new Option('--socket <path>', "the director's control socket, also DIRECTOR_SOCKET").default(
          controlSocketPath(),
        ),
      )
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
    .action((from: string | undefined, to: string | undefined, options: Options) => diff(from, to, options, write))
  verb('rollback', 'make it what it was at a revision')
    .addArgument(new Argument('<revision>', 'as history shows it, or enough of its beginning'))
    .action(async (revision: string, { socket }: Options) => {
      write(revisionLine(await request(socket, 'POST', '/rollback', { revision })))
    })
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
  const { readText } = await import('../../director/yaml-file.ts')
  const poolFile = parsePoolFile(readText(file), file)
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

async function history({ socket, json }: HistoryOptions, write: Write): Promise<void> {
  const revisions = (await request(socket, 'GET', '/revisions')) as RevisionListing[]
  write(`${json ? JSON.stringify(revisions) : renderHistory(revisions)}\n`)
}

async function diff(
  from: string | undefined,
  to: string | undefined,
  { socket }: Options,
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
