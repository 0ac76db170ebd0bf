/** `director import`: another program's configuration as the pool's, and what of it cannot be. */
import { Argument, type Command } from 'commander'
import { readInput } from '../standard-input.ts'

export function declare(command: Command): void {
  const { writeOut = () => {}, writeErr = () => {} } = command.configureOutput()
  command
    .addArgument(new Argument('<file>', 'keepalived.conf, or - for standard input'))
    .action(async (file: string) => {
      const { importKeepalived } = await import('../import/keepalived.ts')
      const { printComment, printPoolFile } = await import('../pool-file.ts')
      const { services, settings, vips, omissions } = importKeepalived(await readInput(file), file)
      if (vips.length > 0) {
        const isOld = vips.some(({ version }) => version === 2)
        const advice = isOld ? ' (version 2 is what keepalived speaks: take that out when it is gone)' : ''
        writeOut(`# For the director's own file, where \`name\`, \`interfaces\` and \`cluster\` are${advice}:\n`)
        writeOut(printComment({ vips }))
      }
      for (const part of printPoolFile({ services, settings, marks: [] })) writeOut(part)
      for (const { line, message } of omissions) writeErr(`${file}:${line}: ${message}\n`)
      if (services.length === 0)
        writeErr(`${file}: no service came out of it: what is printed, applied, removes all that the pool has\n`)
    })
}
