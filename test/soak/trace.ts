/** What a lab's hosts know when something has failed, at once: afterwards nobody could tell. Lines of "HOST: what it knows"; none of a host that does not answer. */

import type { ConnectionListing, DirectorStatus } from '../../node/director/control/answers.ts'
import { request } from '../../node/director/control/client.ts'
import type { Lab } from '../../node/drill/lab.ts'
import { groupOf, statusOf } from '../../node/drill/lab-directors.ts'
import { GATEWAY_ADDRESS, hostsOf, VIRTUAL_ADDRESS } from '../../node/drill/lab-plan.ts'
import { controlSocketOf } from '../../node/drill/lab-programs.ts'
import { runOn } from '../lab/lab-traffic.ts'

/** Whether a client sends its SYN again or still holds it in its own queues, and whether a server had no room for it. */
const COUNTERS = [
  'TcpExtTCPSynRetrans',
  'TcpExtTCPTimeouts',
  'TcpExtTCPSpuriousRtxHostQueues',
  'TcpExtListenOverflows',
  'TcpExtListenDrops',
  'IpInReceives',
]

/** Of a connection: which directors know it, which servers, and what its client still tries. */
export async function traceConnection(lab: Lab, clientPort: number): Promise<string[]> {
  const directors = hostsOf(lab.plan, 'director').map(async ({ name }) => {
    const path = `/connections?clientPort=${clientPort}`
    const found = (await request(controlSocketOf(lab.folder, name), 'GET', path)) as ConnectionListing[]
    const lines = found.map((each) => `${each.virtual} ${each.state} ${each.server}, ${each.expiresMs} ms left`)
    return `${name}: ${lines.join('; ') || 'nothing'}`
  })
  const servers = hostsOf(lab.plan, 'server').map(({ name }) =>
    ask(lab, name, ['ss', '-tanHo', `dport = :${clientPort}`]),
  )
  const clients = hostsOf(lab.plan, 'client').map(({ name }) =>
    ask(lab, name, ['ss', '-tanoiHO', `sport = :${clientPort}`]),
  )
  return await answers([...directors, ...servers, ...clients])
}

/** Of all connections: what directors say of themselves and lost at their links, and what clients and servers have counted since they came up. */
export async function traceCounters(lab: Lab): Promise<string[]> {
  const directors = hostsOf(lab.plan, 'director').map(async ({ name }) => {
    return `${name}: ${describeDirector(await statusOf(lab.folder, name))}`
  })
  const others = [...hostsOf(lab.plan, 'client'), ...hostsOf(lab.plan, 'server')].map(({ name }) =>
    // Without history: others may read the counters as well.
    ask(lab, name, ['nstat', '-asz', ...COUNTERS]),
  )
  return await answers([...directors, ...others])
}

/** When nobody is connected: whom clients and servers take for the director. */
export async function tracePaths(lab: Lab): Promise<string[]> {
  const directors = hostsOf(lab.plan, 'director').map(({ name }) => ask(lab, name, ['ip', '-br', 'link']))
  const clients = hostsOf(lab.plan, 'client').map(({ name }) =>
    ask(lab, name, ['ip', 'neighbour', 'show', VIRTUAL_ADDRESS]),
  )
  const servers = hostsOf(lab.plan, 'server').flatMap(({ name }) => [
    ask(lab, name, ['ip', 'neighbour', 'show', GATEWAY_ADDRESS]),
    ask(lab, name, ['ss', '-ltnH']),
  ])
  return await answers([...directors, ...clients, ...servers])
}

/** What it did not drop itself may have been lost at its links, before or behind it. */
export function describeDirector(status: DirectorStatus | undefined): string {
  const group = groupOf(status, VIRTUAL_ADDRESS)
  if (!status || !group) return 'says nothing'
  const drops = Object.entries(status.drops).flatMap(([reason, count]) => (count > 0 ? `${reason} ${count}` : []))
  const waiting = group.waiting ? `, waits: ${group.waiting}` : ''
  const links = status.links.map((link) => {
    return `; ${link.name}: ${link.overruns} overruns, ${link.transmitErrors} transmit errors`
  })
  const state = `${group.state}, priority ${group.effectivePriority}${waiting}`
  return `${state}; dropped ${drops.join(', ') || 'nothing'}${links.join('')}`
}

async function ask(lab: Lab, host: string, command: readonly string[]): Promise<string> {
  const answer = await runOn(lab, host, command)
  return `${host}: ${answer.trim().replace(/\s+/g, ' ') || 'nothing'}`
}

async function answers(asked: readonly Promise<string>[]): Promise<string[]> {
  const known = await Promise.allSettled(asked)
  return known.flatMap((each) => (each.status === 'fulfilled' ? [each.value] : []))
}
