/** SIP calls (--pe sip) through a pool: each stays with its server, and the next director knows them all. */
import { test } from 'tap'
import type { DirectorStatus } from '../../node/director/control/answers.ts'
import type { Lab } from '../../node/drill/lab.ts'
import { hostsOf, VIRTUAL_ADDRESS } from '../../node/drill/lab-plan.ts'
import { ask, endProcess, eventually, firstProcessOf, UNHURRIED, vsadm } from './lab-directors.ts'
import { programOf, runOn, startUntilReady } from './lab-traffic.ts'
import { withTestLab } from './test-lab.ts'

const needsRoot = process.getuid?.() === 0 ? false : 'network namespaces need root'

const SIP_PORT = 5060
const CLIENT_PORT = 5070
const CALLS = Array.from({ length: 9 }, (_, call) => `call-${call}-${'x'.repeat(10 * call)}@client.example.com`)

for (const method of ['nat', 'dr'] as const) {
  test(`by ${method} calls from one port go to several servers, each to its own, also after a crash`, {
    skip: needsRoot,
    timeout: 120_000,
  }, async (t) => {
    const options = {
      name: `t${process.pid}-s`,
      directors: 2,
      servers: 3,
      clients: 1,
      method,
      ...UNHURRIED,
    } as const
    await withTestLab(options, async (lab) => {
      await serveSip(lab, method)
      const before = await say(lab, 'INVITE')
      t.same(new Set(before), new Set(['s1', 's2', 's3']), 'rr gives new calls to all of them')
      t.same(await say(lab, 'INFO'), before)
      const calls = await eventually('the next director has heard of each', () => callsAt(lab, 'd2'))
      t.same(calls, await callsAt(lab, 'd1'))
      await endProcess(firstProcessOf(lab, 'd1'), 'SIGKILL')
      await eventually('the other director has taken over', async () => {
        const { vips } = await ask<DirectorStatus>(lab, 'd2', '/status')
        return vips[0].state === 'active' || undefined
      })
      t.same(await say(lab, 'BYE'), before)
    })
  })
}

async function serveSip(lab: Lab, method: 'nat' | 'dr'): Promise<void> {
  const service = ['-u', `${VIRTUAL_ADDRESS}:${SIP_PORT}`]
  const commands = [['-A', ...service, '-s', 'rr', '-p', '60', '-o', '--pe', 'sip']]
  for (const { name, interfaces } of hostsOf(lab.plan, 'server')) {
    const { address } = interfaces[0]
    // A reply by direct routing is from the address that was asked.
    const addresses = method === 'dr' ? [VIRTUAL_ADDRESS] : [address]
    await startUntilReady(lab, name, programOf('sip-server', name, SIP_PORT, ...addresses))
    commands.push(['-a', ...service, '-r', address, method === 'dr' ? '-g' : '-m'])
  }
  for (const command of commands) {
    const { code, stderr } = await vsadm(lab, 'd1', ...command)
    if (code !== 0) throw new Error(stderr)
  }
}

async function say(lab: Lab, method: string): Promise<string[]> {
  return JSON.parse(
    await runOn(lab, 'c1', programOf('sip-client', VIRTUAL_ADDRESS, SIP_PORT, CLIENT_PORT, method, ...CALLS)),
  )
}

/** What vsadm lists of the calls but the time, if it is all of them: client, server, engine, Call-ID. */
async function callsAt(lab: Lab, director: string): Promise<string[] | undefined> {
  const { stdout } = await vsadm(lab, director, '-Lnc', '--persistent-conn')
  const rows = stdout.split('\n').flatMap((line) => {
    const [protocol, , state, client, virtual, server, engine, data] = line.split(/ +/)
    return engine === 'sip' ? [[protocol, state, client, virtual, server, data].join(' ')] : []
  })
  return CALLS.every((call) => rows.some((row) => row.endsWith(` ${call}`))) ? rows.sort() : undefined
}
