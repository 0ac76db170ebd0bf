/**
 * The control socket: HTTP on a Unix socket that only its owner may open, and over TLS (control-tls.ts). What it answers is in api.ts.
 *
 * Source: unix(7) (connecting needs write permission on the socket, which bind() creates by the umask).
 */
import { once } from 'node:events'
import { lstatSync, rmSync } from 'node:fs'
import type { IncomingHttpHeaders } from 'node:http'
import { connect } from 'node:net'
import { dirname } from 'node:path'
import { Readable } from 'node:stream'
import fastify, { type FastifyInstance, type FastifyReply } from 'fastify'
import { z } from 'zod'
import type { ConnectionSnapshot } from '../../../forwarder/forwarder.ts'
import type { ServiceAddress } from '../../../forwarder/service.ts'
import { DirectorError, type ErrorCode } from '../../../protocol/errors.ts'
import { formatEndpoint } from '../../../protocol/packet/ipv6-address.ts'
import { startPace } from '../pace.ts'
import { EditRefused } from '../pool/pool-configuration.ts'
import { documentMark, documentService, documentSettings } from '../pool/pool-document.ts'
import { demandService } from '../pool/service-changes.ts'
import { allSettings } from '../pool/setting-changes.ts'
import { makePrivateFolder } from '../store/private-folder.ts'
import type { ConnectionListing } from './answers.ts'
import {
  type CounterView,
  configurationQuerySchema,
  connectionsQuerySchema,
  counterViewSchema,
  differenceQuerySchema,
  markInputSchema,
  markRuleSchema,
  peerInputSchema,
  questionSchema,
  rollbackSchema,
  serverAddressSchema,
  serverInputSchema,
  serviceAddressSchema,
  serviceInputSchema,
  serviceQuerySchema,
  settingsInputSchema,
  syncDaemonAddressSchema,
  syncDaemonInputSchema,
} from './api.ts'
import type { ControlTls } from './control-tls.ts'
import type { ControlledDirector } from './controlled-director.ts'
import { editsOf, JSON_LINES, readDocument } from './edit-document.ts'
import { EventStreams } from './event-stream.ts'
import { parse } from './parse.ts'

const BODY_BYTES_MAX = 64 * 1024
/** Long answers go out in pieces of about this length. */
const CHUNK_LENGTH = 64 * 1024
/** What is still being answered when the director stops is cut off after this. */
const GRACE_MS = 1000

const STATUS: Partial<Record<ErrorCode, number>> = {
  INPUT_INVALID: 400,
  ADDRESS_INVALID: 400,
  THRESHOLDS_INVALID: 400,
  SCHEDULER_UNKNOWN: 400,
  SERVICE_MISSING: 404,
  SERVER_MISSING: 404,
  MARK_MISSING: 404,
  DAEMON_MISSING: 404,
  INTERFACE_MISSING: 404,
  SERVICE_EXISTS: 409,
  SERVER_EXISTS: 409,
  MARK_EXISTS: 409,
  REVISION_CONFLICT: 412,
  REVISION_MISSING: 404,
  DAEMON_RUNNING: 409,
  STORE_FAILED: 503,
}

const nothing = z.strictObject({})

export interface ControlServerOptions {
  readonly path: string
  /** To be started with it; undefined: there is the Unix socket alone. */
  readonly tls?: Pick<ControlTls, 'start' | 'stop'> | undefined
  readonly director: ControlledDirector
  /** What was thrown and is no DirectorError, and whatever broke off an answer that had begun. */
  readonly onBug: (error: Error) => void
}

export interface ControlServer {
  stop(): Promise<void>
}

