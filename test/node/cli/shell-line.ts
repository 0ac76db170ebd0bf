/**
 * The little of a shell that the recorded command lines need: words in quotes, lists with ";", loops over words, and what is
 * done with the output (head, sort). Lines that need a real shell are undefined.
 */
export interface ShellCommand {
  readonly words: readonly string[]
  /** What is made of its output. */
  readonly filter: (output: string) => string
  /** 2>/dev/null */
  readonly silent: boolean
}

export function shellCommands(line: string): ShellCommand[] | undefined {
  const loop = /^for (\w) in (.*?); do (.*?); done$/.exec(line)
  if (loop) {
    const [, variable, values, body] = loop
    const commands = values.split(' ').map((value) => shellCommands(body.replaceAll(`$${variable}`, value)))
    return commands.every((each) => each !== undefined) ? commands.flat() : undefined
  }
  const commands = line.split('; ').map(shellCommand)
  return commands.every((each) => each !== undefined) ? commands : undefined
}

function shellCommand(text: string): ShellCommand | undefined {
  const [command, ...filters] = text.split(' | ')
  const plain = command.replace(' 2>/dev/null', '').replace(' </dev/null', '')
  if (/[|<>&$()]/.test(plain)) return undefined
  const words = (plain.match(/"[^"]*"|\S+/g) ?? []).map((word) => word.replace(/^"(.*)"$/, '$1'))
  const applied = filters.map(filterOf)
  if (applied.some((filter) => filter === undefined)) return undefined
  return {
    words,
    silent: plain !== command && command.includes('2>/dev/null'),
    filter: (output) => applied.reduce((text, filter) => (filter as (text: string) => string)(text), output),
  }
}

function filterOf(words: string): ((text: string) => string) | undefined {
  const head = /^head -(\d+)$/.exec(words)
  if (!head) return undefined
  return (text) =>
    text
      .split('\n')
      .slice(0, Number(head[1]))
      .join('\n')
      .replace(/([^\n])$/, '$1\n')
}
