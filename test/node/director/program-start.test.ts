/** The thread that starts programs speaks VRRP as well, and stands still while it starts one. */
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { test } from 'tap'
import { open } from '../../../forwarder/sys/libc.ts'
import { closeDescriptor } from '../../../forwarder/sys/socket.ts'
import { runIp } from '../../../node/director/host/ip-command.ts'
import { startProgram } from '../../../node/director/program-start.ts'
import { runScript } from '../../../node/director/vip/run-script.ts'

test('programs that are wanted at once, whatever for, are started one a turn of the event loop', async (t) => {
  let turn = 0
  let isOver = false
  const count = () => {
    turn++
    if (!isOver) setImmediate(count)
  }
  count()
  const turns: number[] = []
  const note = () => turns.push(turn)
  subscribe('child_process', note)
  const links = ['link', 'show', 'dev', 'lo']
  const [first, failure, second] = await Promise.all([
    runIp(links),
    runScript(['/bin/true'], 60_000).ended,
    runIp(links),
  ])
  unsubscribe('child_process', note)
  isOver = true
  t.equal(new Set(turns).size, 3, `in turns ${turns}`)
  t.same(first, second)
  t.equal(failure, undefined)
})

const never = new AbortController().signal
const cases: readonly [sentence: string, command: string[], error: { code: string }][] = [
  ['is not there', ['/nonexistent'], { code: 'ENOENT' }],
  ['is behind a file', ['/bin/true/check'], { code: 'ENOTDIR' }],
  ['has a NUL in a word', ['/bin/true', '\0'], { code: 'ERR_INVALID_ARG_VALUE' }],
]
for (const [sentence, command, error] of cases) {
  test(`what cannot be started is told in one way: it ${sentence}`, async (t) => {
    await t.rejects(startProgram(command, { stdio: 'ignore' }, never), error)
  })
}

test('what was called off by its turn is not started', async (t) => {
  const reason = new Error('not wanted')
  await t.rejects(startProgram(['/bin/true'], { stdio: 'ignore' }, AbortSignal.abort(reason)), reason)
})

test('a program does not inherit what is open here, however it was opened', async (t) => {
  const isOpen = ['/usr/bin/test', '-e']
  t.equal(await runScript([...isOpen, '/proc/self/fd/2'], 60_000).ended, undefined)
  // Open as C programs do by default: for the programs that are started, too.
  const descriptor = open('/dev/null', 0)
  t.teardown(() => closeDescriptor(descriptor))
  t.equal(await runScript([...isOpen, `/proc/self/fd/${descriptor}`], 60_000).ended, 'exit status 1')
})
