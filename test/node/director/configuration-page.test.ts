/** docs/configuration.md, against the schema that it describes: every field, with its bounds and its default. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'tap'
import { z } from 'zod'
import { directorConfigSchema } from '../../../node/director/config.ts'

interface Field {
  readonly path: string
  readonly schema: z.ZodType
  /** Undefined: it has none, or that of its parts. */
  readonly default: unknown
}

/** What a field may be, without what surrounds that. */
function bare(schema: z.ZodType): { schema: z.ZodType; default: unknown } {
  if (schema instanceof z.ZodDefault) return { ...bare(schema.unwrap() as z.ZodType), default: schema.def.defaultValue }
  if (schema instanceof z.ZodOptional || schema instanceof z.ZodPrefault) return bare(schema.unwrap() as z.ZodType)
  if (schema instanceof z.ZodPipe) return bare(schema.in as z.ZodType)
  return { schema, default: undefined }
}

function* fieldsOf(schema: z.ZodType, path: string): Generator<Field> {
  const inner = bare(schema).schema
  if (inner instanceof z.ZodArray) yield* fieldsOf(inner.element as z.ZodType, `${path}[]`)
  if (!(inner instanceof z.ZodObject)) return
  for (const [name, field] of Object.entries(inner.shape as Record<string, z.ZodType>)) {
    const own = path === '' ? name : `${path}.${name}`
    yield { path: own, ...bare(field) }
    yield* fieldsOf(field, own)
  }
}

const page = readFileSync(join(import.meta.dirname, '../../../docs/configuration.md'), 'utf8')
const rows = new Map(
  [...page.matchAll(/^\| `([^`]+)` \| (.+) \| (.+) \| (.+) \|$/gm)].map(([, path, bounds, initial]) => [
    path,
    { bounds, initial },
  ]),
)
const fields = [...fieldsOf(directorConfigSchema, '')]

test('docs/configuration.md has one row for every field, in the order of the schema', async (t) => {
  t.ok(fields.length > 50, 'the fields were found')
  t.ok(fields.some(({ path }) => path === 'vips[].track.scripts[].fall'))
  t.same(
    [...rows.keys()],
    fields.map(({ path }) => path),
  )
})

test('docs/configuration.md has the bounds of every number, the words of every choice, and every default', async (t) => {
  let numbers = 0
  for (const { path, schema, default: initial } of fields) {
    const row = rows.get(path)
    if (schema instanceof z.ZodNumber) {
      numbers++
      t.match(row?.bounds, new RegExp(`(^| )${schema.minValue} to ${schema.maxValue}\\b`), path)
    }
    if (schema instanceof z.ZodEnum) for (const word of schema.options) t.ok(row?.bounds.includes(`\`${word}\``), path)
    if (initial === undefined) continue
    const expected = Array.isArray(initial) || initial === '' ? 'none' : String(initial)
    t.equal(row?.initial.replaceAll('`', ''), expected, path)
  }
  t.ok(numbers > 15, 'the numbers were found')
})
