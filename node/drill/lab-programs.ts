/**
 * The programs of a lab: their files, and how they are started, each in its host's namespace and in a process group of its
 * own (so that Ctrl-C reaches the lab and not them), with its output in LAB/logs/HOST-PROGRAM.log.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { closeSync, mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { stringify } from 'yaml'
import { programFile } from '../../forwarder/program-file.ts'
import { DirectorError } from '../../protocol/errors.ts'
import { peerIdOf } from '../director/cluster/identity.ts'
import { loadIdentity } from '../director/identity.ts'
import { LevelStore } from '../director/store/level-store.ts'
import { putFirst, putSecond } from '../processor-share.ts'
import { inNamespace } from './lab-network.ts'
import {
  AGENT_PORT,
  addressOf,
  CLUSTER_PORT,
  FAMILIES,
  GATEWAY_ADDRESSES,
  GUE_PORT,
  hostsOf,
  type LabHost,
  type LabPlan,
  SESSION_PORT,
  VIRTUAL_ADDRESSES,
  WEB_PORT,
  WEB_PORT_INSIDE,
} from './lab-plan.ts'

/** What nginx serves under /bulk, and under /paced?rate=BYTES at so many bytes a second. */
export interface BulkFile {
  name: string
  sha256: string
}

export interface LabProcess {
  readonly host: string
  readonly program: string
  readonly logFile: string
  readonly child: ChildProcess
}

/** A director that stops hands over, which takes a moment, and then keeps its table, which may be large. */
const END_WITHIN_MS = 30_000
const BULK_FILES = 4
export const BULK_BYTES = 16 * 1024 * 1024
const VRIDS = { ipv4: 51, ipv6: 52 }

function directorCommand(...args: string[]): string[] {
  return [process.execPath, programFile('node/cli/director'), ...args]
}

export function controlSocketOf(folder: string, host: string): string {
  return join(folder, host, 'control.sock')
}

export function logsOf(folder: string): string {
  return join(folder, 'logs')
}

type OnStart = (started: LabProcess) => void

/** The folders and files that the programs need. Once, before any of them starts. */
export function prepareFiles(plan: LabPlan, folder: string): BulkFile[] {
  mkdirSync(logsOf(folder))
  for (const host of plan.hosts) mkdirSync(join(folder, host.name))
  writeAgentKeys(plan, folder)
  return writeBulkFiles(join(folder, 'www'))
}

/** Each server's key for itself, and all of them for the directors. */
function writeAgentKeys(plan: LabPlan, folder: string): void {
  const lines = hostsOf(plan, 'server').map((host) => {
    const addresses = host.interfaces.flatMap((each) => FAMILIES.map((family) => addressOf(each, family)))
    const line = `${randomBytes(32).toString('hex')} ${addresses.join(' ')}\n`
    writeFileSync(join(folder, host.name, 'agent.key'), line, { mode: 0o600 })
    return line
  })
  writeFileSync(join(folder, 'agents.key'), lines.join(''), { mode: 0o600 })
}

/** nginx and the session server. `onStart` is told of each process at once, so that a failure can name it. */
export function startServers(plan: LabPlan, folder: string, onStart: OnStart): void {
  for (const host of hostsOf(plan, 'server')) startServer(folder, host, onStart)
}

export function startAgents(plan: LabPlan, folder: string, onStart: OnStart): void {
  for (const host of hostsOf(plan, 'server')) onStart(start(folder, host, 'agent', agentCommand(plan, folder, host)))
}

function startServer(folder: string, host: LabHost, onStart: OnStart): void {
  const home = join(folder, host.name)
  writeFileSync(join(home, 'nginx.conf'), webServerConfig(home, join(folder, 'www'), host.name))
  const complaints = join(logsOf(folder), `${host.name}-nginx.log`)
  onStart(start(folder, host, 'nginx', ['nginx', '-p', home, '-c', join(home, 'nginx.conf'), '-e', complaints]))
  const sessionServer = [process.execPath, programFile('node/drill/session-server'), host.name, String(SESSION_PORT)]
  onStart(start(folder, host, 'session-server', sessionServer))
}

export async function startDirectors(plan: LabPlan, folder: string, onStart: OnStart): Promise<void> {
  const directors = hostsOf(plan, 'director')
  const peerIds = await Promise.all(directors.map((host) => makeIdentity(join(folder, host.name, 'store'))))
  const peers = directors.map((host, index) => ({
    name: host.name,
    id: peerIds[index],
    address: `${host.interfaces[0].address}:${CLUSTER_PORT}`,
  }))
  for (const host of directors) {
    const file = join(folder, host.name, 'director.yaml')
    const others = peers.filter((peer) => peer.name !== host.name)
    writeFileSync(file, stringify(directorConfig(plan, folder, host, others)))
    startDirector(folder, host, onStart)
  }
}

/** Also again, after it has ended: its folder is as it was left. */
export function startDirector(folder: string, host: LabHost, onStart: OnStart): void {
  const file = join(folder, host.name, 'director.yaml')
  onStart(start(folder, host, 'director', directorCommand('node', '--config', file)))
}

