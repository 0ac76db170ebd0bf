/**
 * A director and an agent with a known identity and known keys, at their most talkative, with all the errors that their secrets have a
 * part in. Whatever they say, on any stream, on the control socket or in /proc, is gathered and searched.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { createPrivateKey } from 'node:crypto'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import tap, { type Test, test } from 'tap'
import { createIdentity, peerIdOf } from '../../node/director/cluster/identity.ts'
import type { DirectorStatus } from '../../node/director/control/answers.ts'
import { request } from '../../node/director/control/client.ts'
import { LevelStore } from '../../node/director/store/level-store.ts'
import { createAgentKey } from '../../protocol/wire/agent-key.ts'
import { encodeAgentReport } from '../../protocol/wire/agent-report.ts'
import { CertificateAuthority } from '../support/certificates.ts'
import { prepareHost } from './cli/running-director.ts'
import { formsOf } from './secret-forms.ts'

const COMMAND = join(import.meta.dirname, '../../node/cli/director.ts')
const AGENTS_PORT = 7947
const CONTROL_PORT = 7948
const identity = createIdentity()
/** As the private key's protobuf has it: type and length, the seed, the public key. */
const seed = identity.subarray(4, 36)
const keys = ['10.0.0.1', '10.0.0.2', '10.0.0.3'].map((address) =>
  createAgentKey(crypto.getRandomValues(new Uint8Array(32)), [address]),
)
const certificates = mkdtempSync(join(tmpdir(), 'secrets-'))
tap.teardown(() => rmSync(certificates, { recursive: true }))
const authority = new CertificateAuthority(certificates, 'ca')
const tlsDirector = authority.issue('d1', { names: 'IP:127.0.0.1', usage: 'serverAuth' })
const tlsClient = authority.issue('alice')
const tlsSecret = Buffer.from(
  createPrivateKey(readFileSync(tlsDirector.key)).export({ format: 'jwk' }).d as string,
  'base64url',
)
const directorsSecret = crypto.getRandomValues(new Uint8Array(32))
const directorsKey = `${Buffer.from(directorsSecret).toString('hex')}\n`
const secrets = [seed, directorsSecret, ...keys.map(({ secret }) => secret), tlsSecret]
const [first, second, third] = keys.map(
  ({ secret, addresses }) => `${Buffer.from(secret).toString('hex')} ${addresses.join(' ')}\n`,
)

/** All that was said, by whom. */
const said = new Map<string, string>()

function hear(by: string, text: string): void {
  said.set(by, (said.get(by) ?? '') + text)
}

interface Running {
  readonly child: ChildProcess
  /** Resolves when the process has said this `times` times; throws when it ends before. */
  saying(text: string, times?: number): Promise<void>
  readonly ended: Promise<number | null>
}

function start(t: Test, by: string, words: readonly string[]): Running {
  const child = spawn(process.execPath, [COMMAND, ...words], { env: { ...process.env, DEBUG: 'libp2p:*' } })
  t.teardown(() => child.kill('SIGKILL'))
  const ended = once(child, 'close').then(([status]) => status as number | null)
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => hear(by, chunk.toString('latin1')))
  const saying = async (text: string, times = 1) => {
    while ((said.get(by) ?? '').split(text).length <= times) {
      const more = Promise.race([once(child.stdout, 'data'), once(child.stderr, 'data')])
      const over = await Promise.race([more.then(() => false), ended.then(() => true)])
      if (over) throw new Error(`${by} ended without saying ${text}: ${said.get(by)}`)
    }
  }
  return { child, saying, ended }
}

/** What everybody on the machine may read of a process. */
function hearListing(by: string, { child }: Running): void {
  for (const file of ['cmdline', 'environ', 'comm'])
    hear(`/proc of ${by}`, readFileSync(`/proc/${child.pid}/${file}`, 'latin1'))
}

async function run(t: Test, by: string, words: readonly string[]): Promise<number | null> {
  return start(t, by, words).ended
}

