/** Files that people write: standard input counts as one. */
import { spawn } from 'node:child_process'
import { text } from 'node:stream/consumers'
import { test } from 'tap'

const program = new URL('../../../node/cli/director.ts', import.meta.url).pathname

test('standard input is waited for when it is a pipe whose writer takes its time', async (t) => {
  const pipe = `(sleep 1; echo 'virtual_server 10.0.0.1 80 {'; sleep 0.2; echo '}') | "$0" "$1" import -`
  const child = spawn('sh', ['-c', pipe, process.execPath, program])
  const [stdout, stderr] = await Promise.all([text(child.stdout), text(child.stderr)])
  t.equal(stderr, '')
  t.match(stdout, /^services:\n {2}- protocol: tcp/)
})
