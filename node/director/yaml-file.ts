/** YAML files that people write, checked: what is wrong is said with file, line and field. */
import { readFileSync } from 'node:fs'
import { type Document, LineCounter, parseDocument } from 'yaml'
import type { z } from 'zod'
import { DirectorError } from '../../protocol/errors.ts'

/** @throws DirectorError CONFIG_UNREADABLE */
export function readText(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch (error) {
    throw new DirectorError('CONFIG_UNREADABLE', `${file}: cannot be read: ${(error as Error).message}`)
  }
}

export interface YamlFile<T> {
  readonly content: T
  /** An error about one of its fields. */
  fault(path: readonly PropertyKey[], message: string): DirectorError
}

/**
 * @param file only for messages
 * @throws DirectorError CONFIG_INVALID; the message has file, line, field and what was expected
 */
export function parseYaml<T>(text: string, file: string, schema: z.ZodType<T>): YamlFile<T> {
  const lines = new LineCounter()
  const document = parseDocument(text, { lineCounter: lines })
  const broken = document.errors[0]
  if (broken) {
    const line = lines.linePos(broken.pos[0]).line
    throw new DirectorError('CONFIG_INVALID', `${file}:${line}: not valid YAML: ${broken.message.split('\n')[0]}`)
  }
  const fault = (path: readonly PropertyKey[], message: string) =>
    new DirectorError(
      'CONFIG_INVALID',
      `${file}:${lineOf(document, lines, path)}: ${path.join('.') || 'document'}: ${message}`,
    )
  const result = schema.safeParse(toPlain(document, file))
  if (result.success) return { content: result.data, fault }
  const issue = result.error.issues[0]
  throw issue.code === 'unrecognized_keys'
    ? fault([...issue.path, issue.keys[0]], 'is not a known field; remove it or correct its name')
    : fault(issue.path, issue.message)
}

/** An alias that stands for ever more is refused, as is one of nothing. */
function toPlain(document: Document, file: string): unknown {
  try {
    return document.toJS()
  } catch (error) {
    throw new DirectorError('CONFIG_INVALID', `${file}:1: not valid YAML: ${(error as Error).message.split('\n')[0]}`)
  }
}

/** Line of the field, or of the nearest parent that is in the file. */
function lineOf(document: Document, lines: LineCounter, fields: readonly PropertyKey[]): number {
  for (let depth = fields.length; depth > 0; depth--) {
    const parent = document.getIn(fields.slice(0, depth - 1), true) as { items?: unknown[] } | undefined
    const pair = parent?.items?.find(
      (item) => (item as { key?: { value?: unknown } })?.key?.value === fields[depth - 1],
    ) as { key: { range?: [number, number, number] } } | undefined
    const node = pair?.key ?? (document.getIn(fields.slice(0, depth), true) as { range?: [number, number, number] })
    if (node?.range) return lines.linePos(node.range[0]).line
  }
  return 1
}
