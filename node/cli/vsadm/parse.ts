/**
 * From the words of a command line to what is asked for, with ipvsadm's own errors for what is wrong.
 * Source: ipvsadm(8) 1.31 and recordings of it (test/reference/cli.jsonl).
 */
import { Draft } from './draft.ts'
import { type CommandName, SPELLINGS, spellingsBeyond } from './grammar.ts'
import { checkListOptions } from './legality.ts'
import { type Dialect, OptionError, type Request, tryHelp, UsageError } from './request.ts'
import { type Option, readOptions } from './words.ts'

/** @throws UsageError */
export async function parseCommandLine(words: readonly string[], dialect: Dialect): Promise<Request> {
  const leftover: string[] = []
  let spellings = SPELLINGS
  const steps = readOptions(words, leftover, () => spellings)
  const first = steps.next().value
  if (!first || first.kind === 'error' || !first.option.spelling.command) throw tryHelp(dialect.program)

  const command = first.option.spelling.command
  if (command === 'help' || command === 'version') return asks(command)
  if (!dialect.strict) spellings = spellingsBeyond(command)
  const draft = new Draft(command, stateOf(command, first.option), dialect)
  for (const step of steps) {
    if (step.kind === 'error') throw new OptionError(step.word, step.reason)
    await draft.take(step.option)
  }
  const request = await draft.finish(leftover)
  if (command === 'list') checkListOptions(request.options)
  return request
}

function asks(command: 'help' | 'version'): Request {
  const daemon = { state: 'master', interface: '', syncId: 0 } as const
  return { command, options: new Set(), service: undefined, server: undefined, timeouts: [], daemon }
}

function stateOf(command: CommandName, { argument }: Option): 'master' | 'backup' | undefined {
  if (command !== 'start-daemon' && command !== 'stop-daemon') return undefined
  if (argument === 'master' || argument === 'backup') return argument
  throw new UsageError(
    command === 'start-daemon' ? 'illegal start-daemon parameter specified' : 'illegal start_daemon specified',
  )
}