/** Sends a signal that ends a process, and waits until it has ended. @throws DirectorError LAB_FAILED when it did not in time */
export async function endProcess(child: ChildProcess, kill: NodeJS.Signals, signal?: AbortSignal): Promise<void> {
  child.kill(kill)
  if (await endsInTime(child, signal)) return
  throw new DirectorError('LAB_FAILED', `process ${child.pid} did not end within ${END_WITHIN_MS / 1000} s of ${kill}`)
}

/** Waits until a process has ended, and kills it when that takes too long. @returns whether it ended by itself */
export async function endsInTime(
  child: ChildProcess,
  signal?: AbortSignal,
  withinMs = END_WITHIN_MS,
): Promise<boolean> {
  if (child.exitCode !== null || child.signalCode !== null) return true
  // The lab does not let its processes keep us from ending.
  child.ref()
  let isLate = false
  const late = setTimeout(() => {
    isLate = true
    child.kill('SIGKILL')
  }, withinMs)
  try {
    await once(child, 'exit', { signal })
    return !isLate
  } finally {
    clearTimeout(late)
  }
}

function directorConfig(plan: LabPlan, folder: string, host: LabHost, peers: object[]): object {
  const translated = plan.method === 'nat'
  return {
    name: host.name,
    interfaces: { outside: 'outside', ...(translated ? { inside: 'inside' } : {}) },
    store: join(folder, host.name, 'store'),
    control: controlSocketOf(folder, host.name),
    cluster: { listen: `${host.interfaces[0].address}:${CLUSTER_PORT}`, peers },
    vips: FAMILIES.map((family) => ({
      vrid: VRIDS[family],
      priority: host.priority,
      advertisementIntervalMs: plan.advertisementIntervalMs,
      virtualMac: plan.virtualMac,
      addresses: [VIRTUAL_ADDRESSES[family]],
      ...(translated ? { gateway: GATEWAY_ADDRESSES[family] } : {}),
    })),
    agents: { listen: `${host.interfaces.at(-1)!.address}:${AGENT_PORT}`, keyFile: join(folder, 'agents.key') },
    ...(plan.connections === undefined ? {} : { connections: plan.connections }),
    // Quicker than the default, so that a lab is ready soon and a dead server is noticed within a drill.
    health: { intervalMs: 500, timeoutMs: 1000, rise: 1, fall: 2 },
  }
}

async function makeIdentity(folder: string): Promise<string> {
  const store = new LevelStore(folder)
  await store.open()
  try {
    return peerIdOf(await loadIdentity(store))
  } finally {
    await store.close()
  }
}

function agentCommand(plan: LabPlan, folder: string, host: LabHost): string[] {
  const directors = hostsOf(plan, 'director').flatMap((host) => [
    '--director',
    `${host.interfaces.at(-1)!.address}:${AGENT_PORT}`,
  ])
  const decapsulate =
    plan.method === 'tun' ? ['--decapsulate', ...Object.values(VIRTUAL_ADDRESSES), '--tunnel', tunnelWord(plan)] : []
  return directorCommand('agent', ...directors, '--key-file', join(folder, host.name, 'agent.key'), ...decapsulate)
}

function tunnelWord({ tunnel }: LabPlan): string {
  return tunnel === 'gue' ? `gue:${GUE_PORT}` : tunnel
}

/**
 * Starts a program in a host's namespace. A host is a machine of its own in life, and waits behind no other: all go first, but for directors
 * until they take part in the election and put themselves there. A start takes no time from another machine.
 */
function start(folder: string, host: LabHost, program: string, command: readonly string[]): LabProcess {
  const logFile = join(logsOf(folder), `${host.name}-${program}.log`)
  const log = openSync(logFile, 'a')
  const [file, ...args] = inNamespace(host.namespace, command)
  const child = spawn(file, args, { cwd: join(folder, host.name), stdio: ['ignore', log, log], detached: true })
  closeSync(log)
  child.once('error', () => {})
  if (child.pid !== undefined) (program === 'director' ? putSecond : putFirst)(child.pid)
  child.unref()
  return { host: host.name, program, logFile, child }
}

/** The last lines that a process wrote, for an error message. */
export function tailOf(logFile: string, lines = 5): string {
  try {
    return readFileSync(logFile, 'utf8').trimEnd().split('\n').slice(-lines).join('\n')
  } catch {
    return ''
  }
}

function writeBulkFiles(folder: string): BulkFile[] {
  mkdirSync(folder)
  return Array.from({ length: BULK_FILES }, (_, index) => {
    const content = randomBytes(BULK_BYTES)
    const name = `file${index}`
    writeFileSync(join(folder, name), content)
    return { name, sha256: createHash('sha256').update(content).digest('hex') }
  })
}

function webServerConfig(home: string, files: string, name: string): string {
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
  return `daemon off;
user root;
worker_processes 1;
pid ${home}/nginx.pid;
events { worker_connections 8192; }
http {
  access_log off;
  sendfile on;
  default_type application/octet-stream;
  ${temporary.map((kind) => `${kind}_temp_path ${home}/${kind};`).join(' ')}
  server {
${[WEB_PORT, WEB_PORT_INSIDE]
  .flatMap((port) => [port, `[::]:${port}`])
  .map((address) => `    listen ${address} backlog=4096;`)
  .join('\n')}
    add_header X-Server ${name};
    location = /hello { return 200 "hello\\n"; }
    location /bulk/ { alias ${files}/; }
    location /paced/ { alias ${files}/; limit_rate $arg_rate; }
  }
}
`
}
