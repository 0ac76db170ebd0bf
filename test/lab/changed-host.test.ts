/**
 * What changes on a host under its director: what begins to interfere is shown and logged; an interface that gets another MAC ends the
 * director, so that its supervisor starts it anew.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'tap'
import type { DirectorStatus } from '../../node/director/control/answers.ts'
import { endsInTime, logsOf } from '../../node/drill/lab-programs.ts'
import { ask, eventually, firstProcessOf, onHost, startDirector } from './lab-directors.ts'
import { startCommand } from './run-director.ts'
import { withTestLab } from './test-lab.ts'

const needsRoot = process.getuid?.() === 0 ? false : 'network namespaces need root'
const MAC = '02:00:00:00:00:77'

test('a host that changes under its director', { skip: needsRoot, timeout: 120_000 }, async (t) => {
  const options = { name: `t${process.pid}-r`, directors: 1, servers: 1 }
  await withTestLab(options, async (lab) => {
    const onD1 = async (...command: string[]) => {
      const { code, stderr } = await startCommand(onHost(lab, 'd1', ...command)).outcome
      t.equal(code, 0, stderr)
    }
    const log = () => readFileSync(join(logsOf(lab.folder), 'd1-director.log'), 'utf8')
    const interference = async () => (await ask<DirectorStatus>(lab, 'd1', '/status')).interference

    t.same(await interference(), [])
    await onD1('sh', '-c', 'echo 1 > /proc/sys/net/ipv4/conf/outside/forwarding')
    const shown = await eventually('the status shows what interferes', async () => (await interference()).at(0))
    t.match(shown, /^net\.ipv4\.conf\.outside\.forwarding = 1: .*sysctl -w net\.ipv4\.conf\.outside\.forwarding=0/)
    t.match(log(), "the host's own network stack interferes")
    await onD1('sh', '-c', 'echo 0 > /proc/sys/net/ipv4/conf/outside/forwarding')
    await eventually('it is gone', async () => (await interference()).length === 0 || undefined)

    const director = firstProcessOf(lab, 'd1')
    await onD1('ip', 'link', 'set', 'outside', 'address', MAC)
    t.ok(await endsInTime(director))
    t.equal(director.exitCode, 1)
    t.match(log(), `outside has another MAC by now, ${MAC} in place of `)
    startDirector(lab, 'd1')
    await eventually('a new director holds the addresses', async () => {
      const { vips } = await ask<DirectorStatus>(lab, 'd1', '/status')
      return vips.every(({ state }) => state === 'active') || undefined
    })
  })
})
