/** The import rule: who may import whom, and where each of the heavy packages may be used (docs/architecture.md). */
import { test } from 'tap'
import { type Import, importsOf, read, shippedFiles } from './source-files.ts'

const isWithin = (path: string, folder: string) => path.startsWith(`${folder}/`)

/** For each folder, whose files it may import besides its own; the most particular folder comes first. */
const mayImport: readonly [folder: string, others: readonly string[]][] = [
  ['node/agent', ['protocol']],
  ['protocol', []],
  ['scheduler', ['protocol']],
  ['forwarder', ['scheduler', 'protocol']],
  ['node', ['forwarder', 'scheduler', 'protocol']],
]

const onlyIn: readonly [packages: RegExp, folder: string][] = [
  [/^koffi$/, 'forwarder/sys'],
  [/^(libp2p|@libp2p\/.*|@multiformats\/.*|@chainsafe\/.*)$/, 'node/director/cluster'],
  [/^(level|classic-level|abstract-level)$/, 'node/director/store'],
  [/^raw-socket$/, 'node/director/vip'],
]

/** @returns why this import is not allowed; undefined when it is */
function breach({ file, specifier, path, package: name }: Import): string | undefined {
  if (path !== undefined && path !== 'package.json') {
    const rule = mayImport.find(([folder]) => isWithin(file, folder))
    if (!rule?.[1].concat(rule[0]).some((folder) => isWithin(path, folder))) return `${file} imports ${path}`
  }
  const place = onlyIn.find(([packages]) => name && packages.test(name))
  if (place && !isWithin(file, place[1])) return `${file} imports ${specifier}, which belongs in ${place[1]}`
  return undefined
}

const imports = shippedFiles.flatMap((file) => importsOf(file))

test('every file imports only what its folder may', async (t) => {
  t.ok(imports.length > 100, 'the imports were found')
  t.strictSame(
    imports.flatMap((found) => breach(found) ?? []),
    [],
  )
})

const examples = [
  ['protocol/packet/ipv4.ts', "import { f } from '../../forwarder/loop.ts'", true],
  ['protocol/packet/ipv4.ts', "export type { F } from '../errors.ts'", false],
  ['scheduler/rr.ts', "import type {\n  F,\n} from '../node/x.ts'", true],
  ['forwarder/loop.ts', "const x = await import('../node/x.ts')", true],
  ['forwarder/loop.ts', "import '../scheduler/registry.ts'", false],
  ['node/agent/agent.ts', "import { f } from '../../forwarder/sys/tun.ts'", true],
  ['node/agent/agent.ts', "import { f } from '../../protocol/errors.ts'", false],
  ['node/director/vip/vip.ts', "import koffi from 'koffi'", true],
  ['forwarder/sys/libc.ts', "import koffi from 'koffi'", false],
  ['node/director/director.ts', "import { x } from '@libp2p/tcp'", true],
  ['node/director/control/x.ts', "const raw = require('raw-socket')", true],
  ['node/director/x.ts', " * import { x } from 'level'", false],
] as const
for (const [file, text, isBreach] of examples) {
  test(`${isBreach ? 'caught' : 'allowed'}: ${text.replaceAll(/\s+/g, ' ')} in ${file}`, async (t) => {
    t.equal(
      importsOf(file, text).some((found) => breach(found) !== undefined),
      isBreach,
    )
  })
}

test('what the package imports are exactly its dependencies', async (t) => {
  const { dependencies, optionalDependencies } = JSON.parse(read('package.json'))
  const declared = Object.keys({ ...dependencies, ...optionalDependencies }).filter(
    (name) => !/^node-linux-/.test(name),
  )
  const imported = new Set(imports.flatMap(({ package: name }) => name ?? []))
  t.strictSame([...imported].sort(), declared.sort())
})

test('no file of ours is named with its .ts ending outside an import: the installed package has .js', async (t) => {
  const named = shippedFiles.filter((file) => /new URL\(\s*['"`][^'"`]+\.ts['"`]/.test(read(file)))
  t.strictSame(named, [])
})
