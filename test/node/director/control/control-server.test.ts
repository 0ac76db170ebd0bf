/** The control socket: who may open it, what it answers, what it refuses. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { createServer, request as httpRequest } from 'node:http'
import { connect, createServer as createSocketServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Test, test } from 'tap'
import type { ConnectionSnapshot } from '../../../../forwarder/forwarder.ts'
import type {
  ConnectionListing,
  DirectorEvent,
  DirectorStatus,
  ServiceListing,
} from '../../../../node/director/control/answers.ts'
import { follow, request } from '../../../../node/director/control/client.ts'
import { startControlServer } from '../../../../node/director/control/control-server.ts'
import type { ControlledDirector } from '../../../../node/director/control/controlled-director.ts'
import { editsOf } from '../../../../node/director/control/edit-document.ts'
import { demandService } from '../../../../node/director/pool/service-changes.ts'
import { notedDaemons } from '../../../support/sync-daemons.ts'
import { PoolOfDirectors } from '../pool/pool-of-directors.ts'

const web = { protocol: 'tcp', address: '10.0.0.100', port: 80 } as const
const status = { name: 'a', version: '0.1.0' } as DirectorStatus

function connection(index: number): ConnectionSnapshot {
  return {
    protocol: 'tcp',
    state: 'ESTABLISHED',
    expiresMs: 900_000,
    clientAddress: '10.9.0.1',
    clientPort: index,
    virtualAddress: '10.0.0.100',
    virtualPort: 80,
    serverAddress: '10.0.0.1',
    serverPort: 8000,
  }
}

/** A socket's path has room for 107 bytes, and tap's own folders have long names. */
function shortFolder(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'control-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  return folder
}

const noDirector = { status: () => status, services: () => [], configuration: {} } as unknown as ControlledDirector
const startAt = (path: string) => startControlServer({ path, director: noDirector, onBug: () => {} })

/** A control server over a real configuration and an otherwise made-up director. */
async function served(t: Test, changed: Partial<ControlledDirector> = {}) {
  const { configuration } = await new PoolOfDirectors(['a']).start('a')
  const zeroed: unknown[] = []
  const bugs: Error[] = []
  const director: ControlledDirector = {
    configuration,
    members: configuration.members,
    syncDaemons: (await notedDaemons()).daemons,
    status: () => status,
    explain: async (question) => ({
      outcome: 'host',
      reason: JSON.stringify(question),
      address: 'unknown',
      candidates: [],
    }),
    services: () => configuration.services() as unknown as ServiceListing[],
    service: (address) => demandService(configuration.service(address), address) as unknown as ServiceListing,
    connections: () => [],
    peers: () => [],
    zero: async (service) => void zeroed.push(service),
    followEvents: () => () => {},
    health: () => ({ forwarder: true, cluster: true, vip: true }),
    ...changed,
  }
  const path = join(shortFolder(t), 'run', 'control.sock')
  const server = await startControlServer({ path, director, onBug: (error) => bugs.push(error) })
  t.teardown(() => server.stop())
  const ask = (method: string, url: string, body?: unknown) => request(path, method, url, body)
  return { ask, path, server, configuration, zeroed, bugs }
}

/** Status and body, past the client. */
async function raw(path: string, method: string, url: string, body?: string, type = 'application/json') {
  const headers = body === undefined ? {} : { 'content-type': type, 'content-length': Buffer.byteLength(body) }
  const asked = httpRequest({ socketPath: path, method, path: url, headers, agent: false })
  asked.end(body)
  const [response] = await once(asked, 'response')
  return { status: response.statusCode, body: JSON.parse(Buffer.concat(await response.toArray()).toString() || 'null') }
}

