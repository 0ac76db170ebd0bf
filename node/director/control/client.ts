/**
 * Asks a director over its control socket. Imports nothing that takes time to load: the commands start with it.
 */
import { request as httpRequest, type IncomingMessage, type OutgoingHttpHeaders, type RequestOptions } from 'node:http'
import { DirectorError, type ErrorCode } from '../../../protocol/errors.ts'
import type { PoolEdit } from './api.ts'

const SILENCE_MAX_MS = 10_000
/** A document of changes is answered when all of it is kept. */
const DOCUMENT_MAX_MS = 60_000

/** A document was refused for one of its changes. */
export class ChangeRefused extends DirectorError {
  /** Which of the changes, from 0. */
  readonly at: number
  constructor(code: ErrorCode, message: string, at: number) {
    super(code, message)
    this.at = at
  }
}

/**
 * One request of control/api.ts; resolves with the answer's body.
 * @throws DirectorError as the director answered, or DIRECTOR_UNREACHABLE
 */
export function request(socketPath: string, method: string, path: string, body?: unknown): Promise<unknown> {
  return ask(socketPath, method, path, body === undefined ? undefined : Buffer.from(JSON.stringify(body)))
}

/**
 * Makes all of the changes, or none.
 * @throws ChangeRefused, or DirectorError DIRECTOR_UNREACHABLE
 */
export async function requestChanges(socketPath: string, edits: readonly PoolEdit[]): Promise<void> {
  const lines = edits.map((edit) => `${JSON.stringify(edit)}\n`)
  await ask(socketPath, 'POST', '/changes', Buffer.from(lines.join('')), 'application/x-ndjson', DOCUMENT_MAX_MS)
}

async function ask(
  socketPath: string,
  method: string,
  path: string,
  payload: Buffer | undefined,
  type = 'application/json',
  silenceMaxMs = SILENCE_MAX_MS,
): Promise<unknown> {
  let status: number
  let text: string
  try {
    const response = await exchange(
      { socketPath, method, path, headers: headersOf(payload, type), timeout: silenceMaxMs },
      payload,
    )
    status = response.statusCode as number
    text = Buffer.concat(await response.toArray()).toString()
  } catch (error) {
    throw new DirectorError('DIRECTOR_UNREACHABLE', `${socketPath}: ${explain(error as NodeJS.ErrnoException)}`, {
      cause: error,
    })
  }
  const answer = parse(text, socketPath)
  if (status < 400 || path === '/health') return answer
  const { code, message, line } = answer as { code: ErrorCode | 'INTERNAL'; message: string; line?: number }
  if (code === 'INTERNAL') throw new Error(message)
  throw line === undefined ? new DirectorError(code, message) : new ChangeRefused(code, message, line)
}

function headersOf(payload: Buffer | undefined, type: string): OutgoingHttpHeaders {
  return payload ? { 'content-type': type, 'content-length': payload.length } : {}
}

function exchange(options: RequestOptions, payload?: Buffer): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const asked = httpRequest({ ...options, agent: false })
    asked.on('timeout', () => asked.destroy(new Error(`no answer for ${Number(options.timeout) / 1000} s`)))
    asked.on('response', resolve)
    asked.on('error', reject)
    asked.end(payload)
  })
}

function parse(text: string, socketPath: string): unknown {
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw new DirectorError('DIRECTOR_UNREACHABLE', `${socketPath}: what answers there is no director`, { cause })
  }
}

function explain({ code, message }: NodeJS.ErrnoException): string {
  if (code === 'ENOENT' || code === 'ECONNREFUSED') {
    return 'no director answers here: start it, or set DIRECTOR_SOCKET to the control socket in its configuration'
  }
  if (code === 'EACCES') return 'permission denied: run this as root'
  return `the director does not answer (${message}): see its log`
}
