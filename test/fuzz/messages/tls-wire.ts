/** The control socket over TLS, before anybody is let in: beginnings of a handshake, damaged, and rubbish, from a stranger. */
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect as connectOverTls } from 'node:tls'
import { RefusalLog } from '../../../node/director/control/refusal-log.ts'
import { readTlsFiles } from '../../../node/director/control/tls-files.ts'
import { TlsGate } from '../../../node/director/control/tls-gate.ts'
import type { Random } from '../../random.ts'
import { CertificateAuthority } from '../../support/certificates.ts'
import { count, demand, mutated, randomBytes, type Wire } from './wire.ts'

const ROUND = 20
const ALERT = 0x15
const HANDSHAKE = 0x16

interface Scene {
  readonly gate: TlsGate
  /** The Unix socket behind it. */
  readonly behind: Server
  readonly hello: Uint8Array
  /** Somebody who may. */
  readonly client: { key: Buffer; cert: Buffer; ca: Buffer }
}

export class TlsWire implements Wire {
  readonly outcomes = new Map<string, number>()
  readonly #folder = mkdtempSync(join(tmpdir(), 'fuzz-tls-'))
  #scene: Scene | undefined
  #nowMs = 0
  #letIn = 0

  async bring(random: Random): Promise<number> {
    this.#scene ??= await this.#set()
    // Or most would be refused for their number alone.
    this.#nowMs += 1000
    const { gate, hello } = this.#scene
    await Promise.all(Array.from({ length: ROUND }, () => this.#ask(gate, messageOf(random, hello))))
    demand(this.#letIn === 0, 'a stranger was let in')
    return ROUND
  }

  async close(): Promise<void> {
    const scene = this.#scene
    if (!scene) return rmSync(this.#folder, { recursive: true, force: true })
    const { gate, behind, client } = scene
    this.#scene = undefined
    this.#nowMs += 1000
    const socket = connectOverTls({ port: gate.port as number, host: '127.0.0.1', ...client })
    await once(socket.resume(), 'close')
    await gate.stop()
    behind.close()
    rmSync(this.#folder, { recursive: true, force: true })
    demand(this.#letIn === 1, 'who may is not let in any more')
  }

  async #set(): Promise<Scene> {
    const authority = new CertificateAuthority(this.#folder, 'ca')
    const director = authority.issue('d1', { names: 'IP:127.0.0.1', usage: 'serverAuth' })
    const { key, certificate } = authority.issue('alice')
    const client = { key: readFileSync(key), cert: readFileSync(certificate), ca: readFileSync(authority.certificate) }
    const credentials = readTlsFiles({
      keyFile: director.key,
      certificateFile: director.certificate,
      caFile: authority.certificate,
    })
    const path = join(this.#folder, 'behind.sock')
    const behind = createServer((socket) => {
      this.#letIn++
      socket.end()
    })
    await once(behind.listen(path), 'listening')
    const nowMs = () => this.#nowMs
    const gate = new TlsGate({ credentials, allow: undefined }, new RefusalLog(() => {}, nowMs), nowMs)
    await gate.start('127.0.0.1:0', path)
    return { gate, behind, hello: await helloOf(client), client }
  }

  async #ask({ port }: TlsGate, bytes: Uint8Array): Promise<void> {
    const socket = connect(port as number, '127.0.0.1')
    const answer: Buffer[] = []
    socket.on('data', (chunk) => answer.push(chunk))
    // What is refused may end before it was all sent.
    socket.on('error', () => {})
    socket.end(bytes)
    await once(socket, 'close')
    const [first] = Buffer.concat(answer)
    count(this.outcomes, first === ALERT ? 'alert' : first === HANDSHAKE ? 'handshake' : 'no answer')
  }
}

function messageOf(random: Random, hello: Uint8Array): Uint8Array {
  return random.oneIn(10) ? randomBytes(random, random.below(500)) : mutated(random, hello)
}

/** What a client says first. */
async function helloOf(client: Scene['client']): Promise<Uint8Array> {
  const listener = createServer()
  await once(listener.listen(0, '127.0.0.1'), 'listening')
  const { port } = listener.address() as { port: number }
  const accepted = once(listener, 'connection')
  const socket = connectOverTls({ port, host: '127.0.0.1', ...client }).on('error', () => {})
  const [heard] = (await accepted) as [Socket]
  const [hello] = (await once(heard, 'data')) as [Buffer]
  socket.destroy()
  heard.destroy()
  listener.close()
  return hello
}
