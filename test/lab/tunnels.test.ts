/**
 * Every kind of tunnel, and datagrams in fragments by every method, in both address families and for tunnels between them, over a
 * real path: a director, a real server with its agent, a client, in namespaces. What is sent arrives whole.
 */
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { type Test, test } from 'tap'
import { request } from '../../node/director/control/client.ts'
import { type Lab, withLab } from '../../node/drill/lab.ts'
import { statusOf } from '../../node/drill/lab-directors.ts'
import { FAMILIES, type Family, type LabOptions, VIRTUAL_ADDRESSES, WEB_PORT } from '../../node/drill/lab-plan.ts'
import { controlSocketOf } from '../../node/drill/lab-programs.ts'
import { formatEndpoint } from '../../protocol/packet/ipv6-address.ts'
import { addService, askByDatagram, runOn, SINK_PORT, serverAddresses, startSinks } from './lab-traffic.ts'

const skip = process.getuid?.() !== 0 && 'network namespaces need root'
const labs: Pick<LabOptions, 'method' | 'tunnel'>[] = [
  { method: 'nat' },
  { method: 'dr' },
  { method: 'tun', tunnel: 'ipip' },
  { method: 'tun', tunnel: 'gre' },
  { method: 'tun', tunnel: 'gue' },
]
/** The first fits into one packet, also in a tunnel; the last is the longest that UDP has. */
const LENGTHS = [1, 1400, 1440, 1452, 1453, 1472, 1473, 4000, 16_000, 65_507]

for (const { method, tunnel } of labs) {
  const name = tunnel ?? (method as string)
  test(`files and datagrams of every length arrive whole by ${name}`, { skip, timeout: 120_000 }, async (t) => {
    const options = { name: `t${process.pid}-${name}`, directors: 1, servers: 1, method, tunnel }
    await withLab(options, new AbortController().signal, async (lab) => {
      await startSinks(lab)
      const pairs = FAMILIES.flatMap((family) => FAMILIES.map((servers) => ({ family, servers })))
      for (const [index, { family, servers }] of pairs.entries()) {
        if (servers !== family && !tunnel) continue
        const sinks = serverAddresses(lab, servers)
        await t.test(`${family}, to servers of ${servers}`, (t) => everythingArrives(t, lab, family, sinks, index))
      }
      const drops = await dropsOf(lab)
      for (const reason of Object.keys(drops).filter((each) => each.startsWith('fragment')))
        t.equal(drops[reason], 0, reason)
    })
  })
}

/** Clients of one address family, and servers that the director knows by addresses of the same or, behind tunnels, the other. */
async function everythingArrives(t: Test, lab: Lab, family: Family, sinks: string[], run: number): Promise<void> {
  for (const protocol of ['tcp', 'udp'] as const) await addService(lab, { protocol, port: SINK_PORT, family }, sinks)
  const virtual = VIRTUAL_ADDRESSES[family]
  const [file] = lab.bulkFiles
  const get = `curl --silent --fail 'http://${formatEndpoint(virtual, WEB_PORT)}/bulk/${file.name}' | sha256sum`
  t.equal((await runOn(lab, 'c1', ['sh', '-c', get])).split(' ')[0], file.sha256, '16 MB to the client')
  const url = `http://${formatEndpoint(virtual, SINK_PORT)}/`
  const put = ['curl', '--silent', '--fail', '-T', join(lab.folder, 'www', file.name), url]
  t.equal(await runOn(lab, 'c1', put), file.sha256, '16 MB to the server')
  // Ports of its own: what is known of a client's port outlives the service.
  const questions = LENGTHS.map((length, index) => ({ port: 20_000 + run * 100 + index, payload: randomBytes(length) }))
  const answers = await askByDatagram(lab, SINK_PORT, questions, family)
  for (const [index, { payload }] of questions.entries()) {
    t.ok(answers[index].equals(payload), `a datagram of ${payload.length} bytes, there and back`)
  }
  for (const protocol of ['tcp', 'udp']) {
    const service = { protocol, address: virtual, port: SINK_PORT }
    await request(controlSocketOf(lab.folder, 'd1'), 'DELETE', '/services', service)
  }
}

async function dropsOf(lab: Lab): Promise<Record<string, number>> {
  const status = await statusOf(lab.folder, 'd1')
  if (status === undefined) throw new Error('the director does not answer')
  return status.drops
}
