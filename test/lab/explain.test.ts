/** `director explain` against a running director: what it says beforehand is what then happens. */
import { join } from 'node:path'
import { test } from 'tap'
import type { Explanation } from '../../forwarder/engine/explain.ts'
import type { ConnectionListing } from '../../node/director/control/api.ts'
import { type Lab, withLab } from '../../node/drill/lab.ts'
import { hostsOf, SESSION_PORT, VIRTUAL_ADDRESS } from '../../node/drill/lab-plan.ts'
import { controlSocketOf } from '../../node/drill/lab-programs.ts'
import { ask, eventually } from './lab-directors.ts'
import { startSession } from './lab-session.ts'
import { macOf } from './lab-traffic.ts'
import { startCommand } from './run-director.ts'

const needsRoot = process.getuid?.() === 0 ? false : 'network namespaces need root'
const CLI = join(import.meta.dirname, '../../node/cli/director.ts')
const VIRTUAL = `${VIRTUAL_ADDRESS}:${SESSION_PORT}`

async function explain(lab: Lab, from: string): Promise<Explanation> {
  const command = [process.execPath, CLI, 'explain', '--from', from, '--to', VIRTUAL, '--json']
  const { stdout } = await startCommand(command, { DIRECTOR_SOCKET: controlSocketOf(lab.folder, 'd1') }).outcome
  return JSON.parse(stdout)
}

test('the server that is named is the one that answers', { skip: needsRoot, timeout: 120_000 }, async (t) => {
  const options = { name: `t${process.pid}-x`, directors: 1, servers: 2, advertisementIntervalMs: 500 }
  await withLab(options, new AbortController().signal, async (lab) => {
    const before = await eventually('the next hop has answered', async () => {
      const explanation = await explain(lab, '10.1.0.201:1')
      return explanation.after?.destinationMac === undefined ? undefined : explanation
    })
    t.match(before, { outcome: 'forwarded', decision: 'scheduler', address: 'active', candidates: { length: 2 } })
    const named = hostsOf(lab.plan, 'server').find(({ interfaces }) => interfaces[0].address === before.server?.address)
    t.equal(before.before?.destinationMac, await macOf(lab, 'd1', 'outside'))
    t.equal(before.after?.sourceMac, await macOf(lab, 'd1', 'inside'))
    t.equal(before.after?.destinationMac, await macOf(lab, named?.name ?? 's1', 'inside'))
    t.same((await explain(lab, '10.1.0.201:1')).server, before.server, 'asking again changes nothing')

    const session = startSession(lab)
    t.teardown(() => session.child.kill())
    t.equal(await session.ask(), named?.name)

    const [{ client, server }] = (await ask<ConnectionListing[]>(lab, 'd1', '/connections')).filter(
      ({ virtual }) => virtual === VIRTUAL,
    )
    t.match(await explain(lab, client), {
      outcome: 'forwarded',
      decision: 'table',
      connection: { state: 'ESTABLISHED' },
      before: { sourceMac: await macOf(lab, 'c1', 'outside'), source: client, destination: VIRTUAL },
      after: { source: client, destination: server },
    })
  })
})
