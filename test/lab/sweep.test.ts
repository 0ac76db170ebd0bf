/** What a killed lab leaves behind is swept by the next one. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { type Test, test } from 'tap'
import { labDown, labExec, labList } from '../../node/drill/lab.ts'
import { inNamespace, namespacesOf } from '../../node/drill/lab-network.ts'
import { namespaceOf } from '../../node/drill/lab-plan.ts'
import { keepLab, labFolder } from '../../node/drill/lab-state.ts'
import { isRunning, processCount, processesOf } from './lab-processes.ts'
import { teardown } from './test-lab.ts'

const needsRoot = process.getuid?.() === 0 ? false : 'network namespaces need root'
/** Of what half-built-lab builds. */
const PROCESSES = processCount({ directors: 0, servers: 2 })

/** What of the machine itself a lab might change. */
function machine(): string {
  const links = execFileSync('ip', ['-brief', 'link'], { encoding: 'utf8' })
  const routes = ['-4', '-6'].map((family) =>
    execFileSync('ip', [family, 'route', 'show', 'table', 'all'], { encoding: 'utf8' }),
  )
  const settings = execFileSync('sysctl', ['-a', '--pattern', '^net[.](ipv4|ipv6)[.](conf|ip_forward|neigh)'], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  })
  return [links, ...routes, settings].join('\n')
}

/** Starts a lab in a process of its own, which can be killed. */
async function standing(t: Test, name: string): Promise<ChildProcess> {
  const child = spawn(process.execPath, [join(import.meta.dirname, 'half-built-lab.ts'), name], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  teardown(t, async () => {
    child.kill('SIGKILL')
    await labDown(name).catch(() => {})
  })
  const [said] = await Promise.race([once(child.stdout!, 'data'), once(child, 'exit').then(() => ['ended'])])
  t.equal(String(said), 'standing\n')
  return child
}

async function kill(child: ChildProcess): Promise<void> {
  child.kill('SIGKILL')
  await once(child, 'exit')
}

function answersHello(name: string, from: string): boolean {
  const [program, ...args] = inNamespace(namespaceOf(name, from), [
    'curl',
    '-s',
    '-m',
    '30',
    // A server that has just been started may not listen yet.
    '--retry',
    '30',
    '--retry-delay',
    '1',
    '--retry-connrefused',
    'http://10.2.0.11:8080/hello',
  ])
  return execFileSync(program, args, { encoding: 'utf8' }) === 'hello\n'
}

test('two labs with the same addresses stand side by side, the machine does not change, and one ends without the other', {
  skip: needsRoot,
}, async (t) => {
  const before = machine()
  const [first, second] = [`t${process.pid}-a`, `t${process.pid}-b`]
  await Promise.all([standing(t, first), standing(t, second)])
  t.equal(machine(), before)
  t.ok(answersHello(first, 's2'))
  t.ok(answersHello(second, 's2'))
  t.ok(labList().find(({ name }) => name === first))

  const pids = await processesOf(first, PROCESSES)
  await labDown(first)
  t.same(namespacesOf(first), [])
  t.same(pids.filter(isRunning), [])
  t.notOk(existsSync(labFolder(first)))
  t.ok(answersHello(second, 's2'))
  t.equal(await labExec(second, 's1', ['sh', '-c', 'exit 7']), 7)
  await t.rejects(labExec(second, 's9', ['true']), { code: 'INPUT_INVALID', message: /has no host s9/ })
  await labDown(second)
  t.equal(machine(), before)
})

test('what a killed lab leaves is swept by the next call for any lab, processes included', {
  skip: needsRoot,
}, async (t) => {
  const name = `t${process.pid}-k`
  const child = await standing(t, name)
  await kill(child)
  t.ok(answersHello(name, 's2'), 'the servers outlive their owner')
  const pids = await processesOf(name, PROCESSES)
  t.notOk(labList().find((lab) => lab.name === name))

  await t.rejects(labDown(`t${process.pid}-none`), { code: 'LAB_MISSING' })
  t.same(namespacesOf(name), [])
  t.notOk(existsSync(labFolder(name)))
  t.same(pids.filter(isRunning), [])
})

test('a lab that was left standing on purpose is not swept, and ends when it is told to', {
  skip: needsRoot,
}, async (t) => {
  const name = `t${process.pid}-s`
  const child = await standing(t, name)
  keepLab(name)
  await kill(child)
  await t.rejects(labDown(`t${process.pid}-none`), { code: 'LAB_MISSING' })
  t.ok(answersHello(name, 's2'))
  t.match(
    labList().find((lab) => lab.name === name),
    { kept: true, method: 'nat', virtualAddresses: ['10.1.0.100', 'fd00:1::100'] },
  )
  await labDown(name)
  t.same(namespacesOf(name), [])
  t.notOk(existsSync(labFolder(name)))
})

test('a lab that was killed while it was taken down can be taken down again', { skip: needsRoot }, async (t) => {
  const name = `t${process.pid}-d`
  const child = await standing(t, name)
  await kill(child)
  execFileSync('rm', [join(labFolder(name), 'lab.json')])
  await labDown(name)
  t.same(namespacesOf(name), [])
  t.notOk(existsSync(labFolder(name)))
})
