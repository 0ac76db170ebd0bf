/** Standard input is read whole, whatever it is. */
import { spawn } from 'node:child_process'
import { mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { test } from 'tap'

const program = fileURLToPath(new URL('../../../node/cli/director.ts', import.meta.url))
const HALVES = ['virtual_server 10.0.0.1 80 {\n', 'protocol TCP\n}\n']

test('a socket whose other end takes its time', async (t) => {
  // What Node makes of a pipe is a pair of sockets.
  const child = spawn(process.execPath, [program, 'import', '-'])
  const [stdout, stderr] = [text(child.stdout), text(child.stderr)]
  child.stdin.write(HALVES[0], () => child.stdin.end(HALVES[1]))
  t.equal(await stderr, '')
  t.match(await stdout, /^services:\n {2}- protocol: tcp/)
})

test('a pipe between two programs', async (t) => {
  const pipe = `{ echo '${HALVES[0]}'; echo '${HALVES[1]}'; } | "$0" "$1" import -`
  const child = spawn('sh', ['-c', pipe, process.execPath, program])
  t.match(await text(child.stdout), /^services:\n {2}- protocol: tcp/)
})

test('a file', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'input-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  writeFileSync(join(folder, 'keepalived.conf'), HALVES.join(''))
  const descriptor = openSync(join(folder, 'keepalived.conf'), 'r')
  const child = spawn(process.execPath, [program, 'import', '-'], { stdio: [descriptor, 'pipe', 'pipe'] })
  t.match(await text(child.stdout!), /^services:\n {2}- protocol: tcp/)
})