/** @throws DirectorError SOCKET_BUSY, PRIVILEGE_MISSING or CONFIG_INVALID, with the path or the address */
export async function startControlServer({ path, tls, director, onBug }: ControlServerOptions): Promise<ControlServer> {
  const app = fastify({ bodyLimit: BODY_BYTES_MAX, exposeHeadRoutes: false })
  answerErrors(app, onBug)
  refuseBrowsers(app)
  addRoutes(app, director)
  const events = new EventStreams(director)
  app.get('/events', async (_, reply) => reply.type(JSON_LINES).send(events.open()))
  await app.ready()
  try {
    makePrivateFolder(dirname(path))
    await removeStaleSocket(path)
    await listenPrivately(app, path)
    // Who has been let in comes by the socket like any other: the same routes, bounds and end.
    await tls?.start(path)
  } catch (error) {
    await app.close()
    throw asDirectorError(error as NodeJS.ErrnoException, path)
  }
  return {
    async stop() {
      const tlsStopped = tls?.stop()
      events.end()
      const cutOff = setTimeout(() => app.server.closeAllConnections(), GRACE_MS)
      await Promise.all([app.close(), tlsStopped])
      clearTimeout(cutOff)
    },
  }
}

/**
 * A page of somebody else could ask in the name of an operator whose browser has his certificate. Browsers say where it is from, in one
 * header or both: the Fetch standard, "Origin header" (changes, and what the page may read), and Fetch Metadata (all, over TLS).
 */
function refuseBrowsers(app: FastifyInstance): void {
  app.addHook('onRequest', async ({ headers }) => {
    for (const name of ['origin', 'sec-fetch-site'])
      if (headers[name] !== undefined) throw new DirectorError('INPUT_INVALID', `${name}: browsers get no answer`)
  })
}

function addRoutes(app: FastifyInstance, director: ControlledDirector): void {
  const { configuration } = director
  // Read at once after a change, when no other can have been made.
  const now = () => ({ revision: configuration.revision })
  app.get('/status', async (_, reply) => reply.type('application/json').send(statusStream(director)))
  app.get('/services', async ({ query }, reply) => {
    const { counters, service } = parseServicesQuery(query)
    if (service) return [director.service(service, counters)]
    return reply.type('application/json').send(Readable.from(arrayChunks(director.services(counters))))
  })
  app.post('/services', async ({ body, headers }, reply) => {
    await configuration.addService(parse(serviceInputSchema, body), basedOn(headers))
    return created(reply, now())
  })
  app.put('/services', async ({ body, headers }) => {
    await configuration.editService(parse(serviceInputSchema, body), basedOn(headers))
    return now()
  })
  app.delete('/services', async ({ body, headers }) => {
    await configuration.removeService(parse(serviceAddressSchema, body), basedOn(headers))
    return now()
  })
  app.post('/clear', async ({ headers }) => {
    await configuration.clear(basedOn(headers))
    return now()
  })
  app.post('/servers', async ({ body, headers }, reply) => {
    await configuration.addServer(parse(serverInputSchema, body), basedOn(headers))
    return created(reply, now())
  })
  app.put('/servers', async ({ body, headers }) => {
    await configuration.editServer(parse(serverInputSchema, body), basedOn(headers))
    return now()
  })
  app.delete('/servers', async ({ body, headers }) => {
    await configuration.removeServer(parse(serverAddressSchema, body), basedOn(headers))
    return now()
  })
  app.addContentTypeParser(JSON_LINES, (_, payload, done) => done(null, payload))
  app.post('/changes', async ({ body, headers }) => {
    await configuration.edit(editsOf(await readDocument(body)), basedOn(headers))
    return now()
  })
  app.post('/preview', async ({ body, headers }, reply) => {
    const edits = editsOf(await readDocument(body))
    const { revision, difference } = await configuration.preview(edits, basedOn(headers))
    return reply.type('application/json').send(objectStream({ revision }, { difference }))
  })
  app.get('/configuration', async ({ query }, reply) => {
    const { revision, state } = await configuration.stateAt(parse(configurationQuerySchema, query).revision)
    const beginning = { revision, settings: documentSettings(state.settings()), marks: state.marks().map(documentMark) }
    return reply
      .type('application/json')
      .send(objectStream(beginning, { services: state.services().values().map(documentService) }))
  })
  app.get('/revisions', async () => configuration.revisions())
  app.get('/difference', async ({ query }, reply) => {
    const { from, to } = parse(differenceQuerySchema, query)
    return reply.type('application/json').send(Readable.from(arrayChunks(await configuration.difference(from, to))))
  })
  app.post('/rollback', async ({ body, headers }) => {
    await configuration.rollback(parse(rollbackSchema, body).revision, basedOn(headers))
    return now()
  })
  app.post('/zero', async ({ body }) => {
    if (body === undefined || nothing.safeParse(body).success) await director.zero()
    else {
      const address = parse(serviceAddressSchema, body)
      await director.zero(demandService(configuration.service(address), address))
    }
    return {}
  })
  app.get('/settings', async () => allSettings(configuration.settings()))
  app.put('/settings', async ({ body, headers }) => {
    await configuration.setSettings(parse(settingsInputSchema, body), basedOn(headers))
    return now()
  })
  app.get('/marks', async () => configuration.marks())
  app.post('/marks', async ({ body, headers }, reply) => {
    await configuration.addMark(parse(markInputSchema, body), basedOn(headers))
    return created(reply, now())
  })
  app.delete('/marks', async ({ body, headers }) => {
    await configuration.removeMark(parse(markRuleSchema, body), basedOn(headers))
    return now()
  })
  app.get('/peers', async () => director.peers())
  app.put('/peers', async ({ body }) => {
    const { id, revoked } = parse(peerInputSchema, body)
    await director.members.setRevoked(id, revoked)
    return {}
  })
  app.get('/connections', async ({ query }, reply) => {
    const { clientPort } = parse(connectionsQuerySchema, query)
    return reply.type('application/json').send(Readable.from(arrayChunks(listings(director.connections(clientPort)))))
  })
  app.post('/explain', async ({ body }) => director.explain(parse(questionSchema, body)))
  app.get('/sync-daemons', async () => director.syncDaemons.list())
  app.post('/sync-daemons', async ({ body }, reply) => {
    await director.syncDaemons.start(parse(syncDaemonInputSchema, body))
    return created(reply, {})
  })
  app.delete('/sync-daemons', async ({ body }) => {
    await director.syncDaemons.stop(parse(syncDaemonAddressSchema, body).state)
    return {}
  })
  app.get('/health', async (_, reply) => {
    const health = director.health()
    return reply.status(Object.values(health).every(Boolean) ? 200 : 503).send(health)
  })
}

