/** `director settings`: what the pool has set of IPVS's settings and timeouts. */
import { Argument, type Command } from 'commander'
import { SETTINGS } from '../../../forwarder/settings.ts'
import { DirectorError } from '../../../protocol/errors.ts'
import { request } from '../../director/control/client.ts'
import { demandSetting, demandValue } from '../../director/pool/setting-changes.ts'
import { type SocketOptions, socketVerbs } from './socket-verbs.ts'
import { table } from './table.ts'

export function declare(command: Command): void {
  const verb = socketVerbs(command)
  verb('list', 'show every setting, its value and its meaning')
    .option('--json', 'print names and values as one JSON object')
    .action(async ({ json, socket }: SocketOptions & { json?: true }) => {
      const values = await read(socket)
      process.stdout.write(`${json ? JSON.stringify(values) : renderSettings(values)}\n`)
    })
  verb('get', 'print the value of one')
    .addArgument(new Argument('<name>', 'such as drop_entry'))
    .action(async (name: string, { socket }: SocketOptions) => {
      demandSetting(name)
      process.stdout.write(`${(await read(socket))[name]}\n`)
    })
  verb('set', 'change some of them, in the whole pool')
    .usage('<name>=<value>...')
    .addArgument(new Argument('<assignments...>', 'such as drop_entry=1'))
    .action(async (words: string[], { socket }: SocketOptions) => {
      await request(socket, 'PUT', '/settings', readAssignments(words))
    })
}

/** @throws DirectorError INPUT_INVALID with the word that is wrong */
export function readAssignments(words: readonly string[]): Record<string, number> {
  const values = new Map<string, number>()
  for (const word of words) {
    const [, name, text] = /^([^=]*)=(.*)$/s.exec(word) ?? []
    if (name === undefined) {
      throw new DirectorError('INPUT_INVALID', `${JSON.stringify(word)}: expected NAME=VALUE such as drop_entry=1`)
    }
    const setting = demandSetting(name)
    if (values.has(name)) throw new DirectorError('INPUT_INVALID', `${name} is given twice`)
    const value = /^\d+$/.test(text) ? Number(text) : Number.NaN
    if (Number.isNaN(value)) {
      const { minimum, maximum } = setting
      const expected = `expected a whole number from ${minimum} to ${maximum}`
      throw new DirectorError('INPUT_INVALID', `${name}: ${JSON.stringify(text)}: ${expected}`)
    }
    demandValue(setting, value)
    values.set(name, value)
  }
  return Object.fromEntries(values)
}

export function renderSettings(values: Readonly<Record<string, number>>): string {
  return table(
    ['Setting', 'Value', 'Default', 'Allowed', 'Type', 'Meaning'],
    SETTINGS.filter(({ name }) => name in values).map(({ name, type, minimum, maximum, default: initial, meaning }) => [
      name,
      values[name],
      initial,
      `${minimum} to ${maximum}`,
      type,
      meaning,
    ]),
  )
}

async function read(socket: string): Promise<Record<string, number>> {
  return (await request(socket, 'GET', '/settings')) as Record<string, number>
}
