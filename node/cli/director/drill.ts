/** `director drill`: a failure rehearsed in a lab of its own, under load, and measured. */
import { Argument, type Command, Option } from 'commander'
import { DRILLS, type DrillOptions, runDrill } from '../../drill/drill.ts'
import { FAMILIES } from '../../drill/lab-plan.ts'
import { poolOptions } from './pool-options.ts'
import { wholeNumber } from './values.ts'

export function declare(command: Command): void {
  command.addArgument(new Argument('<drill>', 'what is made to fail').choices(DRILLS))
  for (const option of poolOptions()) command.addOption(option)
  command
    .addOption(new Option('--family <family>', 'of the services that are used').choices(FAMILIES).default('ipv4'))
    .option('--sessions <number>', 'long ones, 1 to 20000', wholeNumber(1, 20_000), 1000)
    .option('--rate <number>', 'new a second, 1 to 500', wholeNumber(1, 500), 50)
    .option('--seconds <number>', 'watched before, and after', wholeNumber(1, 3600), 10)
    .option('--json', 'print the result as one JSON object, with all an array')
    .action(async (drill: DrillOptions['drill'], options: Omit<DrillOptions, 'drill'>) => {
      process.exitCode = await runDrill({ ...options, drill })
    })
}