test("the socket is its owner's alone from its first moment, and gone when the server stops", async (t) => {
  const folder = shortFolder(t)
  const path = join(folder, 'run', 'control.sock')
  const before = process.umask()
  const starting = startAt(path)
  while (!existsSync(path)) await new Promise(setImmediate)
  t.equal(statSync(path).mode & 0o777, 0o600)
  const server = await starting
  t.equal(statSync(path).mode & 0o777, 0o600)
  t.equal(statSync(join(folder, 'run')).mode & 0o777, 0o700)
  t.equal(process.umask(), before)
  await server.stop()
  t.notOk(existsSync(path))
})

test('services and servers are changed over the socket', async (t) => {
  const { ask, path, configuration } = await served(t)
  t.same(await raw(path, 'POST', '/services', JSON.stringify(web)), {
    status: 201,
    body: { revision: configuration.revision },
  })
  t.equal(configuration.service(web)?.scheduler, 'wlc', 'as ipvsadm without -s')
  await ask('PUT', '/services', { ...web, scheduler: 'rr' })
  t.equal(
    (await raw(path, 'POST', '/servers', JSON.stringify({ service: web, address: '10.0.0.1', port: 9 }))).status,
    201,
  )
  await ask('PUT', '/servers', { service: web, address: '10.0.0.1', port: 80, weight: 3 })
  const server = { address: '10.0.0.1', port: 80, method: 'dr', weight: 3, edits: 1 }
  t.same(await ask('GET', '/services'), [{ ...web, scheduler: 'rr', servers: [server] }])
  await ask('DELETE', '/servers', { service: web, address: '10.0.0.1', port: 80 })
  t.same(configuration.service(web)?.servers, [])
  await ask('DELETE', '/services', web)
  t.same(await ask('GET', '/services'), [])
  await ask('POST', '/services', web)
  await ask('POST', '/clear')
  t.same(await ask('GET', '/services'), [])
  t.same(await ask('GET', '/status'), { ...status, services: [] })
})

test('events are told as lines while somebody reads, and end with the server', async (t) => {
  const { promise: followed, resolve } = Promise.withResolvers<(event: DirectorEvent) => void>()
  const ended = Promise.withResolvers<void>()
  const event = (vrid: number) => ({ event: 'vip_status', timeMs: 1, vip: { vrid } }) as DirectorEvent
  const { path, server } = await served(t, {
    followEvents: (handler) => {
      handler(event(51))
      resolve(handler)
      return () => ended.resolve()
    },
  })
  const events = follow(path, '/events')
  t.same(await events.next(), { done: false, value: event(51) })
  const tell = await followed
  tell(event(52))
  tell(event(53))
  t.same(await events.next(), { done: false, value: event(52) })
  t.same(await events.next(), { done: false, value: event(53) })
  const stopped = server.stop()
  t.same(await events.next(), { done: true, value: undefined })
  await Promise.all([stopped, ended.promise])
})

test('who does not read events is cut off before they fill the memory', async (t) => {
  const { promise: followed, resolve } = Promise.withResolvers<(event: DirectorEvent) => void>()
  const { path } = await served(t, {
    followEvents: (handler) => {
      resolve(handler)
      return () => {
        isFollowed = false
      }
    },
  })
  let isFollowed = true
  const socket = connect(path)
  t.teardown(() => socket.destroy())
  socket.write('GET /events HTTP/1.0\r\n\r\n')
  const tell = await followed
  const event = { event: 'vip_status', timeMs: 1, vip: { waiting: 'x'.repeat(64 * 1024) } } as DirectorEvent
  let told = 0
  for (; isFollowed && told < 1000; told++) tell(event)
  t.notOk(isFollowed, `it is followed no more after ${told} events`)
})

test('who goes away is told no more', async (t) => {
  const ended = Promise.withResolvers<void>()
  let followers = 0
  const { path } = await served(t, {
    followEvents: (handler) => {
      followers++
      handler({ event: 'vip_status', timeMs: 1, vip: { vrid: 51 } } as DirectorEvent)
      return () => {
        followers--
        ended.resolve()
      }
    },
  })
  const events = follow(path, '/events')
  await events.next()
  t.same(await raw(path, 'HEAD', '/events'), { status: 404, body: null })
  t.equal(followers, 1, 'and who asks for a head alone is told nothing')
  await events.return(undefined)
  await ended.promise
  t.equal(followers, 0)
})

