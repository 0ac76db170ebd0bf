/** A director whose interface gets another MAC while it runs gives its addresses up and ends, so that its supervisor starts it anew. */
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'tap'
import type { DirectorStatus } from '../../node/director/control/api.ts'
import { withLab } from '../../node/drill/lab.ts'
import { logsOf } from '../../node/drill/lab-programs.ts'
import { ask, eventually, firstProcessOf, onHost, startDirector } from './lab-directors.ts'
import { startCommand } from './run-director.ts'

const needsRoot = process.getuid?.() === 0 ? false : 'network namespaces need root'
const MAC = '02:00:00:00:00:77'

test('a replaced interface ends its director', { skip: needsRoot, timeout: 120_000 }, async (t) => {
  const options = { name: `t${process.pid}-r`, directors: 1, servers: 1 }
  await withLab(options, new AbortController().signal, async (lab) => {
    const director = firstProcessOf(lab, 'd1')
    const ended = once(director, 'exit')
    const { outcome } = startCommand(onHost(lab, 'd1', 'ip', 'link', 'set', 'outside', 'address', MAC))
    t.equal((await outcome).code, 0)
    t.same(await ended, [1, null])
    const log = readFileSync(join(logsOf(lab.folder), 'd1-director.log'), 'utf8')
    t.match(log, `outside has another MAC by now, ${MAC} in place of `)
    startDirector(lab, 'd1')
    await eventually('a new director holds the addresses', async () => {
      const { vips } = await ask<DirectorStatus>(lab, 'd1', '/status')
      return vips.every(({ state }) => state === 'active') || undefined
    })
  })
})
