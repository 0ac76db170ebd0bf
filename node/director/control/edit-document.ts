/** A document of changes as it comes: bytes to lines, lines to changes, each read when it is asked for. */
import { Readable } from 'node:stream'
import { StringDecoder } from 'node:string_decoder'
import { DirectorError } from '../../../protocol/errors.ts'
import { EditRefused } from '../pool/pool-configuration.ts'
import { type PoolEdit, poolEditSchema } from './api.ts'
import { parse } from './parse.ts'

export const JSON_LINES = 'application/x-ndjson'
/** 5,000 services with 20 servers each have a quarter of it. */
const DOCUMENT_BYTES_MAX = 64 * 1024 * 1024
/** Of one change, in characters: more than the largest service takes that peers could be told of. */
const LINE_MAX = 2 * 1024 * 1024

/** The bytes of a document, which are not looked at before all of them are here. */
export async function readDocument(body: unknown): Promise<Buffer[]> {
  if (!(body instanceof Readable)) throw new DirectorError('INPUT_INVALID', `expected the content type ${JSON_LINES}`)
  const chunks: Buffer[] = []
  let bytes = 0
  try {
    for await (const chunk of body) {
      bytes += chunk.length
      if (bytes > DOCUMENT_BYTES_MAX) {
        const message = `expected at most ${DOCUMENT_BYTES_MAX} bytes, more than a full pool needs: only what is not the whole configuration can be sent in several documents`
        throw new DirectorError('INPUT_INVALID', message)
      }
      chunks.push(chunk)
    }
  } catch (error) {
    if (error instanceof DirectorError) throw error
    throw new DirectorError('INPUT_INVALID', 'the document ended before its end: nothing is changed', { cause: error })
  }
  return chunks
}

/** The changes of a document, each made when it is asked for. @throws EditRefused for a line that is none */
export function* editsOf(chunks: readonly Buffer[]): Generator<PoolEdit> {
  let number = 0
  for (const line of linesOf(chunks)) yield readEdit(line, number++)
}

function readEdit(line: string, number: number): PoolEdit {
  try {
    return parse(poolEditSchema, JSON.parse(line))
  } catch (error) {
    const cause = error instanceof DirectorError ? error : new DirectorError('INPUT_INVALID', 'expected JSON')
    throw new EditRefused(number, cause)
  }
}

function* linesOf(chunks: readonly Buffer[]): Generator<string> {
  const decoder = new StringDecoder()
  let rest = ''
  let number = 0
  for (const chunk of chunks) {
    const lines = (rest + decoder.write(chunk)).split('\n')
    rest = lines.pop() as string
    yield* lines
    number += lines.length
    // What goes on in every chunk is joined and searched anew with each.
    if (rest.length > LINE_MAX) {
      const message = `expected at most ${LINE_MAX} characters in a line: give a service fewer servers`
      throw new EditRefused(number, new DirectorError('INPUT_INVALID', message))
    }
  }
  rest += decoder.end()
  if (rest !== '') yield rest
}