test('an address of IPv6 is the same service and the same server in whatever form it is written', async (t) => {
  const { ask, configuration } = await served(t)
  const [short, long] = ['2001:db8::100', '2001:DB8:0:0::0100'].map((address) => ({ ...web, address }))
  await ask('POST', '/services', long)
  await t.rejects(ask('POST', '/services', short), { code: 'SERVICE_EXISTS', message: /tcp \[2001:db8::100\]:80/ })
  await ask('POST', '/servers', { service: short, address: '2001:db8::0:11', port: 80 })
  const again = { service: long, address: '2001:db8::11', port: 80 }
  await t.rejects(ask('POST', '/servers', again), { code: 'SERVER_EXISTS', message: /\[2001:db8::11\]:80/ })
  t.match(configuration.service(short)?.servers, [{ address: '2001:db8::11' }])
  await ask('PUT', '/servers', { ...again, weight: 3 })
  await ask('DELETE', '/servers', { ...again, address: '2001:db8:0::11' })
  await ask('DELETE', '/services', { ...web, address: '2001:0db8::100' })
  t.same(await ask('GET', '/services'), [])
})

test('counters are zeroed for one service or for all', async (t) => {
  const { ask, zeroed } = await served(t)
  await ask('POST', '/services', web)
  await ask('POST', '/zero', {})
  await ask('POST', '/zero')
  await ask('POST', '/zero', web)
  t.match(zeroed, [undefined, undefined, web])
  await t.rejects(ask('POST', '/zero', { ...web, port: 81 }), { code: 'SERVICE_MISSING' })
  await t.rejects(ask('POST', '/zero', { port: 80 }), { code: 'INPUT_INVALID' })
  t.equal(zeroed.length, 3)
})

test('services are listed with counters up to now, or as they were last estimated', async (t) => {
  const listed = (view: string) => [{ ...web, scheduler: view }] as unknown as ServiceListing[]
  const { ask } = await served(t, { services: listed, service: (_, view) => listed(view)[0] })
  const schedulers = async (url: string) => ((await ask('GET', url)) as ServiceListing[]).map((each) => each.scheduler)
  const one = 'protocol=tcp&address=10.0.0.100&port=80'
  t.same(await schedulers('/services'), ['now'])
  t.same(await schedulers(`/services?${one}`), ['now'])
  t.same(await schedulers('/services?counters=snapshot'), ['snapshot'])
  t.same(await schedulers(`/services?${one}&counters=snapshot`), ['snapshot'])
  t.same(await schedulers('/services?counters=none'), ['none'])
  await t.rejects(ask('GET', '/services?counters=old'), { code: 'INPUT_INVALID' })
})

