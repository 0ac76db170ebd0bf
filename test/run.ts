/**
 * Runs the tests: `npm test`, or `npm test -- PATH...` for some of them. The last line is `N passed, N failed`, in assertions.
 *
 * Two at a time. Behind them three of the simulation, which computes, and of test/interop, which waits for other programs most of the time; then
 * two of the labs in which nobody takes over in haste; and at the end the other labs one at a time: they take both cores.
 */
import { spawn, spawnSync } from 'node:child_process'
import { globSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { addCounts, failedCount, type TapCounts, TapSummary } from './tap-summary.ts'

const labs = /^test\/lab\//
const unhurriedLabs =
  /^test\/lab\/(changed-host|damaged-store|ftp|haproxy-agent|local-server|lone-director|scheduling|seed-services|sip|syn-flood|traffic-\w+)\./
const besideEachOther = /^test\/(simulation|interop)\//
const top = dirname(import.meta.dirname)
const require = createRequire(import.meta.url)
const tap = require.resolve('tap').replace(/dist\/.*/, 'dist/esm/run.mjs')

buildTap()
const files = testFiles(process.argv.slice(2))
if (files.length === 0) throw new Error(`no test files in ${process.argv.slice(2).join(' ') || 'test'}`)
const groups = [
  { jobs: 2, files: files.filter((file) => !labs.test(file) && !besideEachOther.test(file)) },
  { jobs: 3, files: files.filter((file) => besideEachOther.test(file)) },
  { jobs: 2, files: files.filter((file) => unhurriedLabs.test(file)) },
  { jobs: 1, files: files.filter((file) => labs.test(file) && !unhurriedLabs.test(file)) },
]
let counts: TapCounts = { passed: 0, failed: 0, skipped: 0 }
for (const group of groups)
  if (group.files.length > 0) counts = addCounts(counts, await runTap(group.jobs, group.files))
const skipped = counts.skipped > 0 ? `, ${counts.skipped} skipped` : ''
console.log(`${counts.passed} passed, ${counts.failed} failed${skipped}`)
process.exitCode = counts.failed > 0 ? 1 : 0

function testFiles(paths: readonly string[]): string[] {
  if (paths.length === 0) return globSync('test/**/*.test.ts', { cwd: top }).sort()
  return paths.flatMap((path) =>
    path.endsWith('.test.ts') ? [path] : globSync(`${path.replace(/\/$/, '')}/**/*.test.ts`, { cwd: top }).sort(),
  )
}

/** tap comes built with its TypeScript plugin, which cannot work with TypeScript 7; see docs/decisions/tooling.md. */
function buildTap(): void {
  const builtTest = require.resolve('@tapjs/test', { paths: [dirname(tap)] }).replace(/\/dist\/.*/, '/test-built')
  const built = readFileSync(join(builtTest, 'dist/esm/index.js'), 'utf8')
  if (!built.includes('@tapjs/typescript')) return
  console.log('building tap without its TypeScript plugin')
  const { status, stdout, stderr } = spawnSync(process.execPath, [tap, 'build'], { cwd: top, encoding: 'utf8' })
  if (status !== 0) throw new Error(`tap build failed:\n${stdout}${stderr}`)
}

/** One line for every file, and the failures in full. */
async function runTap(jobs: number, files: readonly string[]): Promise<TapCounts> {
  const words = [tap, 'run', '--reporter=tap', `--jobs=${jobs}`, ...files]
  const child = spawn(process.execPath, words, { cwd: top, stdio: ['ignore', 'pipe', 'inherit'] })
  const ended = new Promise<number>((resolve) => child.on('close', (code) => resolve(code ?? 1)))
  const summary = new TapSummary()
  for await (const line of createInterface({ input: child.stdout })) {
    const shown = summary.read(line)
    if (shown !== undefined) console.log(shown)
  }
  return failedCount(summary.counts, await ended)
}
