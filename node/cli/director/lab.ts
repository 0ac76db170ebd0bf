/** `director lab`: a pool, real servers and clients in network namespaces of this machine. */
import { Argument, type Command } from 'commander'
import { type LabDescription, labDown, labExec, labList, labUp } from '../../drill/lab.ts'
import type { LabOptions } from '../../drill/lab-plan.ts'
import { poolOptions } from './pool-options.ts'
import { wholeNumber } from './values.ts'

export function declare(command: Command): void {
  command.helpCommand(false)
  const verb = (name: string, summary: string) =>
    command.command(name).description(summary).copyInheritedSettings(command)
  const named = (name: string, summary: string) =>
    verb(name, summary).addArgument(
      new Argument('<name>', 'of the lab: up to 32 lower-case letters, digits and dashes'),
    )

  const up = named('up', 'build a lab and leave it standing')
  for (const option of poolOptions()) up.addOption(option)
  up.option('--virtual-mac', 'of VRRP, in place of that of the active director')
  up.option('--clients <number>', 'clients, 1 to 32', wholeNumber(1, 32), 1).action(
    async (name: string, options: Omit<LabOptions, 'name'>) => print(await labUp({ name, ...options })),
  )
  named('down', 'end a lab, and what killed ones left behind').action((name: string) => labDown(name))
  verb('list', 'show the labs that stand').action(() => labList().forEach(print))
  named('exec', 'run a command on a host of a lab')
    .usage('<name> <host> -- <command>')
    .argument('<host>', 'd1 is the first director, s1 the first real server, c1 the first client')
    .argument('<command...>', 'with its arguments, after --')
    .action(async (name: string, host: string, words: string[]) => {
      process.exitCode = await labExec(name, host, words)
    })
}

function print({ name, method, virtualAddresses, kept, createdAt, hosts }: LabDescription): void {
  const title = `${name}: ${method}, VIPs ${virtualAddresses.join(' ')}, since ${createdAt.toISOString()}`
  const lines = hosts.map((host) => `  ${host.name.padEnd(4)} ${host.addresses.join(' ')}`)
  process.stdout.write(`${title}${kept ? '' : ', in use by a drill'}\n${lines.join('\n')}\n`)
}
