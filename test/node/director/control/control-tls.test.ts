/** The control socket over TLS, on loopback: who is let in, who is not, and that what is exchanged meanwhile costs nobody his connection. */
import { spawn, spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { chmodSync, copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { connect as connectPlainly, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { type ConnectionOptions, connect, type TLSSocket } from 'node:tls'
import tap, { type Test, test } from 'tap'
import { runDirectorCommand } from '../../../../node/cli/director/program.ts'
import type { ControlTlsConfig } from '../../../../node/director/config.ts'
import type { DirectorEvent } from '../../../../node/director/control/answers.ts'
import { follow, request } from '../../../../node/director/control/client.ts'
import { startControlServer } from '../../../../node/director/control/control-server.ts'
import { ControlTls } from '../../../../node/director/control/control-tls.ts'
import type { ControlledDirector } from '../../../../node/director/control/controlled-director.ts'
import { RefusalLog } from '../../../../node/director/control/refusal-log.ts'
import { readTlsFiles } from '../../../../node/director/control/tls-files.ts'
import { TlsGate } from '../../../../node/director/control/tls-gate.ts'
import { type Certificate, CertificateAuthority } from '../../../support/certificates.ts'
import { until } from '../../../until.ts'
import { servePool } from '../../cli/served-pool.ts'

const VSADM = join(import.meta.dirname, '../../../../node/cli/vsadm.ts')
const folder = mkdtempSync(join(tmpdir(), 'tls-'))
tap.teardown(() => rmSync(folder, { recursive: true }))

const names = 'IP:127.0.0.1'
const authority = new CertificateAuthority(folder, 'ca')
const otherAuthority = new CertificateAuthority(folder, 'other')
const director = authority.issue('d1', { names, usage: 'serverAuth' })
const alice = authority.issue('alice')
const bob = authority.issue('bob')
const late = authority.issue('late', { days: -1 })
const foreigner = otherAuthority.issue('foreigner')
const otherDirector = otherAuthority.issue('d2', { names, usage: 'serverAuth' })

const config: ControlTlsConfig = {
  listen: '127.0.0.1:0',
  keyFile: director.key,
  certificateFile: director.certificate,
  clientCaFile: authority.certificate,
}

/** From now on the commands of this process are this client's. */
function actAs({ key, certificate }: Certificate, ca: Certificate = authority): void {
  process.env.DIRECTOR_TLS_KEY = key
  process.env.DIRECTOR_TLS_CERT = certificate
  process.env.DIRECTOR_TLS_CA = ca.certificate
}

const ignore = { onRefused: () => {}, onFailure: () => {} }

async function served(t: Test, changes: Partial<ControlTlsConfig> = {}) {
  const refusals: { address: string; reason: string }[] = []
  const tls = new ControlTls(
    { ...config, ...changes },
    {
      onRefused: (address, reason) => void refusals.push({ address, reason }),
      onFailure: (error) => t.fail(error.message),
    },
  )
  const pool = await servePool(t, undefined, tls)
  const port = tls.port as number
  actAs(alice)
  return { tls, pool, refusals, port, address: `https://127.0.0.1:${port}` }
}

/** On this thread, by a clock that a test makes go. */
async function gated(t: Test, nowMs: () => number) {
  const told: { address: string; reason: string }[] = []
  const refusals = new RefusalLog((address, reason) => void told.push({ address, reason }), nowMs)
  const { keyFile, certificateFile, clientCaFile: caFile } = config
  const credentials = readTlsFiles({ keyFile, certificateFile, caFile })
  const gate = new TlsGate({ credentials, allow: undefined }, refusals, nowMs)
  const start = (path: string) => gate.start('127.0.0.1:0', path)
  const pool = await servePool(t, undefined, { start, stop: () => gate.stop() })
  const port = gate.port as number
  actAs(alice)
  return { refusals, told, pool, port, address: `https://127.0.0.1:${port}` }
}

function filesOf({ key, certificate }: Certificate): ConnectionOptions {
  return { key: readFileSync(key), cert: readFileSync(certificate) }
}

/** A client of our own making, who asks before he knows whether he may. */
function ask(port: number, options: ConnectionOptions): TLSSocket {
  const socket = connect({ port, host: '127.0.0.1', ca: readFileSync(authority.certificate), ...options })
  socket.write('POST /clear HTTP/1.0\r\n\r\n')
  return socket
}

async function answerOf(socket: Socket): Promise<string> {
  let answer = ''
  socket.setEncoding('utf8').on('data', (chunk: string) => (answer += chunk))
  socket.on('error', () => {})
  await new Promise((resolve) => socket.once('close', resolve))
  return answer
}

test('a whole command goes over TLS: rules from stdin, and their listing', async (t) => {
  const { address, pool } = await served(t)
  const run = async (words: string[], standardInput = '') => {
    const child = spawn(process.execPath, [VSADM, ...words], { env: { ...process.env, DIRECTOR_SOCKET: address } })
    child.stdin.end(standardInput)
    const [stdout, stderr, [rc]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')])
    return { stdout, stderr, rc }
  }
  const rules = '-A -t 10.0.0.1:80 -s rr\n-a -t 10.0.0.1:80 -r 10.0.0.2:8080 -m -w 3\n'
  t.same(await run(['-R'], rules), { stdout: '', stderr: '', rc: 0 })
  t.same(await run(['-Sn']), { stdout: rules, stderr: '', rc: 0 })
  t.match(await pool.control('GET', '/services'), [{ port: 80 }], 'and it is the same director')

  let shown = ''
  const sink = { write: (part: string) => (shown += part) }
  t.equal(await runDirectorCommand(['config', 'show', '--socket', address], sink, sink), 0)
  t.match(shown, /address: 10\.0\.0\.1\n/)
})

const strangers: [string, ConnectionOptions, RegExp, Partial<ControlTlsConfig>?][] = [
  ['without a certificate', {}, /^no certificate$/],
  ['with a certificate of another CA', filesOf(foreigner), /^UNABLE_TO_GET_ISSUER_CERT_LOCALLY|^UNABLE_TO_VERIFY_LEAF/],
  ['with a certificate that is over', filesOf(late), /^CERT_HAS_EXPIRED$/],
  ['with a certificate that is for servers', filesOf(director), /^INVALID_PURPOSE$/],
  ['with a name that is not allowed', filesOf(bob), /^the name "bob" is not allowed$/, { allow: ['alice', 'bo'] }],
  ['who speaks nothing newer than TLS 1.2', { ...filesOf(alice), maxVersion: 'TLSv1.2' }, /UNSUPPORTED_PROTOCOL$/],
]
for (const [who, options, reason, changes] of strangers) {
  test(`a client ${who} is not let in, and nothing of his is done`, async (t) => {
    const { tls, pool, port, refusals } = await served(t, changes)
    await pool.control('POST', '/services', { protocol: 'tcp', address: '10.0.0.1', port: 80 })
    t.equal(await answerOf(ask(port, options)), '')
    await until(() => refusals.length === 1)
    t.equal(tls.refused, 1)
    t.match(refusals, [{ address: '127.0.0.1', reason }])
    t.match(await pool.control('GET', '/services'), [{ port: 80 }])
    t.match(await answerOf(ask(port, filesOf(alice))), /^HTTP\/1\.1 200 /, 'and others are')
  })
}

test('a session that began with a certificate cannot be gone on with without one', async (t) => {
  const { tls, port } = await served(t)
  const first = ask(port, filesOf(alice))
  const sessions: Buffer[] = []
  first.on('session', (session) => sessions.push(session))
  t.match(await answerOf(first), /^HTTP\/1\.1 200 /)
  t.ok(sessions.length > 0)
  for (const session of sessions) t.equal(await answerOf(ask(port, { session })), '')
  await until(() => tls.refused === sessions.length)
})

test('browsers get no answer, whatever certificate they have', async (t) => {
  const { port, pool } = await served(t)
  await pool.control('POST', '/services', { protocol: 'tcp', address: '10.0.0.1', port: 80 })
  for (const [asked, refusal] of [
    ['POST /clear HTTP/1.0\r\nOrigin: https://elsewhere.example', /^HTTP\/1\.1 400 [\s\S]*origin: browsers get/],
    ['GET /status HTTP/1.0\r\nSec-Fetch-Site: cross-site', /^HTTP\/1\.1 400 [\s\S]*sec-fetch-site: browsers get/],
  ] as const) {
    const socket = connect({ port, host: '127.0.0.1', ca: readFileSync(authority.certificate), ...filesOf(alice) })
    socket.write(`${asked}\r\n\r\n`)
    t.match(await answerOf(socket), refusal)
  }
  t.match(await pool.control('GET', '/services'), [{ port: 80 }])
})

test('clients say in a line why they do not reach it', async (t) => {
  const { address, port } = await served(t, { allow: ['alice'] })
  const refused = (message: RegExp, at = address) =>
    t.rejects(request(at, 'GET', '/health'), { code: 'DIRECTOR_UNREACHABLE', message }, String(message))
  t.ok(await request(address, 'GET', '/health'))
  for (const client of [foreigner, late, bob]) {
    actAs(client)
    await refused(
      /^https:\S+: it has ended the connection: perhaps it does not take the certificate of DIRECTOR_TLS_CERT/,
    )
    const events = follow(address, '/events')
    await t.rejects(events.next(), { code: 'DIRECTOR_UNREACHABLE', message: /perhaps it does not take/ })
  }
  actAs(alice, otherAuthority)
  await refused(/: its certificate is not good here \(.*\): see DIRECTOR_TLS_CA/)
  actAs(alice)
  await refused(/: its certificate is not good here \(.*altnames.*\)/, `https://localhost:${port}`)

  const plain = createServer((socket) => {
    socket.on('error', () => {}).resume()
    socket.end('HTTP/1.1 400 Bad Request\r\n\r\n')
  })
  await once(plain.listen(0, '127.0.0.1'), 'listening')
  const { port: plainPort } = plain.address() as { port: number }
  await refused(/: what answers there speaks no TLS 1\.3 \(ERR_SSL_/, `https://127.0.0.1:${plainPort}`)
  plain.close()
  await once(plain, 'close')
  await refused(/: no director answers here/, `https://127.0.0.1:${plainPort}`)
})

test('a client checks who the director is, whatever its environment says to Node', async (t) => {
  const { address, port } = await served(t)
  process.env.NODE_TLS_REJECT_UNAUTHORIZED = '0'
  t.teardown(() => delete process.env.NODE_TLS_REJECT_UNAUTHORIZED)
  const refused = { code: 'DIRECTOR_UNREACHABLE', message: /: its certificate is not good here/ }
  await t.rejects(request(`https://localhost:${port}`, 'GET', '/health'), refused)
  actAs(alice, otherAuthority)
  await t.rejects(request(address, 'GET', '/health'), refused)
})

test('clients say in a line what they lack', async (t) => {
  const lacking = (code: string, message: RegExp, at = 'https://127.0.0.1:1') =>
    t.rejects(request(at, 'GET', '/health'), { code, message }, String(message))
  actAs(alice)
  for (const at of ['http://127.0.0.1:1', 'https://d1', 'https://d1:0', 'https://d1:65536', 'https://me:word@d1:7948'])
    await lacking('INPUT_INVALID', /^expected the path of a control socket, or https:\/\/HOST:PORT$/, at)
  process.env.DIRECTOR_TLS_CA = `${folder}/missing`
  await lacking('CONFIG_UNREADABLE', /missing: the CA for TLS cannot be read: ENOENT/)
  delete process.env.DIRECTOR_TLS_CA
  await lacking('INPUT_INVALID', /^DIRECTOR_TLS_CA is not set/)
})

test('a director says in a line what is wrong with its files', async (t) => {
  const file = (name: string, content: string | Buffer, mode = 0o600) => {
    writeFileSync(join(folder, name), content, { mode })
    return join(folder, name)
  }
  const key = readFileSync(director.key, 'utf8')
  const open = file('open.key', key, 0o640)
  chmodSync(open, 0o640)
  const cases: [Partial<ControlTlsConfig>, string, RegExp][] = [
    [{ keyFile: join(folder, 'no.key') }, 'CONFIG_UNREADABLE', /no\.key: the key for TLS cannot be read: ENOENT/],
    [{ certificateFile: folder }, 'CONFIG_UNREADABLE', /: the certificate for TLS cannot be read: EISDIR/],
    [{ clientCaFile: join(folder, 'no.crt') }, 'CONFIG_UNREADABLE', /no\.crt: the CA for TLS cannot be read/],
    [{ keyFile: open }, 'CONFIG_INVALID', /open\.key: others than its owner may use this key: chmod 600 it$/],
    [{ keyFile: alice.key }, 'CONFIG_INVALID', /d11\.crt: is not the certificate of the key in .*alice1\.key$/],
    [{ keyFile: file('half.key', key.slice(0, 60)) }, 'CONFIG_INVALID', /half\.key: there is no private key/],
    [{ keyFile: key }, 'CONFIG_INVALID', /^expected the name of a file with the key for TLS, not what is in it$/],
    [{ certificateFile: file('a.crt', 'none') }, 'CONFIG_INVALID', /a\.crt: there is no certificate \(PEM\) in it/],
    [{ clientCaFile: file('b.crt', '') }, 'CONFIG_INVALID', /b\.crt: there is no certificate \(PEM\) in it/],
  ]
  for (const [changes, code, message] of cases) {
    t.throws(() => new ControlTls({ ...config, ...changes }, ignore), { code, message }, String(message))
  }
})

test('an address that is taken is told of, and the Unix socket is given up again', async (t) => {
  const { port } = await served(t)
  const tls = new ControlTls({ ...config, listen: `127.0.0.1:${port}` }, ignore)
  const path = join(folder, 'taken.sock')
  const starting = () => startControlServer({ path, tls, director: {} as ControlledDirector, onBug: () => {} })
  const message = new RegExp(`^controlTls.listen 127.0.0.1:${port}: .*EADDRINUSE`)
  await t.rejects(starting(), { code: 'SOCKET_BUSY', message })
  await t.rejects(request(path, 'GET', '/health'), { code: 'DIRECTOR_UNREACHABLE' })
})

test('100 who say nothing, or rubbish, keep nobody out, and the oldest make room', async (t) => {
  let nowMs = 0
  // Each comes long enough after the one before.
  const { address, port, pool, refusals } = await gated(t, () => (nowMs += 1000))
  const hello = Buffer.from('16030100c8010000c40303', 'hex')
  const said = [undefined, 'GET / HTTP/1.1\r\n\r\n', randomBytes(600), hello]
  const connections = Array.from({ length: 100 }, () => connectPlainly(port, '127.0.0.1').on('error', () => {}))
  t.teardown(() => {
    for (const socket of connections) socket.destroy()
  })
  await Promise.all(connections.map((socket) => once(socket, 'connect')))
  t.ok(await request(address, 'GET', '/health'))
  t.ok(refusals.count >= 37, '64 handshakes are under way at a time')
  for (const [index, socket] of connections.entries()) {
    const what = said[index % said.length]
    if (what) socket.write(what)
    else socket.end()
  }
  t.ok(await request(address, 'GET', '/health'))
  t.ok(await pool.control('GET', '/health'))
})

test('a flood of handshakes is bounded by the second', async (t) => {
  let nowMs = 1000
  const { address, port, refusals, told } = await gated(t, () => nowMs)
  const connections = Array.from({ length: 60 }, () => connectPlainly(port, '127.0.0.1').on('error', () => {}))
  t.teardown(() => {
    for (const socket of connections) socket.destroy()
  })
  await Promise.all(connections.map((socket) => once(socket, 'connect')))
  await t.rejects(request(address, 'GET', '/health'), { code: 'DIRECTOR_UNREACHABLE' })
  t.ok(refusals.count >= 11)
  t.match(told, [{ address: '127.0.0.1', reason: 'too many at once' }])
  nowMs = 2000
  t.ok(await request(address, 'GET', '/health'))
})

test('files that are read again before it has started count when it starts', async (t) => {
  const tls = new ControlTls({ ...config, allow: ['bob'] }, ignore)
  await tls.reload({ ...config, allow: ['alice'] })
  await servePool(t, undefined, tls)
  t.match(await answerOf(ask(tls.port as number, filesOf(alice))), /^HTTP\/1\.1 200 /)
})

test('handshakes are done while the thread that speaks VRRP has no time for any', async (t) => {
  const { port, tls } = await served(t)
  // This thread stands still until the other program has ended, and the gate's has done with it.
  const words = ['s_client', '-connect', `127.0.0.1:${port}`, '-tls1_3', '-CAfile', authority.certificate]
  const { stdout } = spawnSync('openssl', words, { encoding: 'utf8', input: '', timeout: 20_000 })
  t.match(stdout, /Verify return code: 0 \(ok\)/)
  const never = new Int32Array(new SharedArrayBuffer(4))
  for (let waits = 0; tls.refused === 0 && waits < 1000; waits++) Atomics.wait(never, 0, 0, 10)
  t.equal(tls.refused, 1, 'and he who has no certificate has been refused meanwhile')
})

/** A director that tells events, with files that can be exchanged. */
async function telling(t: Test, changes: Partial<ControlTlsConfig> = {}) {
  const own = mkdtempSync(join(folder, 'd-'))
  const exchanged = { ...config, keyFile: join(own, 'd.key'), certificateFile: join(own, 'd.crt'), ...changes }
  const put = ({ key, certificate }: Certificate) => {
    copyFileSync(key, exchanged.keyFile)
    copyFileSync(certificate, exchanged.certificateFile)
  }
  put(director)
  const tls = new ControlTls(exchanged, ignore)
  const { promise: followed, resolve } = Promise.withResolvers<(event: DirectorEvent) => void>()
  const controlled = {
    configuration: {},
    followEvents: (handler: (event: DirectorEvent) => void) => {
      handler(event(1))
      resolve(handler)
      return () => {}
    },
  } as unknown as ControlledDirector
  const server = await startControlServer({ path: join(own, 'c.sock'), tls, director: controlled, onBug: () => {} })
  t.teardown(() => server.stop())
  actAs(alice)
  const events = follow(`https://127.0.0.1:${tls.port}`, '/events')
  t.same(await events.next(), { done: false, value: event(1) })
  return { tls, exchanged, put, server, events, tell: await followed }
}

function event(timeMs: number): DirectorEvent {
  return { event: 'vip_status', timeMs } as DirectorEvent
}

async function shownBy({ port }: ControlTls): Promise<unknown> {
  const ca = [authority, otherAuthority].map(({ certificate }) => readFileSync(certificate))
  const socket = connect({ port, host: '127.0.0.1', ca, ...filesOf(alice) })
  await once(socket, 'secureConnect')
  const { subject } = socket.getPeerCertificate()
  socket.destroy()
  return subject.CN
}

test('events go over TLS for as long as somebody reads, and end with the server', async (t) => {
  const { events, tell, server } = await telling(t)
  tell(event(2))
  t.same(await events.next(), { done: false, value: event(2) })
  const stopped = server.stop()
  t.same(await events.next(), { done: true, value: undefined })
  await stopped
})

test('key and certificate are exchanged without a gap, and files that are not right change nothing', async (t) => {
  const { tls, exchanged, put, events, tell } = await telling(t)
  t.equal(await shownBy(tls), 'd1')
  copyFileSync(otherDirector.key, exchanged.keyFile)
  await t.rejects(tls.reload(exchanged), { code: 'CONFIG_INVALID', message: /is not the certificate of the key/ })
  t.equal(await shownBy(tls), 'd1')
  put(otherDirector)
  await tls.reload(exchanged)
  t.equal(await shownBy(tls), 'd2')
  tell(event(2))
  t.same(await events.next(), { done: false, value: event(2) }, 'who was connected is connected still')
  await events.return(undefined)
})

for (const [how, changes] of [
  ['another CA', { clientCaFile: otherAuthority.certificate }],
  ['other names', { allow: ['bob'] }],
] as const) {
  test(`with ${how} a client is shut out, also from the connection that he has`, async (t) => {
    const { tls, exchanged, events } = await telling(t, { allow: ['alice'] })
    await tls.reload({ ...exchanged, ...changes, allow: 'allow' in changes ? [...changes.allow] : exchanged.allow })
    t.same(await events.next(), { done: true, value: undefined })
    await t.rejects(request(`https://127.0.0.1:${tls.port}`, 'GET', '/health'), { code: 'DIRECTOR_UNREACHABLE' })
  })
}
