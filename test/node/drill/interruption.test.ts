/** What is interrupted cleans up, and then ends as the signal would have ended it, under tap as well. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { test } from 'tap'

test('a test that is interrupted undoes all that it has made, however long that takes, and then ends by the signal', async (t) => {
  const child = spawn(process.execPath, [join(import.meta.dirname, 'interrupted.ts')], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  t.teardown(() => child.kill('SIGKILL'))
  const ended = once(child, 'close')
  const said: string[] = []
  createInterface(child.stdout).on('line', (line) => {
    const [, what] = /^said: (.*)$/.exec(line) ?? []
    if (what === undefined) return
    said.push(what)
    // A terminal sends it to all, and tap's runner once more to each of its tests.
    if (what === 'works') for (let times = 0; times < 2; times++) child.kill('SIGINT')
  })
  t.same(await ended, [null, 'SIGINT'])
  t.same(said, ['works', 'folder removed', 'lab taken down'])
})