function created(reply: FastifyReply, answer: object): object {
  reply.status(201)
  return answer
}

/** The revision that a change is based on. @throws DirectorError INPUT_INVALID */
function basedOn({ 'if-match': condition }: IncomingHttpHeaders): string | undefined {
  if (condition === undefined) return undefined
  const [, revision] = /^"([0-9a-f]{12})"$/.exec(condition) ?? []
  if (revision !== undefined) return revision
  throw new DirectorError('INPUT_INVALID', `If-Match: expected one revision of 12 digits in quotes, not ${condition}`)
}

/** A DirectorStatus in pieces. */
function statusStream(director: ControlledDirector): Readable {
  return objectStream(director.status(), { services: director.services('now') })
}

/** A JSON object in pieces, its one long field last. */
function objectStream(beginning: object, long: Record<string, Iterable<unknown>>): Readable {
  const [[name, elements]] = Object.entries(long)
  const head = JSON.stringify(beginning).slice(0, -1)
  return Readable.from(
    (async function* () {
      yield `${head},${JSON.stringify(name)}:`
      yield* arrayChunks(elements)
      yield '}'
    })(),
  )
}

/** A JSON array in pieces, one element a line. */
async function* arrayChunks(elements: Iterable<unknown> | AsyncIterable<unknown>): AsyncGenerator<string> {
  const pace = startPace()
  let separator = '[\n'
  let chunk = ''
  for await (const element of elements) {
    chunk += separator + JSON.stringify(element)
    separator = ',\n'
    await pace()
    if (chunk.length < CHUNK_LENGTH) continue
    yield chunk
    chunk = ''
  }
  yield separator === ',\n' ? `${chunk}\n]\n` : '[]\n'
}

