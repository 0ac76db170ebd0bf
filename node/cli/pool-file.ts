/** The file of the pool's whole configuration, as `director config apply` reads it and `director config show` prints it: YAML. */
import { Document, isCollection } from 'yaml'
import { z } from 'zod'
import { serviceKey } from '../../forwarder/service.ts'
import { DirectorError } from '../../protocol/errors.ts'
import type { PoolDocument } from '../director/control/answers.ts'
import {
  markRuleSchema,
  type PoolEdit,
  REVISION,
  settingsInputSchema,
  wholeServiceSchema,
} from '../director/control/api.ts'
import { ChangeRefused } from '../director/control/client.ts'
import { parseYaml, type YamlFile } from '../director/yaml-file.ts'

const poolFileSchema = z.strictObject({
  /** That the file was made from; it is refused when the configuration has changed since. */
  revision: z
    .string('expected a revision, in quotes where it has no letters')
    .regex(REVISION, 'expected a revision of 12 digits')
    .optional(),
  services: z.array(wholeServiceSchema).superRefine((services, context) => {
    const known = new Set<string>()
    for (const [index, service] of services.entries()) {
      const key = serviceKey(service)
      if (known.has(key)) {
        const message = `expected each service once, and ${key} is above already`
        context.addIssue({ code: 'custom', path: [index], message })
      }
      known.add(key)
    }
  }),
  /** What is not here has its default. */
  settings: settingsInputSchema.default({}),
  marks: z.array(markRuleSchema).default([]),
})

export type PoolFile = YamlFile<z.infer<typeof poolFileSchema>>

/** @throws DirectorError CONFIG_INVALID with file, line and field */
export function parsePoolFile(text: string, file: string): PoolFile {
  return parseYaml(text, file, poolFileSchema)
}

/** What makes the pool's configuration that of the file. */
export function editsOf({ content }: PoolFile): PoolEdit[] {
  const { services, settings, marks } = content
  return [
    { do: 'clear' },
    ...services.map((service): PoolEdit => ({ do: 'replace-service', service })),
    { do: 'replace-settings', settings },
    { do: 'replace-marks', rules: marks },
  ]
}

/** The director's refusal of one of editsOf(), with the line of the file that it is about; or of all of them together. */
export function atLine(error: unknown, { content, fault }: PoolFile): unknown {
  if (!(error instanceof ChangeRefused)) {
    const isRefused = error instanceof DirectorError && error.code === 'INPUT_INVALID'
    return isRefused ? fault([], error.message) : error
  }
  const index = error.at - 1
  const fields = ['settings', 'marks']
  const path = index < content.services.length ? ['services', index] : [fields[index - content.services.length]]
  const code = error.code === 'INPUT_INVALID' ? 'CONFIG_INVALID' : error.code
  return new DirectorError(code, fault(path, error.message).message)
}

/** In pieces, since it may be long. A server and a rule are one line each. */
export function* printPoolFile({
  revision,
  services,
  settings,
  marks,
}: Omit<PoolDocument, 'revision'> & { revision?: string }): Generator<string> {
  if (revision !== undefined) yield print({ revision })
  yield services.length === 0 ? 'services: []\n' : 'services:\n'
  for (const service of services) {
    const folded = [['persistence'], ['schedulerFlags'], ...service.servers.map((_, index) => ['servers', index])]
    yield print(
      { services: [service] },
      folded.map((path) => ['services', 0, ...path]),
    ).slice('services:\n'.length)
  }
  yield print({ settings })
  yield print(
    { marks },
    marks.map((_, index) => ['marks', index]),
  )
}

/** Something else that people can take over, which the reader of the file passes over. */
export function printComment(part: object): string {
  return print(part).replaceAll(/^(?=.)/gm, '# ')
}

/** @param folded paths of what goes on one line */
function print(part: object, folded: readonly (string | number)[][] = []): string {
  // Servers that have the same tunnel are to be read, and edited, each by itself; and a reader refuses more than 100 aliases.
  const document = new Document(part, { aliasDuplicateObjects: false })
  for (const path of folded) {
    const node = document.getIn(path, true)
    if (isCollection(node)) node.flow = true
  }
  return document.toString({ lineWidth: 0 })
}
