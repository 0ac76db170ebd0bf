/** What is asked for, checked. */
import type { z } from 'zod'
import { DirectorError } from '../../../protocol/errors.ts'

/** @throws DirectorError INPUT_INVALID with the field */
export function parse<T>(schema: z.ZodType<T>, body: unknown): T {
  const result = schema.safeParse(body)
  if (result.success) return result.data
  const [{ path, message }] = result.error.issues
  throw new DirectorError('INPUT_INVALID', `${path.length > 0 ? `${path.join('.')}: ` : ''}${message}`)
}
