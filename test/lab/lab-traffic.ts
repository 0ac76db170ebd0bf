/** Traffic of tests in a lab: programs on its hosts that this process starts, feeds and reads. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync } from 'node:fs'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import type { ServiceInput } from '../../node/director/control/api.ts'
import { request } from '../../node/director/control/client.ts'
import type { Lab } from '../../node/drill/lab.ts'
import { addressOf, type Family, hostsOf, VIRTUAL_ADDRESSES } from '../../node/drill/lab-plan.ts'
import { controlSocketOf, logsOf } from '../../node/drill/lab-programs.ts'
import { tunnelOf } from '../../node/drill/lab-ready.ts'
import { onHost } from './lab-directors.ts'

export const SINK_PORT = 9000
/** Of sinks for services whose servers are of the other address family, behind tunnels. */
export const ACROSS_PORT = 9001

/** Runs a command on a host to its end. @returns what it wrote. @throws Error with what it complained of */
export async function runOn(lab: Lab, host: string, command: readonly string[], input: string | Buffer = '') {
  const [program, ...args] = onHost(lab, host, ...command)
  const child = spawn(program, args, { stdio: 'pipe' })
  child.stdin.on('error', () => {})
  child.stdin.end(input)
  const closed = once(child, 'close')
  const [output, complaint, [code]] = await Promise.all([text(child.stdout), text(child.stderr), closed])
  if (code !== 0) throw new Error(`${command.join(' ')} on ${host} ended with ${code}: ${complaint}`)
  return output
}

/** Starts a program on a host, in its folder of the lab; what it writes is logged, and it ends with the lab. */
export function startOnHost(lab: Lab, host: string, name: string, command: readonly string[]): void {
  const log = openSync(join(logsOf(lab.folder), `${host}-${name}.log`), 'a')
  const [program, ...args] = onHost(lab, host, ...command)
  const child = spawn(program, args, { cwd: join(lab.folder, host), stdio: ['ignore', log, log] })
  closeSync(log)
  child.unref()
}

/** A command's output on a host, piece by piece: the command waits while nobody reads. @throws Error as runOn() */
export async function* outputOf(lab: Lab, host: string, command: readonly string[]): AsyncGenerator<Buffer> {
  const [program, ...args] = onHost(lab, host, ...command)
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] })
  const complaint = text(child.stderr)
  const closed = once(child, 'close')
  yield* child.stdout
  const [code] = await closed
  if (code !== 0) throw new Error(`${command.join(' ')} on ${host} ended with ${code}: ${await complaint}`)
}

/** The command line that runs a program of this folder. */
export function programOf(name: string, ...args: (string | number)[]): string[] {
  return [process.execPath, join(import.meta.dirname, `${name}.ts`), ...args.map(String)]
}

/** Starts a program on a host and waits until it says that it is ready; it ends with the lab. */
export async function startUntilReady(lab: Lab, host: string, command: readonly string[]): Promise<void> {
  const [program, ...args] = onHost(lab, host, ...command)
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'inherit'] })
  child.unref()
  const ended = once(child, 'exit').then(([code]) => Promise.reject(new Error(`${command[1]} ended with ${code}`)))
  ended.catch(() => {})
  await Promise.race([once(child.stdout, 'data'), ended])
  child.stdout.destroy()
}

/** Starts a sink on every server; each ends with the lab. */
export async function startSinks(lab: Lab, port = SINK_PORT): Promise<void> {
  const servers = hostsOf(lab.plan, 'server')
  await Promise.all(servers.map(({ name }) => startUntilReady(lab, name, programOf('sink', name, port))))
}

/** The addresses of all real servers, in one family. */
export function serverAddresses(lab: Lab, family: Family): string[] {
  return hostsOf(lab.plan, 'server').map((host) => addressOf(host.interfaces[0], family))
}

/** Makes a virtual service with these servers behind it: all of the lab, in the same family, unless given. */
export async function addService(
  lab: Lab,
  { protocol, port, family = 'ipv4' }: Pick<ServiceInput, 'protocol' | 'port'> & { family?: Family },
  servers: readonly string[] = serverAddresses(lab, family),
): Promise<void> {
  const socketPath = controlSocketOf(lab.folder, hostsOf(lab.plan, 'director')[0].name)
  const service = { protocol, address: VIRTUAL_ADDRESSES[family], port }
  await request(socketPath, 'POST', '/services', { ...service, scheduler: 'rr' })
  for (const address of servers) {
    const { method } = lab.plan
    await request(socketPath, 'POST', '/servers', { service, address, port, method, ...tunnelOf(lab.plan) })
  }
}

/** What came back to each payload, sent from its port of the first client to a service of the pool. */
export async function askByDatagram(
  lab: Lab,
  port: number,
  questions: readonly { port: number; payload: Buffer }[],
  family: Family = 'ipv4',
): Promise<Buffer[]> {
  const input = JSON.stringify(questions.map((each) => ({ ...each, payload: each.payload.toString('base64') })))
  const answers = await runOn(lab, 'c1', programOf('ask-by-datagram', VIRTUAL_ADDRESSES[family], port), input)
  return JSON.parse(answers).map((answer: string) => Buffer.from(answer, 'base64'))
}

/** Puts frames on a client's wire: the first one's, and fast, unless given. */
export async function inject(
  lab: Lab,
  frames: Iterable<Uint8Array>,
  { client = 'c1', perSecond }: { client?: string; perSecond?: number } = {},
): Promise<void> {
  const pieces: Uint8Array[] = []
  for (const frame of frames) pieces.push(Uint8Array.of(frame.length >> 8, frame.length), frame)
  const rate = perSecond === undefined ? [] : [perSecond]
  await runOn(lab, client, programOf('inject', 'outside', ...rate), Buffer.concat(pieces))
}

/** The MAC that a host has for an address on one of its interfaces; undefined when it has none. */
export async function neighbourOf(lab: Lab, host: string, interfaceName: string, address: string) {
  const known = await runOn(lab, host, ['ip', '-json', 'neighbour', 'show', 'to', address, 'dev', interfaceName])
  const [entry]: { lladdr?: string }[] = JSON.parse(known)
  return entry?.lladdr
}

/** The MAC of an interface of a host. */
export async function macOf(lab: Lab, host: string, interfaceName: string): Promise<string> {
  const facts = await runOn(lab, host, ['ip', '-json', 'link', 'show', interfaceName])
  return JSON.parse(facts)[0].address
}
