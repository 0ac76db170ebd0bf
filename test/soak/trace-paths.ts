/** Whom a lab's clients and servers take for the director, and what the directors say of themselves: for when nobody is answered. */

import type { Lab } from '../../node/drill/lab.ts'
import { groupOf, statusOf } from '../../node/drill/lab-directors.ts'
import { GATEWAY_ADDRESS, hostsOf, VIRTUAL_ADDRESS } from '../../node/drill/lab-plan.ts'
import { runOn } from '../lab/lab-traffic.ts'

/** @returns lines of "HOST: what it says"; nothing of a host that does not answer */
export async function tracePaths(lab: Lab): Promise<string[]> {
  const directors = hostsOf(lab.plan, 'director').map(async ({ name }) => {
    const [status, links] = await Promise.all([statusOf(lab.folder, name), runOn(lab, name, ['ip', '-br', 'link'])])
    const { state, effectivePriority, waiting } = groupOf(status, VIRTUAL_ADDRESS) ?? {}
    const drops = Object.entries(status?.drops ?? {}).filter(([, count]) => count > 0)
    return `${name}: ${state}, priority ${effectivePriority}, ${waiting}; dropped ${drops.join(' ')}; ${inOneLine(links)}`
  })
  const clients = hostsOf(lab.plan, 'client').map(({ name }) =>
    askOn(lab, name, ['ip', 'neighbour', 'show', VIRTUAL_ADDRESS]),
  )
  const servers = hostsOf(lab.plan, 'server').flatMap(({ name }) => [
    askOn(lab, name, ['ip', 'neighbour', 'show', GATEWAY_ADDRESS]),
    askOn(lab, name, ['ss', '-ltnH']),
    askOn(lab, name, ['nstat', '-asz', 'TcpExtListenOverflows', 'TcpExtListenDrops', 'IpInReceives']),
  ])
  const known = await Promise.allSettled([...directors, ...clients, ...servers])
  return known.flatMap((each) => (each.status === 'fulfilled' ? [each.value] : []))
}

async function askOn(lab: Lab, host: string, command: readonly string[]): Promise<string> {
  return `${host}: ${inOneLine(await runOn(lab, host, command))}`
}

function inOneLine(text: string): string {
  return text.trim().replace(/\s+/g, ' ')
}
