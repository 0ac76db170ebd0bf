/** `director mark`: the pool's rules that mark packets. */
import { Argument, type Command, InvalidArgumentError, Option } from 'commander'
import type { MarkRule } from '../../../forwarder/service.ts'
import { canonicalPrefix, isPrefix } from '../../../protocol/packet/prefix.ts'
import { request } from '../../director/control/client.ts'
import { portsOf } from '../../director/pool/mark-changes.ts'
import { type SocketOptions, socketVerbs } from './socket-verbs.ts'
import { table } from './table.ts'
import { wholeNumber } from './values.ts'

const MARK_MAX = 4294967295
const RULES_MAX = 256

interface RuleOptions extends SocketOptions {
  protocol?: 'tcp' | 'udp' | 'sctp'
  source?: string
  destination?: string
  port?: readonly [first: number, last: number]
  interface?: string
  at?: number
}

export function declare(command: Command): void {
  const verb = socketVerbs(command)
  const ruleVerb = (name: string, summary: string) =>
    verb(name, summary)
      .addArgument(new Argument('<mark>', `1 to ${MARK_MAX}`).argParser(wholeNumber(1, MARK_MAX)))
      .addOption(new Option('--protocol <name>', 'of this protocol').choices(['tcp', 'udp', 'sctp']))
      .addOption(new Option('--source <prefix>', 'from these clients').argParser(prefix))
      .addOption(new Option('--destination <prefix>', 'to these addresses, VIPs or not').argParser(prefix))
      .addOption(new Option('--port <port>', 'to this port, or to one of FIRST-LAST').argParser(ports))
      .option('--interface <name>', "that come in on this interface of the director's")
  verb('list', 'show the rules in the order in which they are asked')
    .option('--json', 'print them as JSON')
    .action(async ({ json, socket }: SocketOptions & { json?: true }) => {
      const rules = (await request(socket, 'GET', '/marks')) as MarkRule[]
      const text = json ? JSON.stringify(rules) : renderMarks(rules)
      if (text !== '') process.stdout.write(`${text}\n`)
    })
  ruleVerb('add', 'mark packets of which all holds that is given')
    .addOption(new Option('--at <place>', 'its place in the list; the last').argParser(wholeNumber(1, RULES_MAX)))
    .action(async (mark: number, options: RuleOptions) => {
      const { socket, at } = options
      await request(socket, 'POST', '/marks', { rule: ruleOf(mark, options), at })
    })
  ruleVerb('delete', 'delete the rule that says this').action(async (mark: number, options: RuleOptions) => {
    await request(options.socket, 'DELETE', '/marks', ruleOf(mark, options))
  })
}

export function renderMarks(rules: readonly MarkRule[]): string {
  return table(
    ['Place', 'Mark', 'Protocol', 'Source', 'Destination', 'Port', 'Interface'],
    rules.map(
      ({ mark, protocol = 'any', source = 'any', destination = 'any', firstPort, lastPort, link = 'any' }, index) => [
        index + 1,
        mark,
        protocol,
        source,
        destination,
        firstPort === undefined ? 'any' : portsOf({ firstPort, lastPort }),
        link,
      ],
    ),
  )
}

function ruleOf(mark: number, options: RuleOptions): MarkRule {
  const { protocol, source, destination, port, interface: link } = options
  return { mark, protocol, source, destination, firstPort: port?.[0], lastPort: port?.[1], link }
}

function prefix(text: string): string {
  if (isPrefix(text)) return canonicalPrefix(text)
  throw new InvalidArgumentError('Expected a prefix such as 10.3.0.0/24 or 2001:db8::/32.')
}

function ports(text: string): [first: number, last: number] {
  const port = wholeNumber(1, 65535)
  const [first, last = first, ...rest] = text.split('-')
  if (rest.length === 0 && port(first) <= port(last)) return [port(first), port(last)]
  throw new InvalidArgumentError('Expected a port such as 80 or a range such as 8000-8999.')
}
