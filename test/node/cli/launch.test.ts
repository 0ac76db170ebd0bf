/** The launcher: which Node.js it takes, what it runs, and that the program takes its place. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  cpSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { text } from 'node:stream/consumers'
import { type Test, test } from 'tap'

const launchers = join(import.meta.dirname, '../../../node/cli/bin')
const pinned = `node_modules/node-linux-${process.arch}/bin/node`

test('the Node.js in node_modules is taken, in the repository', async (t) => {
  const at = installation(t, { [`home/${pinned}`]: 'v24.0.0', 'system/node': 'v99.0.0' })
  const { pid, output, status } = await run(at, 'home/node/cli/bin/launch.sh', ['test/run.ts', 'a b', '--c'])
  t.equal(output, `${at}/home/${pinned} ${pid} [test/run.ts] [a b] [--c] \n`, 'it has the process id of the launcher')
  t.equal(status, 7, 'and its exit status')
})

test('it is also found beside the package that it was installed with', async (t) => {
  const at = installation(t, { [pinned]: 'v24.0.0' }, 'node_modules/linux-director')
  const { output } = await run(at, 'node_modules/linux-director/node/cli/bin/launch.sh', ['x'])
  t.match(output, `${at}/${pinned} `)
})

test('without it a new enough Node.js on the path will do', async (t) => {
  for (const version of ['v22.18.0', 'v22.20.1', 'v24.0.0', 'v100.1.0']) {
    const at = installation(t, { 'system/node': version })
    t.match((await run(at, 'home/node/cli/bin/launch.sh', ['x'])).output, `${at}/system/node `, version)
  }
})

test('without any that is new enough it says what to do', async (t) => {
  for (const version of ['v22.17.9', 'v20.20.2', 'v9.99.0']) {
    const at = installation(t, { 'system/node': version })
    const { output, status } = await run(at, 'home/node/cli/bin/launch.sh', ['x'])
    t.match(output, /^linux-director: no Node.js 22.18 or newer: run npm ci .*\n$/, version)
    t.equal(status, 1)
  }
})

test('programs in the sbin folders are on the path of what it runs, once', async (t) => {
  const at = installation(t, { [`home/${pinned}`]: 'v24.0.0' })
  const given = `${at}/system:/usr/bin:/bin`
  const node = join(at, 'home', pinned)
  writeFileSync(node, '#!/bin/sh\necho "$PATH"\n')
  const pathFrom = async (path: string) => (await run(at, 'home/node/cli/bin/director', ['setup'], path)).output.trim()
  t.equal(await pathFrom(given), `${given}:/usr/sbin:/sbin`)
  t.equal(await pathFrom('/usr/sbin:/usr/bin:/bin'), '/usr/sbin:/usr/bin:/bin')
  t.equal(await pathFrom(''), '/usr/bin:/bin:/usr/sbin:/sbin')
})

test('director and vsadm run TypeScript in the repository and JavaScript where they are installed', async (t) => {
  for (const program of ['director', 'vsadm']) {
    const at = installation(t, { [`home/${pinned}`]: 'v24.0.0' })
    symlinkSync(join(at, 'home/node/cli/bin', program), join(at, program))
    t.match(
      (await run(at, program, ['-L'])).output,
      `[${at}/home/node/cli/bin/../../../dist/node/cli/${program}.js] [-L] `,
    )
    writeFileSync(join(at, `home/node/cli/${program}.ts`), '')
    t.match((await run(at, program, ['-L'])).output, `[${at}/home/node/cli/bin/../${program}.ts] [-L] `)
  }
})

test('director and vsadm run their bundles in the repository too, until a source is newer', async (t) => {
  for (const program of ['director', 'vsadm']) {
    const at = installation(t, { [`home/${pinned}`]: 'v24.0.0' })
    const source = join(at, `home/node/cli/${program}.ts`)
    const bundle = join(at, `home/dist/node/cli/${program}.js`)
    for (const folder of ['forwarder', 'protocol', 'scheduler']) mkdirSync(join(at, 'home', folder))
    mkdirSync(dirname(bundle), { recursive: true })
    for (const file of [source, bundle]) writeFileSync(file, '')
    const scriptAfter = async (...[sourceTime, bundleTime]: [number, number]) => {
      utimesSync(source, sourceTime, sourceTime)
      utimesSync(bundle, bundleTime, bundleTime)
      return /\[(.*?)\]/.exec((await run(at, `home/node/cli/bin/${program}`, [])).output)?.[1]
    }
    const here = `${at}/home/node/cli/bin`
    t.equal(await scriptAfter(1000, 2000), `${here}/../../../dist/node/cli/${program}.js`)
    t.equal(await scriptAfter(2000, 1000), `${here}/../${program}.ts`)
  }
})

test('each file that goes into the bundle of vsadm is one whose time the launcher looks at', async (t) => {
  const root = join(import.meta.dirname, '../../..')
  const launcher = readFileSync(join(launchers, 'launch.sh'), 'utf8')
  const folders = /for folder in (.*); do/.exec(launcher)?.[1].split(' ') ?? []
  const at = realpathSync(mkdtempSync(join(tmpdir(), 't-bundle-')))
  t.teardown(() => rmSync(at, { recursive: true, force: true }))
  const child = spawn(join(root, 'node/cli/setup/bundle.sh'), [at], { stdio: 'inherit' })
  t.same(await once(child, 'close'), [0, null])
  // esbuild says before each file's content which it is.
  const inputs = globSync(join(at, 'node/cli/vsadm*.js')).flatMap((file) =>
    [...readFileSync(file, 'utf8').matchAll(/^\/\/ (\S+\.(?:ts|json))$/gm)].map((line) => line[1]),
  )
  t.ok(inputs.includes('node/cli/vsadm/grammar.ts'))
  t.same(
    inputs.filter((file) => !folders.includes(dirname(file))),
    [],
  )
})

/** The launchers in a folder of their own, away from this repository's node_modules, with Nodes of the given versions that only say how they were called. */
function installation(t: Test, nodes: Record<string, string>, home = 'home'): string {
  const at = realpathSync(mkdtempSync(join(tmpdir(), 't-launch-')))
  t.teardown(() => rmSync(at, { recursive: true, force: true }))
  cpSync(launchers, join(at, home, 'node/cli/bin'), { recursive: true })
  for (const [file, version] of Object.entries(nodes)) {
    mkdirSync(dirname(join(at, file)), { recursive: true })
    const script = `[ "$1" = --version ] && echo ${version} && exit\nprintf '%s ' "$0" $$\nprintf '[%s] ' "$@"\necho\nexit 7\n`
    writeFileSync(join(at, file), `#!/bin/sh\n${script}`, { mode: 0o755 })
  }
  return at
}

async function run(at: string, program: string, words: readonly string[], path = `${at}/system:/usr/bin:/bin`) {
  const child = spawn(join(at, program), words, { env: { PATH: path } })
  const [output, errors, [status]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')])
  return { pid: child.pid, output: output + errors, status: status as number }
}
