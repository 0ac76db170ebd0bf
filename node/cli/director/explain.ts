/** `director explain`: what this director would do with a packet that opens a connection, and why. */
import { type Command, Option } from 'commander'
import type { Explanation, Question } from '../../../forwarder/engine/explain.ts'
import type { FrameFacts } from '../../../forwarder/engine/explained-frame.ts'
import { type Endpoint, formatEndpoint, parseEndpoint } from '../../../protocol/packet/ipv6-address.ts'
import { request } from '../../director/control/client.ts'
import { socketOption } from './socket-verbs.ts'
import { table } from './table.ts'
import { endpoint } from './values.ts'

interface Options {
  from: string
  to: string
  proto: Question['protocol']
  json?: true
  socket: string
}

export function declare(command: Command): void {
  command
    .requiredOption('--from <address:port>', 'the client', endpoint)
    .requiredOption('--to <address:port>', 'the virtual address and port that it asks for', endpoint)
    .addOption(new Option('--proto <protocol>', 'of the packet').choices(['tcp', 'udp', 'sctp']).default('tcp'))
    .option('--json', 'print the explanation as one JSON object')
    .addOption(socketOption())
    .action(show)
}

async function show({ from, to, proto, json, socket }: Options): Promise<void> {
  const { address: client, port: clientPort } = parseEndpoint(from) as Endpoint
  const { address: virtual, port: virtualPort } = parseEndpoint(to) as Endpoint
  const question: Question = { protocol: proto, client, clientPort, virtual, virtualPort }
  const explanation = (await request(socket, 'POST', '/explain', question)) as Explanation
  process.stdout.write(`${json ? JSON.stringify(explanation) : renderExplanation(question, explanation)}\n`)
}

/** For people; every line tells one fact. */
export function renderExplanation(question: Question, explanation: Explanation): string {
  const { outcome, reason, address, mark, service, connection, template, server, candidates, before, after } =
    explanation
  const { protocol } = question
  const facts: [string, string][] = [
    ['Outcome', `${outcome}: ${reason}`],
    ['Address', `${question.virtual} is ${address} here`],
  ]
  if (mark !== undefined) facts.push(['Mark', `firewall mark ${mark}, by a rule of \`director mark list\``])
  if (service) {
    const flags = service.flags.length > 0 ? ` (${service.flags.join(',')})` : ''
    const name =
      service.mark === undefined
        ? `${protocol} ${formatEndpoint(service.address, service.port)}`
        : `firewall mark ${service.mark} of ${service.address === '::' ? 'IPv6' : 'IPv4'}`
    facts.push(['Service', `${name} ${service.scheduler}${flags}`])
  }
  if (connection) facts.push(['Connection', renderEntry(connection)])
  if (template) facts.push(['Template', `of ${template.client}, ${renderEntry(template)}`])
  if (server) facts.push(['Server', `${formatEndpoint(server.address, server.port)} by ${server.method}`])
  if (before) facts.push(['Before', renderFrame(before)])
  if (after) facts.push(['After', renderFrame(after)])
  const lines = facts.map(([name, fact]) => `${name.padEnd(10)}  ${fact}`)
  const rows = candidates.map((each) => [
    each.isChosen ? '->' : '',
    formatEndpoint(each.address, each.port),
    each.method,
    each.weight,
    each.activeConnections,
    each.inactiveConnections,
    each.overloaded ? 'yes' : 'no',
  ])
  const candidateTable = table(['', 'Candidate', 'Method', 'Weight', 'Active', 'Inactive', 'Overloaded'], rows)
  return [...lines, ...(rows.length > 0 ? ['', candidateTable] : [])].join('\n')
}

function renderEntry({ state, expiresMs }: { state: string; expiresMs: number }): string {
  return `${state}, expires in ${Math.round(expiresMs / 1000)} s`
}

function renderFrame({
  link,
  sourceMac = '?',
  destinationMac = '?',
  outer,
  source,
  destination,
  ttl,
}: FrameFacts): string {
  const tunnel = outer ? `[${outer.source} -> ${outer.destination} protocol ${outer.protocol} ttl ${outer.ttl}] ` : ''
  return `${link}: ${sourceMac} -> ${destinationMac}, ${tunnel}${source} -> ${destination} ttl ${ttl}`
}
