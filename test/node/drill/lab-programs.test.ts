/** How a lab's programs are ended. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { type Test, test } from 'tap'
import { endProcess, endsInTime } from '../../../node/drill/lab-programs.ts'

/** A program that does this with SIGTERM, once it listens for it. */
async function programThat(t: Test, does: string): Promise<ChildProcess> {
  const script = `trap '${does}' TERM; echo; while :; do sleep 0.05; done`
  const child = spawn('sh', ['-c', script], { stdio: ['ignore', 'pipe', 'ignore'] })
  t.teardown(() => child.kill('SIGKILL'))
  await once(child.stdout!, 'data')
  return child
}

test('a program that ends when it is asked to is waited for', async (t) => {
  const child = await programThat(t, 'exit 0')
  await endProcess(child, 'SIGTERM')
  t.equal(child.exitCode, 0)
  t.ok(await endsInTime(child), 'it has ended already')
})

test('a program that does not end is killed after a while, and that is told', async (t) => {
  const child = await programThat(t, '')
  child.kill('SIGTERM')
  t.notOk(await endsInTime(child, undefined, 200))
  t.equal(child.signalCode, 'SIGKILL')
})

test('an interruption ends the waiting for a program', async (t) => {
  const child = await programThat(t, '')
  child.kill('SIGTERM')
  const interruption = new AbortController()
  const waiting = endsInTime(child, interruption.signal)
  interruption.abort()
  await t.rejects(waiting, { name: 'AbortError' })
  t.equal(child.signalCode, null)
})
