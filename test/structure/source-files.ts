/** The repository's TypeScript files, and what each imports: what the structure tests look at. */
import { globSync, readFileSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'

export const top = dirname(dirname(import.meta.dirname))

export function read(file: string): string {
  return readFileSync(join(top, file), 'utf8')
}

/** Paths from the top. */
export const sourceFiles = globSync('{protocol,scheduler,forwarder,node,test}/**/*.ts', { cwd: top }).sort()

/** What is installed with the package; tests are not. */
export const shippedFiles = sourceFiles.filter((file) => !file.startsWith('test/'))

const importStatement = /^\s*(?:import|export)\b(?:[^'";]*?\bfrom)?\s*'([^']+)'/gm
const importCall = /^(?!\s*\*).*?\b(?:import|require)\('([^']+)'\)/gm

export interface Import {
  readonly file: string
  /** As it is written: a relative path, a package or a module of Node.js. */
  readonly specifier: string
  /** Path from the top, when it is one of our files. */
  readonly path?: string
  /** When it is a package. */
  readonly package?: string
}

export function importsOf(file: string, text = read(file)): Import[] {
  const specifiers = [...text.matchAll(importStatement), ...text.matchAll(importCall)].map((match) => match[1])
  return specifiers.map((specifier) => {
    if (specifier.startsWith('.')) return { file, specifier, path: normalize(join(dirname(file), specifier)) }
    if (specifier.startsWith('node:')) return { file, specifier }
    return { file, specifier, package: specifier.split('/', specifier.startsWith('@') ? 2 : 1).join('/') }
  })
}
