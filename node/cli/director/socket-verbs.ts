/** What the commands that ask a running director have in common: the option that says which, and verbs that all have it. */
import { type Command, Option } from 'commander'
import { controlAddress } from '../control-socket.ts'

export interface SocketOptions {
  socket: string
}

export function socketOption(): Option {
  const what = "the director's control socket, or https://HOST:PORT; also DIRECTOR_SOCKET"
  return new Option('--socket <address>', what).default(controlAddress())
}

/** Makes verbs of a command. */
export function socketVerbs(command: Command): (name: string, summary: string) => Command {
  command.helpCommand(false)
  return (name, summary) =>
    command.command(name).description(summary).copyInheritedSettings(command).addOption(socketOption())
}
