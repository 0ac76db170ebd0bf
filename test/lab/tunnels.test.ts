/**
 * Every kind of tunnel, and datagrams in fragments by every method, over a real path: a director, a real server with its agent,
 * a client, in namespaces. What is sent arrives whole.
 */
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { test } from 'tap'
import { type Lab, withLab } from '../../node/drill/lab.ts'
import { type LabOptions, VIRTUAL_ADDRESS, WEB_PORT } from '../../node/drill/lab-plan.ts'
import { statusOf } from '../../node/drill/lab-ready.ts'
import { addService, askByDatagram, runOn, SINK_PORT, startSinks } from './lab-traffic.ts'

const skip = process.getuid?.() !== 0 && 'network namespaces need root'
const labs: Pick<LabOptions, 'method' | 'tunnel'>[] = [
  { method: 'nat' },
  { method: 'dr' },
  { method: 'tun', tunnel: 'ipip' },
  { method: 'tun', tunnel: 'gre' },
  { method: 'tun', tunnel: 'gue' },
]
/** The first fits into one packet, also in a tunnel; the last is the longest that UDP has. */
const LENGTHS = [1, 1400, 1440, 1472, 1473, 4000, 16_000, 65_507]

for (const { method, tunnel } of labs) {
  const name = tunnel ?? (method as string)
  test(`files and datagrams of every length arrive whole by ${name}`, { skip, timeout: 120_000 }, async (t) => {
    const options = { name: `t${process.pid}-${name}`, directors: 1, servers: 1, method, tunnel }
    await withLab(options, new AbortController().signal, async (lab) => {
      await startSinks(lab)
      await addService(lab, { protocol: 'tcp', port: SINK_PORT })
      await addService(lab, { protocol: 'udp', port: SINK_PORT })
      const [file] = lab.bulkFiles
      const get = `curl --silent --fail http://${VIRTUAL_ADDRESS}:${WEB_PORT}/bulk/${file.name} | sha256sum`
      t.equal((await runOn(lab, 'c1', ['sh', '-c', get])).split(' ')[0], file.sha256, '16 MB to the client')
      const url = `http://${VIRTUAL_ADDRESS}:${SINK_PORT}/`
      const put = ['curl', '--silent', '--fail', '-T', join(lab.folder, 'www', file.name), url]
      t.equal(await runOn(lab, 'c1', put), file.sha256, '16 MB to the server')
      const questions = LENGTHS.map((length, index) => ({ port: 20_000 + index, payload: randomBytes(length) }))
      const answers = await askByDatagram(lab, SINK_PORT, questions)
      for (const [index, { payload }] of questions.entries()) {
        t.ok(answers[index].equals(payload), `a datagram of ${payload.length} bytes, there and back`)
      }
      const drops = await dropsOf(lab)
      for (const reason of Object.keys(drops).filter((each) => each.startsWith('fragment')))
        t.equal(drops[reason], 0, reason)
    })
  })
}

async function dropsOf(lab: Lab): Promise<Record<string, number>> {
  const status = await statusOf(lab.folder, 'd1')
  if (status === undefined) throw new Error('the director does not answer')
  return status.drops
}
