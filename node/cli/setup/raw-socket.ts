/**
 * Builds raw-socket, the one dependency that comes as C++ source, for the Node.js that runs directors.
 *
 * npm does not do it: at the time of `npm ci` there need not be a compiler, and npm would build it for the Node.js that npm
 * itself runs under. See docs/decisions/tooling.md.
 */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { DirectorError } from '../../../protocol/errors.ts'

/** The folder with our node_modules, in the repository or where the package is installed. */
export function packageFolder(from = import.meta.dirname): string {
  return existsSync(join(from, 'node/cli/bin/launch.sh')) ? from : packageFolder(dirname(from))
}

/** Whether it loads into this Node.js; asked in another process, which a bad addon cannot harm us in. */
export function rawSocketLoads(folder: string): boolean {
  return spawnSync(process.execPath, ['-e', 'require("raw-socket")'], { cwd: folder, stdio: 'ignore' }).status === 0
}

/** How it is built: tests have an npm that only notes what it is asked. */
export interface Builder {
  /** Runs npm in a folder. */
  runNpm(words: readonly string[], folder: string): { failed: boolean; output: string }
  /** Where the running Node.js is installed: its headers lie in include/node. */
  readonly prefix: string
}

const thisBuilder: Builder = { runNpm, prefix: dirname(dirname(process.execPath)) }

/** @throws DirectorError SETUP_FAILED */
export function buildRawSocket(folder: string, builder = thisBuilder): void {
  const isRepository = basename(dirname(folder)) !== 'node_modules'
  if (!isRepository || !installedAt(folder)) completeDependencies(folder, isRepository, builder)
  const source = installedAt(folder)
  if (!source) throw new DirectorError('SETUP_FAILED', 'raw-socket is not installed; install linux-director again')
  const { output, failed } = compile(source, builder)
  if (!failed && rawSocketLoads(folder)) return
  const reason = output.match(/^.*\berror\b.*$/im)?.[0].trim() ?? 'no reason given'
  throw new DirectorError(
    'SETUP_FAILED',
    `raw-socket does not build (${reason}); in ${source} run: npx node-gyp rebuild`,
  )
}

function installedAt(folder: string): string | undefined {
  try {
    return dirname(createRequire(join(folder, 'package.json')).resolve('raw-socket/package.json'))
  } catch {
    return undefined
  }
}

/**
 * Brings raw-socket, if npm 10 has taken it away since it could not build it, and nan as overridden in our package.json:
 * where our package is installed it is not npm's root package, and only the root's overrides count.
 */
function completeDependencies(folder: string, isRepository: boolean, { runNpm }: Builder): void {
  const words = ['install', '--no-save', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error']
  if (!isRepository) words.push('--omit=dev')
  const { failed, output } = runNpm(words, folder)
  if (failed) throw new DirectorError('SETUP_FAILED', `npm cannot fetch raw-socket: ${output.trim().split('\n')[0]}`)
}

/**
 * Built against the headers that lie beside the running Node.js; without them node-gyp fetches some. Its Makefile names their
 * folder without quotes, so it is told of a link to it, in whose path there is no space.
 */
function compile(source: string, { runNpm, prefix }: Builder): { failed: boolean; output: string } {
  const links = mkdtempSync(join(tmpdir(), 'linux-director-headers-'))
  try {
    const hasHeaders = existsSync(join(prefix, 'include/node/node.h'))
    const link = join(links, 'node')
    if (hasHeaders) symlinkSync(prefix, link)
    const headers = hasHeaders ? [`--nodedir=${link}`] : []
    // npm knows its node-gyp, and looks for raw-socket in the node_modules of the folder where it runs.
    const words = ['explore', 'raw-socket', ...headers, '--loglevel=silent', '--', 'node-gyp', 'rebuild']
    return runNpm(words, dirname(dirname(source)))
  } finally {
    rmSync(links, { recursive: true })
  }
}

function runNpm(words: readonly string[], folder: string): { failed: boolean; output: string } {
  const { status, stdout, stderr, error } = spawnSync('npm', words, { cwd: folder, encoding: 'utf8' })
  return { failed: status !== 0, output: error?.message ?? `${stdout}${stderr}` }
}
