/**
 * Asks a director over its control socket. Imports nothing that takes time to load: the commands start with it.
 */
import { request as httpRequest, type IncomingMessage } from 'node:http'
import { DirectorError, type ErrorCode } from '../../../protocol/errors.ts'

const SILENCE_MAX_MS = 10_000

/**
 * One request of control/api.ts; resolves with the answer's body.
 * @throws DirectorError as the director answered, or DIRECTOR_UNREACHABLE
 */
export async function request(socketPath: string, method: string, path: string, body?: unknown): Promise<unknown> {
  const payload = body === undefined ? undefined : Buffer.from(JSON.stringify(body))
  let status: number
  let text: string
  try {
    const response = await exchange(socketPath, method, path, payload)
    status = response.statusCode as number
    text = Buffer.concat(await response.toArray()).toString()
  } catch (error) {
    throw new DirectorError('DIRECTOR_UNREACHABLE', `${socketPath}: ${explain(error as NodeJS.ErrnoException)}`, {
      cause: error,
    })
  }
  const answer = parse(text, socketPath)
  if (status < 400 || path === '/health') return answer
  const { code, message } = answer as { code: ErrorCode | 'INTERNAL'; message: string }
  throw code === 'INTERNAL' ? new Error(message) : new DirectorError(code, message)
}

function exchange(socketPath: string, method: string, path: string, payload?: Buffer): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const headers = payload && { 'content-type': 'application/json', 'content-length': payload.length }
    const asked = httpRequest({ socketPath, method, path, headers, timeout: SILENCE_MAX_MS, agent: false })
    asked.on('timeout', () => asked.destroy(new Error(`no answer for ${SILENCE_MAX_MS / 1000} s`)))
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
