/** Which file of a program is started: its bundle, unless a source is newer. */
import { mkdirSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { type Test, test } from 'tap'
import { findProgram } from '../../forwarder/program-file.ts'

test('without a bundle it is the source', async (t) => {
  const top = repository(t, { 'node/cli/director.ts': 1000 })
  t.equal(findProgram('node/cli/director', top, false), join(top, 'node/cli/director.ts'))
})

test('a bundle that is newer than every source is taken', async (t) => {
  const top = repository(t, {
    'node/cli/director.ts': 1000,
    'protocol/deep/down.ts': 1999,
    'dist/node/cli/director.js': 2000,
  })
  t.equal(findProgram('node/cli/director', top, false), join(top, 'dist/node/cli/director.js'))
})

test('any source that is newer, or as old, puts all bundles aside', async (t) => {
  for (const seconds of [2000, 2001]) {
    const files = { 'node/cli/director.ts': 1000, 'protocol/deep/down.ts': seconds, 'dist/node/cli/director.js': 2000 }
    const top = repository(t, files)
    t.equal(findProgram('node/cli/director', top, false), join(top, 'node/cli/director.ts'))
  }
})

test('files that are no sources do not count', async (t) => {
  const top = repository(t, { 'node/cli/director.ts': 1000, 'node/notes.txt': 3000, 'dist/node/cli/director.js': 2000 })
  t.equal(findProgram('node/cli/director', top, false), join(top, 'dist/node/cli/director.js'))
})

test('JavaScript starts JavaScript', async (t) => {
  t.equal(findProgram('forwarder/worker', '/package', true), '/package/dist/forwarder/worker.js')
})

/** Files by when they were written, seconds since 1970. */
function repository(t: Test, files: Record<string, number>): string {
  const top = mkdtempSync(join(tmpdir(), 't-program-'))
  t.teardown(() => rmSync(top, { recursive: true }))
  for (const folder of ['forwarder', 'node', 'protocol', 'scheduler']) mkdirSync(join(top, folder))
  for (const [name, seconds] of Object.entries(files)) {
    const file = join(top, name)
    mkdirSync(dirname(file), { recursive: true })
    writeFileSync(file, '')
    utimesSync(file, seconds, seconds)
  }
  return top
}
