/** The shape of the repository: what lies at its top, how its files begin, how long they are, and what the docs must list. */
import { globSync, readdirSync } from 'node:fs'
import { matchesGlob } from 'node:path'
import { test } from 'tap'
import { DROP_REASONS } from '../../forwarder/engine/drop-reason.ts'
import { REFUSED_SETTINGS, SETTINGS } from '../../forwarder/settings.ts'
import { schedulers } from '../../scheduler/registry.ts'
import { read, sourceFiles, top } from './source-files.ts'

const LONGEST_FILE_LINES = 500
const LONGEST_MEDIAN_LINES = 180

test('the top level holds nothing but what belongs there', async (t) => {
  const files = ['README.md', 'package.json', 'package-lock.json', 'tsconfig.json']
  const allowed = [...files, 'docs', 'forwarder', 'node', 'protocol', 'scheduler', 'test']
  const ignored = read('.gitignore').split('\n').filter(Boolean)
  const names = readdirSync(top).filter(
    (name) => !name.startsWith('.') && !ignored.some((pattern) => matchesGlob(name, pattern.replace(/\/$/, ''))),
  )
  t.strictSame(
    names.filter((name) => !allowed.includes(name)),
    [],
  )
})

test('every file begins with a comment that says what it is for', async (t) => {
  const begins = (file: string) => /^(#!.*\n)?(\/\*\*|\/\/)/.test(read(file))
  t.strictSame(
    sourceFiles.filter((file) => !begins(file)),
    [],
  )
})

test('the path of a URL is not taken for the name of a file, in which a space is no %20', async (t) => {
  const named = sourceFiles.filter((file) => /import\.meta\.url\)\.pathname|\bfile\.pathname/.test(read(file)))
  t.strictSame(named, [])
})

test('files are short', async (t) => {
  const lengths = sourceFiles.map((file) => ({ file, lines: read(file).split('\n').length - 1 }))
  t.strictSame(
    lengths.filter(({ lines }) => lines > LONGEST_FILE_LINES),
    [],
  )
  const sorted = lengths.map(({ lines }) => lines).sort((a, b) => a - b)
  const median = sorted[Math.floor(sorted.length / 2)]
  t.ok(median <= LONGEST_MEDIAN_LINES, `the median file has ${median} lines`)
})

/** Names in the first column of every table of a page. */
function rowsOf(page: string): string[] {
  return [...read(page).matchAll(/^\| `([^`]+)`/gm)].map(([, name]) => name)
}

test('docs/errors.md has one row for every error code', async (t) => {
  const codes = [...read('protocol/errors.ts').matchAll(/^ {2}\| '(\w+)'/gm)].map(([, code]) => code)
  t.ok(codes.length > 10, 'the codes were found')
  t.strictSame(rowsOf('docs/errors.md').sort(), codes.sort())
})

test('docs/schedulers.md has one row for every scheduler', async (t) => {
  t.strictSame(rowsOf('docs/schedulers.md').sort(), schedulers.map(({ name }) => name).sort())
})

test('docs/commands/settings.md has the row of every setting', async (t) => {
  const page = read('docs/commands/settings.md')
  for (const { name, type, minimum, maximum, default: initial, meaning } of SETTINGS) {
    t.ok(page.includes(`| \`${name}\` | ${type} | ${initial} | ${minimum} to ${maximum} | ${meaning} |\n`), name)
  }
})

test('docs/commands/status.md has one row for every reason for which packets are dropped', async (t) => {
  const [, section] = read('docs/commands/status.md').split('\n## Dropped because of\n')
  const reasons = [...section.matchAll(/^\| `([^`]+)` \| \S/gm)].map(([, reason]) => reason)
  t.strictSame(reasons, [...DROP_REASONS])
})

test('docs/control-api.md has one row for every route of the control server', async (t) => {
  const server = read('node/director/control/control-server.ts')
  const routes = [...server.matchAll(/\bapp\.(get|post|put|delete)\('([^']+)'/g)].map(
    ([, method, path]) => `${method.toUpperCase()} ${path}`,
  )
  t.ok(routes.length > 20, 'the routes were found')
  const rows = [...read('docs/control-api.md').matchAll(/^\| ([A-Z]+) \| `([^`]+)` \|/gm)]
  t.strictSame(rows.map(([, method, path]) => `${method} ${path}`).sort(), routes.sort())
})

test('docs/divergence.md has the row of every setting that is refused', async (t) => {
  const page = read('docs/divergence.md')
  for (const { name, reason } of REFUSED_SETTINGS) t.ok(page.includes(`| \`${name}\` | ${reason} |\n`), name)
})

test('docs/decisions/dependencies.md gives a reason for every package in package.json', async (t) => {
  const { dependencies, optionalDependencies, devDependencies, overrides } = JSON.parse(read('package.json'))
  const packages = Object.keys({ ...dependencies, ...optionalDependencies, ...devDependencies, ...overrides })
  t.strictSame(rowsOf('docs/decisions/dependencies.md').sort(), packages.sort())
})

test('every scheduler is run through the compliance suite', async (t) => {
  const tests = globSync('test/scheduler/*.test.ts', { cwd: top }).map(read).join()
  for (const { name } of schedulers) {
    const file = globSync('scheduler/*.ts', { cwd: top }).find((path) => read(path).includes(`name: '${name}'`))
    const exported = /export const (\w+): Scheduler/.exec(read(file ?? 'scheduler/registry.ts'))?.[1]
    t.match(tests, new RegExp(`schedulerCompliance\\(\\s*t,\\s*${exported}\\b`), name)
  }
})