function workplace(t: Test): string {
  // A socket's path has room for 107 bytes.
  const folder = mkdtempSync(join(tmpdir(), 'secrets-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  return folder
}

function configure(folder: string, changes: object = {}): string {
  const file = join(folder, 'director.yaml')
  const configuration = {
    name: 'd1',
    interfaces: { outside: 'd0' },
    store: join(folder, 'store'),
    control: join(folder, 'control.sock'),
    cluster: { listen: '127.0.0.1:7946' },
    agents: { listen: `127.0.0.1:${AGENTS_PORT}`, keyFile: join(folder, 'agents.key') },
    controlTls: {
      listen: `127.0.0.1:${CONTROL_PORT}`,
      keyFile: tlsDirector.key,
      certificateFile: tlsDirector.certificate,
      clientCaFile: authority.certificate,
    },
    connections: 1024,
    logLevel: 'trace',
    ...changes,
  }
  writeFileSync(file, JSON.stringify(configuration))
  return file
}

async function plant(folder: string, value: Uint8Array): Promise<void> {
  const store = new LevelStore(join(folder, 'store'))
  await store.open()
  await store.put('identity/private-key', value)
  await store.close()
}

prepareHost()

test('a director and an agent at work, and their keys exchanged', async (t) => {
  const folder = workplace(t)
  const directorsFile = join(folder, 'directors.key')
  writeFileSync(directorsFile, directorsKey, { mode: 0o600 })
  const group = { vrid: 51, addresses: ['192.0.2.100'], authentication: { keyFile: directorsFile } }
  const file = configure(folder, { vips: [group] })
  const keyFile = join(folder, 'agents.key')
  const agentFile = join(folder, 'agent.key')
  writeFileSync(keyFile, first, { mode: 0o600 })
  writeFileSync(agentFile, first, { mode: 0o600 })
  await plant(folder, identity)
  const director = start(t, 'director', ['node', '--config', file])
  await director.saying('director runs')
  const agent = start(t, 'agent', ['agent', '--director', `127.0.0.1:${AGENTS_PORT}`, '--key-file', agentFile])
  await agent.saying('reporting for 10.0.0.1')
  hearListing('director', director)
  hearListing('agent', agent)

  const control = async (method: string, path: string, body?: unknown): Promise<unknown> => {
    const answer = await request(join(folder, 'control.sock'), method, path, body).catch((error: Error) => error)
    hear('control socket', `${answer instanceof Error ? answer.stack : JSON.stringify(answer)}\n`)
    return answer
  }
  const refused = async () => ((await control('GET', '/status')) as DirectorStatus).refusedReports
  await control('GET', '/metrics')
  await control('GET', '/health')
  await control('POST', '/services', { protocol: 'tcp', keyFile })
  await control('GET', '/nothing')

  const socket = createSocket('udp4')
  t.teardown(() => socket.close())
  const report = { runId: '0'.repeat(16), sequence: 0, timeMs: Date.now(), intervalMs: 1000 }
  const load = { cpu: 0, memory: 0, loadPerCore: 0, establishedConnections: 0 }
  const send = (by: (typeof keys)[number]) =>
    socket.send(encodeAgentReport({ addresses: ['10.0.0.2'], ...report, ...load }, by), AGENTS_PORT, '127.0.0.1')
  const counted = async (reason: string) => {
    while (!((await refused())[reason] > 0)) await new Promise(setImmediate)
  }
  send({ ...keys[0], secret: keys[1].secret })
  send(keys[0])
  send(keys[1])
  for (const reason of ['signature', 'address', 'key']) await counted(reason)

  writeFileSync(keyFile, `${first}${second.slice(2)}`)
  writeFileSync(directorsFile, directorsKey.slice(2))
  director.child.kill('SIGHUP')
  for (const whose of ["agents'", "directors'"]) await director.saying(`goes on with the ${whose} keys that it has`)
  writeFileSync(keyFile, first + second)
  writeFileSync(directorsFile, directorsKey)
  director.child.kill('SIGHUP')
  for (const whose of ["agents'", "directors'"]) await director.saying(`has read the ${whose} keys again`)
  const before = (await refused()).key
  send(keys[1])
  send(keys[1])
  await counted('replay')
  t.equal((await refused()).key, before, 'the new key counts without a restart')

  Object.assign(process.env, {
    DIRECTOR_TLS_CA: authority.certificate,
    DIRECTOR_TLS_CERT: tlsClient.certificate,
    DIRECTOR_TLS_KEY: tlsClient.key,
  })
  const tlsAddress = `https://127.0.0.1:${CONTROL_PORT}`
  t.equal(await run(t, 'status over TLS', ['status', '--socket', tlsAddress]), 0)
  chmodSync(tlsDirector.key, 0o644)
  director.child.kill('SIGHUP')
  await director.saying('goes on with the files of controlTls that it has')
  chmodSync(tlsDirector.key, 0o600)
  const refusedOverTls = async (code: string, changes: object) => {
    Object.assign(process.env, changes)
    const error = await request(tlsAddress, 'GET', '/health').catch((error: Error) => error)
    t.match(error, { code })
    hear('client over TLS', (error as Error).stack as string)
  }
  await refusedOverTls('CONFIG_INVALID', { DIRECTOR_TLS_CERT: tlsDirector.certificate })
  await refusedOverTls('DIRECTOR_UNREACHABLE', { DIRECTOR_TLS_KEY: tlsDirector.key })
  await director.saying('a client that controlTls does not let in')
  await refusedOverTls('CONFIG_INVALID', { DIRECTOR_TLS_KEY: readFileSync(tlsDirector.key, 'utf8') })
  delete process.env.DIRECTOR_TLS_KEY

  writeFileSync(agentFile, second.slice(2))
  agent.child.kill('SIGHUP')
  await agent.saying('goes on with the key that it has')
  writeFileSync(agentFile, third)
  agent.child.kill('SIGHUP')
  await agent.saying('reporting for 10.0.0.3')

  t.ok((await run(t, 'second director', ['node', '--config', file])) !== 0, 'the store is in use')
  agent.child.kill('SIGTERM')
  director.child.kill('SIGTERM')
  t.same([await agent.ended, await director.ended], [0, 0])
  t.equal(await run(t, 'identity', ['identity', '--store', join(folder, 'store')]), 0)
  t.match(said.get('identity'), peerIdOf(identity))
})

test('secrets that are damaged, misplaced or given for something else', async (t) => {
  const digits = first.split(' ')[0]
  const wrongFiles: [string, string][] = [
    ['a key with a wrong digit', `${first}${second.replace(' ', 'z ')}${third}`],
    ['a key twice', first + first],
  ]
  for (const [what, text] of wrongFiles) {
    const folder = workplace(t)
    writeFileSync(join(folder, 'agents.key'), text, { mode: 0o600 })
    t.equal(await run(t, what, ['node', '--config', configure(folder)]), 1)
    t.match(said.get(what), 'CONFIG_INVALID')
  }

  const folder = workplace(t)
  const keyFile = join(folder, 'agents.key')
  const wrongConfigurations: [string, string][] = [
    ['keys as a configuration', first + second],
    ['keys as a broken configuration', `${digits}: ${second}\n\t? ${third}`],
  ]
  for (const [what, text] of wrongConfigurations) {
    writeFileSync(keyFile, text)
    t.equal(await run(t, what, ['node', '--config', keyFile]), 1)
  }
  const agents = { listen: '127.0.0.1:1', keyFile: digits }
  t.equal(await run(t, 'a key for its file', ['node', '--config', configure(folder, { agents })]), 1)
  t.equal(await run(t, 'an agent of that', ['agent', '--director', '127.0.0.1:1', '--key-file', digits]), 1)

  await plant(folder, identity.subarray(0, 67))
  t.equal(await run(t, 'an identity that is cut off', ['identity', '--store', join(folder, 'store')]), 1)
  t.match(said.get('an identity that is cut off'), 'STORE_CORRUPT')
})

test('nothing of a secret is in any of it', async (t) => {
  t.ok(said.size > 10)
  for (const [by, text] of said)
    for (const secret of secrets)
      for (const form of formsOf(secret)) t.notOk(text.includes(form), `${by}: ${secrets.indexOf(secret)}`)
})
