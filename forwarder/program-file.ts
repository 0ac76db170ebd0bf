/**
 * Where the programs and threads lie that we start ourselves: TypeScript in the repository, JavaScript in the installed package. In
 * the repository there may be JavaScript too, in dist/, bundled by node/cli/setup/bundle.sh so that it loads faster; it is taken
 * until any source is newer. launch.sh has the same rule for what users start.
 */
import { existsSync, readdirSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'

const SOURCE_FOLDERS = ['forwarder', 'node', 'protocol', 'scheduler']

/** @param path from the top of the repository, without its extension: node/cli/director */
export function programFile(path: string): string {
  return findProgram(path, topFolder(import.meta.dirname), import.meta.filename.endsWith('.js'))
}

/** @param isBuilt this process runs JavaScript itself; then so does all that it starts */
export function findProgram(path: string, top: string, isBuilt: boolean): string {
  const built = join(top, 'dist', `${path}.js`)
  if (isBuilt) return built
  const builtMs = statSync(built, { throwIfNoEntry: false })?.mtimeMs
  return builtMs !== undefined && newestSourceMs(top) < builtMs ? built : join(top, `${path}.ts`)
}

function topFolder(from: string): string {
  return existsSync(join(from, 'package.json')) ? from : topFolder(dirname(from))
}

const newest = new Map<string, number>()

function newestSourceMs(top: string): number {
  const known = newest.get(top)
  if (known !== undefined) return known
  const sources = SOURCE_FOLDERS.flatMap((folder) =>
    readdirSync(join(top, folder), { recursive: true, encoding: 'utf8' }).map((file) => join(top, folder, file)),
  ).filter((file) => file.endsWith('.ts'))
  const ms = sources.reduce((latest, file) => Math.max(latest, statSync(file).mtimeMs), 0)
  newest.set(top, ms)
  return ms
}
