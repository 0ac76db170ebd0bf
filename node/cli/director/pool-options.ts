/** The options that say what the pool of a lab consists of; `lab up` and drills have them in common. */
import { InvalidArgumentError, Option } from 'commander'
import { schedulers } from '../../../scheduler/registry.ts'
import { SYNCS } from '../../drill/lab-plan.ts'
import { wholeNumber } from './values.ts'

export function poolOptions(): Option[] {
  return [
    new Option('--directors <number>', 'directors, 1 to 8').argParser(wholeNumber(1, 8)).default(3),
    new Option('--servers <number>', 'real servers, 1 to 64').argParser(wholeNumber(1, 64)).default(3),
    new Option('--method <method>', 'how packets reach them').choices(['nat', 'tun', 'dr']).default('nat'),
    new Option('--tunnel <type>', 'with method tun; ipip unless given').choices(['ipip', 'gre', 'gue']),
    new Option('--scheduler <name>', 'such as rr or mh').argParser(schedulerName).default('wlc'),
    new Option('--sync <when>', 'of services').choices(SYNCS).default('established'),
    new Option('--advertisement-interval-ms <number>', 'of VRRP, 10 to 40000, a multiple of 10')
      .argParser(multipleOfTen)
      .default(50),
  ]
}

/** Not as choices(), since there are so many that help would be too long. */
function schedulerName(text: string): string {
  const names = schedulers.map(({ name }) => name)
  if (names.includes(text)) return text
  throw new InvalidArgumentError(`Allowed choices are ${names.join(', ')}.`)
}

function multipleOfTen(text: string): number {
  const number = wholeNumber(10, 40_000)(text)
  if (number % 10 === 0) return number
  throw new InvalidArgumentError('Expected a multiple of 10.')
}
