/** What directors and servers know of a connection that has failed, at once: afterwards nobody could tell. */

import type { ConnectionListing } from '../../node/director/control/api.ts'
import { request } from '../../node/director/control/client.ts'
import type { Lab } from '../../node/drill/lab.ts'
import { hostsOf } from '../../node/drill/lab-plan.ts'
import { controlSocketOf } from '../../node/drill/lab-programs.ts'
import { runOn } from '../lab/lab-traffic.ts'

/** @returns lines of "HOST: what it knows"; nothing of a host that does not answer */
export async function traceConnection(lab: Lab, clientPort: number): Promise<string[]> {
  const directors = hostsOf(lab.plan, 'director').map(async ({ name }) => {
    const socket = controlSocketOf(lab.folder, name)
    const all = (await request(socket, 'GET', '/connections')) as ConnectionListing[]
    const found = all.filter(({ client }) => client.endsWith(`:${clientPort}`))
    const lines = found.map((each) => `${each.virtual} ${each.state} ${each.server}, ${each.expiresMs} ms left`)
    return `${name}: ${lines.join('; ') || 'nothing'}`
  })
  const servers = hostsOf(lab.plan, 'server').map(async ({ name }) => {
    const sockets = await runOn(lab, name, ['ss', '-tanHo', `dport = :${clientPort}`])
    return `${name}: ${sockets.trim().replace(/\s+/g, ' ') || 'no socket'}`
  })
  const known = await Promise.allSettled([...directors, ...servers])
  return known.flatMap((each) => (each.status === 'fulfilled' ? [each.value] : []))
}