test('what is asked wrongly is refused with a status, a code and the field', async (t) => {
  const { path, configuration } = await served(t)
  await configuration.addService({ ...web, scheduler: 'wlc' })
  const server = { service: web, address: '10.0.0.1', port: 80 }
  const cases: [string, string, unknown, number, string, RegExp][] = [
    ['POST', '/services', web, 409, 'SERVICE_EXISTS', /already exists/],
    ['PUT', '/services', { ...web, port: 81 }, 404, 'SERVICE_MISSING', /no service/],
    ['DELETE', '/servers', server, 404, 'SERVER_MISSING', /no real server/],
    ['POST', '/services', { ...web, port: 82, scheduler: 'fair' }, 400, 'SCHEDULER_UNKNOWN', /use one of/],
    ['POST', '/services', { ...web, address: '10.0.0' }, 400, 'INPUT_INVALID', /^address: expected an IPv4/],
    ['POST', '/services', { ...web, port: 65536 }, 400, 'INPUT_INVALID', /^port: /],
    ['POST', '/services', { ...web, colour: 'red' }, 400, 'INPUT_INVALID', /colour/],
    ['POST', '/servers', { ...server, weight: -1 }, 400, 'INPUT_INVALID', /^weight: /],
    [
      'POST',
      '/servers',
      { ...server, service: { ...web, protocol: 'ah' } },
      400,
      'INPUT_INVALID',
      /^service.protocol: /,
    ],
    [
      'POST',
      '/marks',
      { rule: { mark: 1, source: '2001:db8:1:2:3:4:5:6::1/64' } },
      400,
      'INPUT_INVALID',
      /^rule.source: expected a prefix/,
    ],
    ['POST', '/marks', { rule: { mark: 1, destination: '10.0.0.0/33' } }, 400, 'INPUT_INVALID', /^rule.destination: /],
    [
      'POST',
      '/services',
      { ...web, port: 82, scheduler: 'mh', schedulerFlags: ['flag-1', 'sh-port'] },
      400,
      'INPUT_INVALID',
      /^schedulerFlags: sh-port is a flag of scheduler sh, and this service's is mh$/,
    ],
    [
      'POST',
      '/servers',
      { ...server, method: 'tun', tunnel: { type: 'gre', port: 0, checksum: 'remote' } },
      400,
      'INPUT_INVALID',
      /^tunnel.checksum: expected none or plain with type gre/,
    ],
    ['POST', '/services', undefined, 400, 'INPUT_INVALID', /expected object/],
    ['GET', '/nothing', undefined, 404, 'INPUT_INVALID', /there is no GET \/nothing: see docs\/control-api\.md$/],
    ['POST', '/services', { pad: 'x'.repeat(70_000) }, 413, 'INPUT_INVALID', /too large/],
  ]
  for (const [method, url, body, status, code, message] of cases) {
    const answer = await raw(path, method, url, body === undefined ? undefined : JSON.stringify(body))
    t.match(answer, { status, body: { code, message } }, `${method} ${url} ${code}`)
  }
  t.match(await raw(path, 'POST', '/services', '{"port":'), { status: 400, body: { code: 'INPUT_INVALID' } })
  t.match(await raw(path, 'POST', '/services', 'port=80', 'text/html'), {
    status: 415,
    body: { code: 'INPUT_INVALID' },
  })
  t.equal(configuration.services().length, 1)
})

test('a document with a line that does not end is refused by its number before it is searched again and again', async (t) => {
  const line = Buffer.from('{"do":"clear"}\n')
  const chunks = [line, line, ...Array.from({ length: 100 }, () => Buffer.alloc(64 * 1024, '['))]
  let chunksRead = 0
  const counted = {
    *[Symbol.iterator]() {
      for (const chunk of chunks) {
        chunksRead++
        yield chunk
      }
    },
  }
  const edits = editsOf(counted as unknown as Buffer[])
  t.same([edits.next().value, edits.next().value], [{ do: 'clear' }, { do: 'clear' }])
  t.throws(() => edits.next(), { code: 'INPUT_INVALID', at: 2, message: /at most 2097152 characters in a line/ })
  t.ok(chunksRead < 40, String(chunksRead))
})

test('a bug is answered as one and reported, and is no DirectorError at the client', async (t) => {
  const status = () => {
    throw new TypeError('oops')
  }
  const { ask, path, bugs } = await served(t, { status })
  t.match(await raw(path, 'GET', '/status'), { status: 500, body: { code: 'INTERNAL', message: /see its log/ } })
  await t.rejects(ask('GET', '/status'), { name: 'Error', message: /see its log/ })
  t.match(bugs[0], { message: 'oops' })
})

