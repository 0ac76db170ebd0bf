/**
 * Whether the options of a command line go together, by the tables of grammar.ts, and in which order that is checked: an
 * option is looked for, then whether it is allowed, then the next one. Source: recordings of ipvsadm 1.31.
 */
import {
  type CommandName,
  LEGAL_OPTIONS,
  LEGAL_TUNNEL_OPTIONS,
  type Legality,
  OPTION_NAMES,
  type OptionName,
  TUNNEL_OPTIONS,
  type TunnelType,
} from './grammar.ts'
import { UsageError } from './request.ts'

/** @throws UsageError */
export function checkOptions(command: CommandName, given: ReadonlySet<OptionName>): void {
  check(OPTION_NAMES, LEGAL_OPTIONS[command], given, `'${command}' command`)
}

/** @throws UsageError */
export function checkTunnelOptions(type: TunnelType, given: ReadonlySet<OptionName>): void {
  check(TUNNEL_OPTIONS, LEGAL_TUNNEL_OPTIONS[type], given, `'${type}' tunnel type`)
}

/** What -L prints instead of the table has no other columns. @throws UsageError */
export function checkListOptions(given: ReadonlySet<OptionName>): void {
  const has = (...names: OptionName[]) => names.some((name) => given.has(name))
  const columns = has('connection', 'timeout', 'daemon') && has('stats', 'rate', 'thresholds')
  if (columns || (has('timeout', 'daemon') && has('persistent-conn')))
    throw new UsageError('options conflicts in the list command')
}

function check(
  names: readonly OptionName[],
  legal: Partial<Record<OptionName, Legality>>,
  given: ReadonlySet<OptionName>,
  where: string,
): void {
  let exclusive: OptionName | undefined
  for (const name of names) {
    if (!given.has(name)) {
      if (legal[name] === 'required') throw new UsageError(`You need to supply the '${name}' option for the ${where}`)
      continue
    }
    if (!legal[name]) throw new UsageError(`Illegal '${name}' option with the ${where}`)
    if (legal[name] !== 'exclusive') continue
    if (exclusive) throw new UsageError(`The option '${name}' conflicts with the '${exclusive}' option in the ${where}`)
    exclusive = name
  }
}