function* listings(connections: Iterable<ConnectionSnapshot>): Generator<ConnectionListing> {
  for (const connection of connections) {
    const { protocol, state, expiresMs } = connection
    yield {
      protocol,
      state,
      expiresMs,
      client: formatEndpoint(connection.clientAddress, connection.clientPort),
      virtual: formatEndpoint(connection.virtualAddress, connection.virtualPort),
      server: formatEndpoint(connection.serverAddress, connection.serverPort),
      ...(connection.isTemplate && { isTemplate: true }),
      ...(connection.persistenceEngine && { persistenceEngine: connection.persistenceEngine }),
    }
  }
}

/** The service that is asked for, if it is one, and how its counters are. */
function parseServicesQuery(query: unknown): { counters: CounterView; service: ServiceAddress | undefined } {
  const { counters, ...words } = query as Record<string, unknown>
  return {
    counters: parse(counterViewSchema, counters),
    service: Object.keys(words).length > 0 ? parse(serviceQuerySchema, words) : undefined,
  }
}

function answerErrors(app: FastifyInstance, onBug: (error: Error) => void): void {
  app.setNotFoundHandler(({ method, url }, reply) => {
    void reply
      .status(404)
      .send({ code: 'INPUT_INVALID', message: `there is no ${method} ${url}: see docs/control-api.md` })
  })
  app.setErrorHandler((error: Error & { statusCode?: number }, _, reply) => {
    if (error instanceof DirectorError) {
      const { code, message } = error
      const line = error instanceof EditRefused ? { line: error.at } : {}
      return reply.status(STATUS[code] ?? 500).send({ code, message, ...line })
    }
    const { statusCode, message } = error
    if (statusCode && statusCode < 500) return reply.status(statusCode).send({ code: 'INPUT_INVALID', message })
    onBug(error)
    return reply.status(500).send({ code: 'INTERNAL', message: 'the director failed to answer: see its log' })
  })
  // Once an answer has begun it can only break off, and the handler above is not asked.
  app.addHook('onSend', async (_, { raw }, payload) => {
    if (payload instanceof Readable) payload.on('error', (error) => raw.headersSent && onBug(error))
  })
}

/** A socket stays when its process dies; one that nobody listens on any more may go. */
async function removeStaleSocket(path: string): Promise<void> {
  const found = lstatSync(path, { throwIfNoEntry: false })
  if (!found) return
  if (!found.isSocket()) {
    throw new DirectorError('SOCKET_BUSY', `${path}: is no socket: remove it, or name another path in \`control\``)
  }
  const socket = connect(path)
  try {
    await once(socket, 'connect')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ECONNREFUSED') throw error
    rmSync(path, { force: true })
    return
  } finally {
    socket.destroy()
  }
  const hint = 'stop it, or name another path in `control`'
  throw new DirectorError('SOCKET_BUSY', `${path}: another director answers on this control socket: ${hint}`)
}

/** Mode 0600 from the first moment: listen() binds before it returns, under this umask. */
async function listenPrivately({ server }: FastifyInstance, path: string): Promise<void> {
  const umask = process.umask(0o177)
  try {
    server.listen(path)
  } finally {
    process.umask(umask)
  }
  await once(server, 'listening')
}

function asDirectorError(error: NodeJS.ErrnoException, path: string): DirectorError {
  if (error instanceof DirectorError) return error
  const cause = { cause: error }
  if (error.code === 'EADDRINUSE') {
    return new DirectorError('SOCKET_BUSY', `${path}: another process has just taken this control socket`, cause)
  }
  if (error.code === 'EACCES' || error.code === 'EPERM') {
    return new DirectorError(
      'PRIVILEGE_MISSING',
      `${path}: permission denied for the control socket: run as root`,
      cause,
    )
  }
  const hint = 'name another path in `control`'
  return new DirectorError('CONFIG_INVALID', `${path}: no control socket can be here: ${error.message}: ${hint}`, cause)
}
