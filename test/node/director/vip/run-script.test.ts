/** An operator's programs as processes: what is told of their ends, and what is left of them. */
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { getPriority, setPriority, tmpdir } from 'node:os'
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { test } from 'tap'
import { runScript } from '../../../../node/director/vip/run-script.ts'

const LONG_MS = 60_000
const shell = (text: string) => ['/bin/sh', '-c', text]

const cases: readonly [sentence: string, command: string[], timeoutMs: number, failure: string | undefined | RegExp][] =
  [
    ['exit status 0 is success', ['/bin/true'], LONG_MS, undefined],
    ['any other is told', shell('exit 3'), LONG_MS, 'exit status 3'],
    ['so is a signal', shell('kill -TERM $$'), LONG_MS, 'was ended by SIGTERM'],
    ['a program that takes too long is killed', ['/bin/sleep', '60'], 50, 'took longer than 50 ms'],
    ['one that is not there fails', ['/nonexistent'], LONG_MS, /^cannot be run: .*ENOENT/],
    ['so does one whose path leads through a file', ['/bin/true/check'], LONG_MS, /^cannot be run: .*ENOTDIR/],
    ['and one that is no program', ['/etc/passwd'], LONG_MS, /^cannot be run: .*EACCES/],
    [
      'and one with a word that no program can be given',
      ['/bin/true', 'a\0b'],
      LONG_MS,
      /^cannot be run: .*null bytes/,
    ],
    ['words are words, not shell', ['/usr/bin/test', '$HOME', '=', '$HOME'], LONG_MS, undefined],
    ['nothing but PATH is in the environment', shell('test -n "$PATH" && test -z "$HOME"'), LONG_MS, undefined],
  ]

for (const [sentence, command, timeoutMs, failure] of cases) {
  test(sentence, async (t) => {
    const ended = await runScript(command, timeoutMs).ended
    if (failure instanceof RegExp) t.match(ended, failure)
    else t.equal(ended, failure)
  })
}

test('a script does not take part in what this process has more of the processors', async (t) => {
  const before = getPriority()
  try {
    setPriority(before - 1)
  } catch {
    t.pass('not run: this process cannot have more', { skip: true })
    return
  }
  t.teardown(() => setPriority(before))
  // It is started with what this process has, and waits here until that is mended.
  const waiting = shell('until test "$(nice)" = 0; do sleep 0.01; done')
  t.equal(await runScript(waiting, 10_000).ended, undefined)
})

test('what a script has started ends with it when it is killed', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'run-script-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const path = join(folder, 'socket')
  const server = createServer().listen(path)
  t.teardown(() => server.close())
  await once(server, 'listening')
  // The child holds its end of a connection for as long as it lives.
  const hold = `require("node:net").connect(process.argv[1]); setTimeout(() => {}, ${LONG_MS})`
  const connected = once(server, 'connection')
  const run = runScript(shell(`'${process.execPath}' -e '${hold}' '${path}' & wait`), LONG_MS)
  const [connection] = await connected
  connection.resume()
  run.kill()
  await once(connection, 'close')
  t.equal(await run.ended, 'was called off')
  await run.gone
})

test('a script that ends while this thread stands still has not taken too long', async (t) => {
  const run = runScript(['/bin/sleep', '0.05'], 100)
  await setImmediate()
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 400)
  t.equal(await run.ended, undefined)
})

test('a script that is killed before its turn to start has come is not started', async (t) => {
  const [first, second] = [shell('exit 3'), ['/nonexistent']].map((command) => runScript(command, LONG_MS))
  second.kill()
  t.equal(await second.ended, 'was called off')
  await second.gone
  t.equal(await first.ended, 'exit status 3')
})