test('an answer that breaks off is reported, and is none at the client', async (t) => {
  function* breaking() {
    for (let index = 0; index < 1000; index++) yield connection(index)
    throw new TypeError('oops')
  }
  const { ask, bugs } = await served(t, { connections: breaking })
  await t.rejects(ask('GET', '/connections'), { code: 'DIRECTOR_UNREACHABLE' })
  t.match(bugs, [{ message: 'oops' }])
})

test('health is 200 while every part runs, else 503, and the client reads both', async (t) => {
  const health = { forwarder: true, cluster: true, vip: true }
  const { ask, path } = await served(t, { health: () => health })
  t.same(await raw(path, 'GET', '/health'), { status: 200, body: health })
  health.vip = false
  t.same(await raw(path, 'GET', '/health'), { status: 503, body: health })
  t.same(await ask('GET', '/health'), health)
})

test('connections come in pieces, whatever their number, and other requests in between', async (t) => {
  let count = 0
  function* table(clientPort?: number) {
    for (let index = 0; index < count; index++)
      if (clientPort === undefined || index === clientPort) yield connection(index)
  }
  const { ask } = await served(t, { connections: table })
  for (count of [0, 1, 99, 100, 101, 1000]) {
    const listed = (await ask('GET', '/connections')) as ConnectionListing[]
    t.same(
      listed.map(({ client }) => client),
      Array.from({ length: count }, (_, index) => `10.9.0.1:${index}`),
    )
  }
  const ofPort = (await ask('GET', '/connections?clientPort=7')) as ConnectionListing[]
  t.same(
    ofPort.map(({ client }) => client),
    ['10.9.0.1:7'],
  )
  await t.rejects(ask('GET', '/connections?clientPort=x'), { code: 'INPUT_INVALID' })
  t.same(((await ask('GET', '/connections')) as ConnectionListing[])[7], {
    protocol: 'tcp',
    state: 'ESTABLISHED',
    expiresMs: 900_000,
    client: '10.9.0.1:7',
    virtual: '10.0.0.100:80',
    server: '10.0.0.1:8000',
  })
})

test('a reader that is slow holds the table back, and one that goes away ends the walk', async (t) => {
  let read = 0
  const ended = Promise.withResolvers<void>()
  function* endless() {
    try {
      for (;;) yield connection(read++)
    } finally {
      ended.resolve()
    }
  }
  const { ask, path } = await served(t, { connections: endless })
  const asked = httpRequest({ socketPath: path, path: '/connections', agent: false })
  asked.end()
  const [response] = await once(asked, 'response')
  response.pause()
  let before = -1
  while (read !== before || read === 0) {
    before = read
    for (let turn = 0; turn < 50; turn++) await ask('GET', '/health')
  }
  t.ok(read < 1_000_000, `${read} connections are waiting for a reader who does not read`)
  response.destroy()
  await ended.promise
})

test('a server stops although somebody is still reading', async (t) => {
  function* endless() {
    for (;;) yield connection(1)
  }
  const { path, server } = await served(t, { connections: endless })
  const asked = httpRequest({ socketPath: path, path: '/connections', agent: false })
  asked.end()
  const [response] = await once(asked, 'response')
  response.on('error', () => {})
  await server.stop()
  response.destroy()
  t.notOk(existsSync(path))
})

test('a socket that a dead process has left is replaced', async (t) => {
  const path = join(shortFolder(t), 'control.sock')
  const script = `require('node:net').createServer().listen(${JSON.stringify(path)}, () => console.log('up'))`
  const dead = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] })
  await once(dead.stdout, 'data')
  dead.kill('SIGKILL')
  await once(dead, 'exit')
  t.ok(existsSync(path))
  const server = await startAt(path)
  t.same(await request(path, 'GET', '/status'), { ...status, services: [] })
  await server.stop()
})

