/** vsadm as a process: its streams and exit status, the name it is called by, and what it loads. */
import { spawn } from 'node:child_process'
import { readFileSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { test } from 'tap'
import { type ServedPool, servePool } from './served-pool.ts'

const vsadmFile = fileURLToPath(new URL('../../../node/cli/vsadm.ts', import.meta.url))

async function run(pool: ServedPool, words: string[], { file = vsadmFile, standardInput = '' } = {}) {
  const child = spawn(process.execPath, [file, ...words], { env: { ...process.env, DIRECTOR_SOCKET: pool.socketPath } })
  child.stdin.end(standardInput)
  const ended = new Promise((resolve) => child.once('close', resolve))
  const [stdout, stderr, rc] = await Promise.all([text(child.stdout), text(child.stderr), ended])
  return { stdout, stderr, rc }
}

test('rules from stdin go to the director that DIRECTOR_SOCKET names, and are listed', async (t) => {
  const pool = await servePool(t)
  const standardInput = '-A -t 10.0.0.1:80 -s rr\n-a -t 10.0.0.1:80 -r 10.0.0.2:8080 -m -w 3\n'
  t.same(await run(pool, ['-R'], { standardInput }), { stdout: '', stderr: '', rc: 0 })
  t.same(await run(pool, ['-Sn']), {
    stdout: '-A -t 10.0.0.1:80 -s rr\n-a -t 10.0.0.1:80 -r 10.0.0.2:8080 -m -w 3\n',
    stderr: '',
    rc: 0,
  })
  t.same(await run(pool, ['-A', '-t', '10.0.0.1:80']), { stdout: '', stderr: 'Service already exists\n', rc: 255 })
})

test('through a link by the name ipvsadm it calls itself that', async (t) => {
  const link = join(t.testdir(), 'ipvsadm')
  symlinkSync(vsadmFile, link)
  const { stdout } = await run(await servePool(t), ['-v'], { file: link })
  t.equal(stdout, 'ipvsadm v1.31 2019/12/24 (compiled with popt and IPVS v1.2.1)\n')
})

test('it loads nothing but its own files and Node’s, so that it starts quickly', async (t) => {
  const seen = new Set<string>()
  const slow = ['node:tls', 'node:http', 'node:https', 'node:crypto']
  const foreign: string[] = []
  const follow = (file: string) => {
    if (seen.has(file)) return
    seen.add(file)
    const source = readFileSync(file, 'utf8').replaceAll(/^(import|export) type .*$/gm, '')
    for (const [, name] of source.matchAll(/^(?:import|export|\}).* from '([^']+)'/gm)) {
      if (name.startsWith('.')) follow(fileURLToPath(new URL(name, `file://${file}`)))
      else if (!name.startsWith('node:') || slow.includes(name)) foreign.push(`${file}: ${name}`)
    }
  }
  follow(vsadmFile)
  t.same(foreign, [])
  t.ok(seen.size >= 10, 'the files were followed')
})
