/**
 * Asks a director over its control socket, or over TLS from another machine (tls-client.ts). Imports nothing that takes time to load,
 * since the commands start with it: node:http takes about as long as Node takes to start, so the little of HTTP that is needed is here.
 *
 * HTTP/1.0, one request a connection: the answer ends where the connection does, whatever its length.
 * Source: RFC 1945.
 */
import { connect, type Socket } from 'node:net'
import { DirectorError, type ErrorCode } from '../../../protocol/errors.ts'
import type { ChangePreview } from './answers.ts'
import type { PoolEdit } from './api.ts'

const SILENCE_MAX_MS = 10_000
/** A change of much is answered when all of it is kept. */
const LARGE_MAX_MS = 60_000

/** A document was refused for one of its changes. */
export class ChangeRefused extends DirectorError {
  /** Which of the changes, from 0. */
  readonly at: number
  constructor(code: ErrorCode, message: string, at: number) {
    super(code, message)
    this.at = at
  }
}

/** How a director is connected to, and what it means when that fails. */
interface Transport {
  connect(): Socket
  explain(error: NodeJS.ErrnoException): string
}

/** @param address a path, or "https://HOST:PORT" */
async function transportTo(address: string): Promise<Transport> {
  if (address.includes('://')) return (await import('./tls-client.ts')).tlsTransport(address)
  return { connect: () => connect(address), explain }
}

/**
 * One request of control/api.ts; resolves with the answer's body.
 * @param basedOn of a change: the revision that must still be the configuration's; any unless given
 * @throws DirectorError as the director answered, or DIRECTOR_UNREACHABLE
 */
export function request(
  address: string,
  method: string,
  path: string,
  body?: unknown,
  basedOn?: string,
): Promise<unknown> {
  const payload = body === undefined ? undefined : Buffer.from(JSON.stringify(body))
  return ask(address, method, path, payload, { basedOn })
}

/**
 * Makes all of the changes, or none.
 * @param basedOn the revision that must still be the configuration's; any unless given
 * @throws ChangeRefused, or DirectorError DIRECTOR_UNREACHABLE or REVISION_CONFLICT
 */
export async function requestChanges(
  address: string,
  edits: readonly PoolEdit[],
  basedOn?: string,
): Promise<{ revision: string }> {
  return (await sendEdits(address, '/changes', edits, basedOn)) as { revision: string }
}

/** What they would change. @throws as requestChanges */
export async function requestPreview(
  address: string,
  edits: readonly PoolEdit[],
  basedOn?: string,
): Promise<ChangePreview> {
  return (await sendEdits(address, '/preview', edits, basedOn)) as ChangePreview
}

/**
 * Makes the configuration what it was at a revision, if nothing has changed since the difference was made.
 * @param to the revision, or enough of its beginning
 * @throws DirectorError as the director answered, or DIRECTOR_UNREACHABLE
 */
export async function requestRollback(
  address: string,
  to: string,
): Promise<{ difference: string[]; isSame: boolean; revision: string }> {
  const large = (method: string, path: string, body?: unknown, basedOn?: string) =>
    ask(address, method, path, body === undefined ? undefined : Buffer.from(JSON.stringify(body)), {
      silenceMaxMs: LARGE_MAX_MS,
      basedOn,
    })
  const [{ revision: from }] = (await large('GET', '/revisions')) as { revision: string }[]
  const difference = (await large('GET', `/difference?${new URLSearchParams({ from, to })}`)) as string[]
  const { revision } = (await large('POST', '/rollback', { revision: to }, from)) as { revision: string }
  return { difference, isSame: revision === from, revision }
}

function sendEdits(address: string, path: string, edits: readonly PoolEdit[], basedOn?: string): Promise<unknown> {
  const payload = Buffer.from(edits.map((edit) => `${JSON.stringify(edit)}\n`).join(''))
  return ask(address, 'POST', path, payload, {
    type: 'application/x-ndjson',
    silenceMaxMs: LARGE_MAX_MS,
    basedOn,
  })
}

interface AskOptions {
  type?: string
  silenceMaxMs?: number
  basedOn?: string
}

