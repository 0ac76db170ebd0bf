/** `director events`: what happens to the director of this machine, line by line, until it ends or Ctrl-C. */
import type { Command } from 'commander'
import type { DirectorEvent } from '../../director/control/answers.ts'
import { follow } from '../../director/control/client.ts'
import { eventLine } from './event-line.ts'
import { socketOption } from './socket-verbs.ts'

interface Options {
  json?: true
  socket: string
}

export function declare(command: Command): void {
  command.option('--json', 'print each event as a JSON object').addOption(socketOption()).action(show)
}

async function show({ json, socket }: Options): Promise<void> {
  for await (const event of follow(socket, '/events')) {
    process.stdout.write(`${json ? JSON.stringify(event) : eventLine(event as DirectorEvent)}\n`)
  }
}