test('a socket that is answered on, or a path where none can be, is refused', async (t) => {
  const { path, ask } = await served(t)
  await t.rejects(startAt(path), { code: 'SOCKET_BUSY', message: new RegExp(`^${path}: another director answers`) })
  t.same(await ask('GET', '/status'), { ...status, services: [] }, 'and the one that answers is left alone')

  const folder = join(path, '..')
  writeFileSync(join(folder, 'file'), 'precious')
  await t.rejects(startAt(join(folder, 'file')), { code: 'SOCKET_BUSY', message: /is no socket/ })
  mkdirSync(join(folder, 'folder'))
  await t.rejects(startAt(join(folder, 'folder')), { code: 'SOCKET_BUSY', message: /is no socket/ })
  await t.rejects(startAt(join(folder, 'file', 'sock')), {
    code: 'CONFIG_INVALID',
    message: /no control socket can be here/,
  })
  await t.rejects(startAt(join(folder, 'x'.repeat(120))), { code: 'CONFIG_INVALID' })
})

test('a director that cannot be reached is DIRECTOR_UNREACHABLE, with the socket and what to do', async (t) => {
  const path = join(shortFolder(t), 'control.sock')
  const answers = { code: 'DIRECTOR_UNREACHABLE', message: new RegExp(`^${path}: `) }
  await t.rejects(request(path, 'GET', '/status'), { ...answers, message: /no director answers here: start it/ })

  const other = createServer((_, response) => response.end('hello')).listen(path)
  await once(other, 'listening')
  await t.rejects(request(path, 'GET', '/status'), { ...answers, message: /no director$/ })
  other.close()
  await once(other, 'close')

  const broken = createSocketServer((socket: Socket) => socket.on('data', () => socket.destroy())).listen(path)
  await once(broken, 'listening')
  await t.rejects(request(path, 'GET', '/status'), { ...answers, message: /does not answer .*see its log/ })
  broken.close()
})

test('half a request does not keep others from being answered', async (t) => {
  const { ask, path } = await served(t)
  const socket = connect(path)
  t.teardown(() => socket.destroy())
  socket.write('POST /services HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\ncontent-type: application/json\r\n\r\n{')
  t.same(await ask('GET', '/status'), { ...status, services: [] })
})

test('sync daemons are started, listed and stopped', async (t) => {
  const { ask, path } = await served(t)
  const daemon = { state: 'master', interface: 'd0', syncId: 7 }
  t.equal((await raw(path, 'POST', '/sync-daemons', JSON.stringify(daemon))).status, 201)
  t.match(await ask('GET', '/sync-daemons'), [{ ...daemon, maxLength: 1472, group: '224.0.0.81', port: 8848, ttl: 1 }])
  await t.rejects(ask('POST', '/sync-daemons', daemon), { code: 'DAEMON_RUNNING' })
  await t.rejects(ask('POST', '/sync-daemons', { ...daemon, interface: 'nosuch0' }), { code: 'INTERFACE_MISSING' })
  await t.rejects(ask('POST', '/sync-daemons', { ...daemon, group: '10.0.0.1' }), {
    code: 'INPUT_INVALID',
    message: 'group: expected a multicast address such as 224.0.0.81 or ff02::81',
  })
  await ask('DELETE', '/sync-daemons', { state: 'master' })
  await t.rejects(ask('DELETE', '/sync-daemons', { state: 'master' }), { code: 'DAEMON_MISSING' })
  t.same(await ask('GET', '/sync-daemons'), [])
})

test('a client that goes away in the middle of its document has changed nothing, and is no bug', async (t) => {
  const { path, server, configuration, bugs } = await served(t)
  const socket = connect(path)
  const head = 'POST /changes HTTP/1.1\r\nHost: d\r\nContent-Type: application/x-ndjson\r\nContent-Length: 1000\r\n\r\n'
  socket.end(`${head}${JSON.stringify({ do: 'add-service', service: { ...web, scheduler: 'wlc' } })}\n`)
  await once(socket.resume(), 'close')
  await server.stop()
  t.same(configuration.services(), [])
  t.same(bugs, [])
})