async function ask(
  address: string,
  method: string,
  path: string,
  payload: Buffer | undefined,
  options: AskOptions = {},
): Promise<unknown> {
  const transport = await transportTo(address)
  let response: Buffer
  try {
    const asked = requestOf(method, path, payload, options)
    response = await exchange(transport.connect(), asked, options.silenceMaxMs ?? SILENCE_MAX_MS)
  } catch (error) {
    throw unreachable(address, transport.explain(error as NodeJS.ErrnoException), error)
  }
  const { status, answer } = readResponse(response, address)
  if (status < 400 || path === '/health') return answer
  const { code, message, line } = answer as { code: ErrorCode | 'INTERNAL'; message: string; line?: number }
  if (code === 'INTERNAL') throw new Error(message)
  throw line === undefined ? new DirectorError(code, message) : new ChangeRefused(code, message, line)
}

/**
 * The lines of JSON of an answer that goes on, each parsed; ends when the director ends it.
 * @throws DirectorError DIRECTOR_UNREACHABLE
 */
export async function* follow(address: string, path: string): AsyncGenerator<unknown> {
  const transport = await transportTo(address)
  const socket = transport.connect().setEncoding('utf8')
  socket.write(requestOf('GET', path, undefined, {}))
  let isHeadRead = false
  let rest = ''
  try {
    for await (const chunk of socket) {
      rest += chunk
      if (!isHeadRead) {
        const end = rest.indexOf('\r\n\r\n')
        if (end < 0) continue
        if (!/^HTTP\/1\.\d 200 /.test(rest)) throw new Error('what answers there knows no events')
        rest = rest.slice(end + 4)
        isHeadRead = true
      }
      const lines = rest.split('\n')
      rest = lines.pop() as string
      for (const line of lines) yield JSON.parse(line)
    }
    if (!isHeadRead) throw closed()
  } catch (error) {
    throw unreachable(address, transport.explain(error as NodeJS.ErrnoException), error)
  }
}

function requestOf(
  method: string,
  path: string,
  payload: Buffer | undefined,
  { type = 'application/json', basedOn }: AskOptions,
): Buffer {
  const lines = [`${method} ${path} HTTP/1.0`]
  if (basedOn !== undefined) lines.push(`if-match: "${basedOn}"`)
  if (payload) lines.push(`content-type: ${type}`, `content-length: ${payload.length}`)
  const head = Buffer.from(`${lines.join('\r\n')}\r\n\r\n`)
  return payload ? Buffer.concat([head, payload]) : head
}

/** All that is answered, up to the end of the connection. */
function exchange(socket: Socket, asked: Buffer, silenceMaxMs: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = []
    socket.setTimeout(silenceMaxMs, () => socket.destroy(new Error(`no answer for ${silenceMaxMs / 1000} s`)))
    socket.on('data', (chunk) => chunks.push(chunk))
    socket.on('end', () => {
      if (chunks.length > 0) resolve(Buffer.concat(chunks))
      else reject(closed())
    })
    socket.on('error', reject)
    socket.write(asked)
  })
}

/** The end of a connection that nothing was answered on. */
function closed(): Error {
  return Object.assign(new Error('it has closed the connection'), { code: 'ECONNRESET' })
}

/** @throws DirectorError DIRECTOR_UNREACHABLE */
function readResponse(response: Buffer, address: string): { status: number; answer: unknown } {
  const end = response.indexOf('\r\n\r\n')
  const head = response.toString('latin1', 0, Math.max(0, end))
  const status = /^HTTP\/1\.\d (\d{3})/.exec(head)?.[1]
  if (status === undefined || !/^content-type: *application\/json/im.test(head)) {
    throw unreachable(address, 'what answers there is no director')
  }
  try {
    return { status: Number(status), answer: JSON.parse(response.toString('utf8', end + 4)) }
  } catch (error) {
    throw unreachable(address, 'the answer is not whole: the director has ended meanwhile, or see its log', error)
  }
}

function unreachable(address: string, message: string, cause?: unknown): DirectorError {
  return new DirectorError('DIRECTOR_UNREACHABLE', `${address}: ${message}`, { cause })
}

function explain({ code, message }: NodeJS.ErrnoException): string {
  if (code === 'ENOENT' || code === 'ECONNREFUSED') {
    return 'no director answers here: start it, or set DIRECTOR_SOCKET to the control socket in its configuration'
  }
  if (code === 'EACCES') return 'permission denied: run this as root'
  return `the director does not answer (${message}): see its log`
}
