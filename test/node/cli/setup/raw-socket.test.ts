/** How `director setup` has raw-socket built: what npm is asked, in which folder, and against which headers. */
import { existsSync, mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { type Test, test } from 'tap'
import { buildRawSocket } from '../../../../node/cli/setup/raw-socket.ts'

const FETCH = 'install --no-save --ignore-scripts --no-audit --no-fund --loglevel=error'
const BUILD = 'explore raw-socket --loglevel=silent -- node-gyp rebuild'

test('in the repository, where it is installed, it is built and nothing is fetched', async (t) => {
  const { at, builder, calls } = machine(t, ['home/node_modules/raw-socket/package.json'])
  buildRawSocket(join(at, 'home'), builder)
  t.strictSame(calls, [{ words: BUILD, folder: join(at, 'home') }])
})

test('in the repository without it, it is fetched first', async (t) => {
  const { at, builder, calls } = machine(t, ['home/package.json'])
  buildRawSocket(join(at, 'home'), builder)
  t.strictSame(calls, [
    { words: FETCH, folder: join(at, 'home') },
    { words: BUILD, folder: join(at, 'home') },
  ])
})

test('where the package is installed its dependencies are completed always, without those of development', async (t) => {
  const ours = 'node_modules/linux-director'
  const { at, builder, calls } = machine(t, [`${ours}/node_modules/raw-socket/package.json`])
  buildRawSocket(join(at, ours), builder)
  t.strictSame(calls, [
    { words: `${FETCH} --omit=dev`, folder: join(at, ours) },
    { words: BUILD, folder: join(at, ours) },
  ])
})

test('node-gyp is told of the headers beside this Node.js by a path without spaces, for the time of the build', async (t) => {
  const { at, builder } = machine(t, ['home/node_modules/raw-socket/package.json', 'my node/include/node/node.h'])
  const folders: string[] = []
  const runNpm: typeof builder.runNpm = (words, folder) => {
    const told = words.find((word) => word.startsWith('--nodedir='))!.slice('--nodedir='.length)
    folders.push(told, realpathSync(told))
    return builder.runNpm(words, folder)
  }
  buildRawSocket(join(at, 'home'), { prefix: join(at, 'my node'), runNpm })
  const [told, real] = folders
  t.match(told, /^\S+$/)
  t.equal(real, join(at, 'my node'))
  t.notOk(existsSync(dirname(told)), 'the link is removed')
})

test('what npm says is passed on when it fails, and so is a build that does not load', async (t) => {
  const { at, builder } = machine(t, ['home/package.json', 'other/node_modules/raw-socket/package.json'])
  const saying = (output: string, failed: boolean) => ({ ...builder, runNpm: () => ({ failed, output }) })
  const refused = (home: string, failing: typeof builder, message: RegExp) =>
    t.throws(() => buildRawSocket(join(at, home), failing), { code: 'SETUP_FAILED', message })
  refused('home', saying('npm error network\nmore', true), /^npm cannot fetch raw-socket: npm error network$/)
  refused('home', saying('', false), /^raw-socket is not installed/)
  refused('other', saying('make\nraw.cc:1: error: no nan\n', true), /does not build \(raw.cc:1: error: no nan\)/)
  refused('other', saying('', false), /does not build \(no reason given\); in .*other\/node_modules\/raw-socket run/)
})

/** A folder with empty files, away from this repository's raw-socket, and an npm that fetches and builds one that loads. */
function machine(t: Test, files: readonly string[]) {
  const at = realpathSync(mkdtempSync(join(tmpdir(), 't-raw-socket-')))
  t.teardown(() => rmSync(at, { recursive: true, force: true }))
  const write = (file: string, content: string) => {
    mkdirSync(dirname(file), { recursive: true })
    writeFileSync(file, content)
  }
  for (const file of files) write(join(at, file), file.endsWith('.json') ? '{}' : '')
  const calls: { words: string; folder: string }[] = []
  const runNpm = (words: readonly string[], folder: string) => {
    calls.push({ words: words.join(' '), folder })
    if (words[0] === 'install') write(join(folder, 'node_modules/raw-socket/package.json'), '{}')
    else write(join(folder, 'node_modules/raw-socket/index.js'), '')
    return { failed: false, output: '' }
  }
  return { at, builder: { runNpm, prefix: join(at, 'without headers') }, calls }
}
