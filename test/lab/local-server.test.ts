/**
 * Directors that are real servers themselves (`-r 127.0.0.1`; the local node of the documentation of 1999, which has another spelling):
 * the active one serves, and when it is killed the next one serves in its turn.
 */
import { type Test, test } from 'tap'
import type { Lab } from '../../node/drill/lab.ts'
import { findActive } from '../../node/drill/lab-directors.ts'
import { hostsOf, VIRTUAL_ADDRESS } from '../../node/drill/lab-plan.ts'
import { endProcess, eventually, firstProcessOf, UNHURRIED, vsadm } from './lab-directors.ts'
import { runOn, startOnHost } from './lab-traffic.ts'
import { withTestLab } from './test-lab.ts'

const skip = process.getuid?.() !== 0 && 'network namespaces need root'
const PORT = 81
/** Without NAT ipvsadm gives a server the service's port. */
const LOCAL_PORT = { nat: 8081, dr: PORT }

/** On every director, for all of its addresses: says the director's name to whoever connects. */
async function startLocalServers(lab: Lab, port: number): Promise<void> {
  const program = `require('node:http').createServer((_, response) => response.end(process.argv[1])).listen(${port})`
  for (const { name } of hostsOf(lab.plan, 'director')) {
    startOnHost(lab, name, 'local-server', [process.execPath, '--eval', program, name])
    await eventually(
      `${name} serves`,
      async () => new RegExp(`:${port}\\s`).test(await runOn(lab, name, ['ss', '-Htln'])) || undefined,
    )
  }
}

function served(lab: Lab): Promise<string> {
  const url = `http://${VIRTUAL_ADDRESS}:${PORT}/`
  return eventually('an answer', () => runOn(lab, 'c1', ['curl', '-sSf', '--max-time', '2', url]))
}

for (const method of ['nat', 'dr'] as const) {
  test(`a pool whose directors serve themselves, configured by ${method}`, { skip, timeout: 120_000 }, async (t) => {
    const options = {
      name: `t${process.pid}-l${method}`,
      directors: 2,
      servers: 1,
      method,
      ...UNHURRIED,
    }
    await withTestLab(options, async (lab) => {
      await startLocalServers(lab, LOCAL_PORT[method])
      await configure(t, lab, method)
      const active = await findActive(lab)
      t.equal(await served(lab), active, 'the active director answers')
      await endProcess(firstProcessOf(lab, active), 'SIGKILL')
      const next = await served(lab)
      t.not(next, active)
      t.equal(next, await findActive(lab), 'the next one answers in its turn')
      const rules = await runOn(lab, next, ['ip', '-4', 'rule', 'show'])
      t.match(rules, /^2160:\s+from 127\.0\.0\.1 lookup 2160/m)
      await endProcess(firstProcessOf(lab, next), 'SIGTERM')
      t.notMatch(await runOn(lab, next, ['ip', '-4', 'rule', 'show']), /2160/, 'an orderly end leaves nothing behind')
    })
  })
}

async function configure(t: Test, lab: Lab, method: 'nat' | 'dr'): Promise<void> {
  const service = ['-t', `${VIRTUAL_ADDRESS}:${PORT}`]
  t.equal((await vsadm(lab, 'd1', '-A', ...service, '-s', 'rr')).code, 0)
  const server = ['-r', `127.0.0.1:${LOCAL_PORT[method]}`, method === 'nat' ? '-m' : '-g']
  t.equal((await vsadm(lab, 'd1', '-a', ...service, ...server)).code, 0)
}
