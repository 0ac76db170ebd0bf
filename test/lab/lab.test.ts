/** A real lab: what it builds, that two stand side by side, and that nothing is left of it. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import t, { test } from 'tap'
import { labDown } from '../../node/drill/lab.ts'
import { namespacesOf } from '../../node/drill/lab-network.ts'
import { labFolder } from '../../node/drill/lab-state.ts'
import { until } from '../until.ts'
import { isRunning, processCount, processesOf } from './lab-processes.ts'
import { directorCommand, startDirectorCommand } from './run-director.ts'
import { teardown } from './test-lab.ts'

const needsRoot = process.getuid?.() === 0 ? false : 'network namespaces need root'

// Five director processes start in it, on a machine that may be busy.
t.setTimeout(300_000)

test('a lab comes up, serves its client through both virtual addresses, and goes', { skip: needsRoot }, async (t) => {
  const name = `t${process.pid}-u`
  teardown(t, () => labDown(name).catch(() => {}))
  const up = await directorCommand('lab', 'up', name, '--directors', '2', '--servers', '2')
  t.equal(up.code, 0, up.stderr)

  const again = await directorCommand('lab', 'up', name)
  t.equal(again.code, 1)
  t.match(again.stderr, `director: lab ${name} exists: end it with \`director lab down ${name}\` (LAB_EXISTS)\n`)

  for (const address of ['10.1.0.100', '[fd00:1::100]']) {
    const hello = await directorCommand('lab', 'exec', name, 'c1', '--', 'curl', '-s', `http://${address}/hello`)
    t.match(hello, { code: 0, stdout: 'hello\n' }, address)
  }
  t.match((await directorCommand('lab', 'list')).stdout, name)

  const pids = await processesOf(name, processCount({ directors: 2, servers: 2 }))
  const down = await directorCommand('lab', 'down', name)
  t.equal(down.code, 0, down.stderr)
  t.same(namespacesOf(name), [])
  t.same(pids.filter(isRunning), [])
  t.notOk(existsSync(labFolder(name)))
  const gone = await directorCommand('lab', 'down', name)
  t.equal(gone.code, 1)
  t.match(gone.stderr, /LAB_MISSING/)
})

test('Ctrl-C while a lab is built leaves nothing behind', { skip: needsRoot }, async (t) => {
  const name = `t${process.pid}-c`
  teardown(t, () => labDown(name).catch(() => {}))
  const { child, outcome } = startDirectorCommand('lab', 'up', name)
  await until(() => existsSync(join(labFolder(name), 'logs')) || child.exitCode !== null, 60_000)
  const pids = await processesOf(name, 1)
  child.kill('SIGINT')
  t.equal((await outcome).code, 'SIGINT')
  t.same(namespacesOf(name), [])
  t.same(pids.filter(isRunning), [])
  t.notOk(existsSync(labFolder(name)))
})
