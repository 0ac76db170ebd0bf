/**
 * A director, as people run it, in this process's network namespace, on a host like that of the recordings: 192.0.2.254/24 and
 * 2001:db8::fe/64, and no DNS.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { programFile } from '../../../forwarder/program-file.ts'
import type { Director } from '../../../node/cli/vsadm/execute.ts'
import { request, requestChanges } from '../../../node/director/control/client.ts'
import { createVethPair, ip } from '../../forwarder/namespace.ts'

const COMMAND = programFile('node/cli/director')
const START_MAX_MS = 60_000

export interface RunningDirector extends Director {
  readonly socketPath: string
  stop(): Promise<void>
}

/** The interface d0, which the recordings of sync daemons name, and what it is connected to. */
export function prepareHost(): void {
  ip('link set lo up')
  createVethPair('d0', 'd1')
  ip('address add 192.0.2.254/24 dev d0\naddress add 2001:db8::fe/64 dev d0 nodad')
}

export interface LaunchedDirector extends RunningDirector {
  readonly child: ChildProcess
  readonly folder: string
  /** All that it has said. */
  said(): string
  /** Resolves when it answers. @throws Error with what it said, when it does not */
  answers(): Promise<void>
}

export async function startRunningDirector(): Promise<RunningDirector> {
  const director = launchDirector()
  await director.answers()
  return director
}

/** @param changesIn what its configuration has besides; it gets the director's folder, which is there already */
export function launchDirector(changesIn: (folder: string) => object = () => ({})): LaunchedDirector {
  // A socket's path has room for 107 bytes.
  const folder = mkdtempSync(join(tmpdir(), 'vsadm-'))
  const socketPath = join(folder, 'control.sock')
  const configuration = {
    name: 'd1',
    interfaces: { outside: 'd0' },
    store: join(folder, 'store'),
    control: socketPath,
    cluster: { listen: '127.0.0.1:7946' },
    health: { intervalMs: 3_600_000 },
    connections: 1024,
    logLevel: 'warn',
    ...changesIn(folder),
  }
  const file = join(folder, 'director.yaml')
  writeFileSync(file, JSON.stringify(configuration))
  const log = join(folder, 'log')
  const child = spawn('sh', ['-c', 'exec "$@" > "$0" 2>&1', log, process.execPath, COMMAND, 'node', '--config', file])
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()))
  const said = () => readFileSync(log, 'utf8')
  return {
    child,
    folder,
    socketPath,
    said,
    async answers() {
      const giveUpAt = Date.now() + START_MAX_MS
      for (;;) {
        try {
          await request(socketPath, 'GET', '/health')
          return
        } catch {
          if (child.exitCode !== null || Date.now() > giveUpAt) {
            const text = said()
            child.kill('SIGKILL')
            rmSync(folder, { recursive: true })
            throw new Error(`no director: ${text}`)
          }
          await new Promise((resolve) => setTimeout(resolve, 50))
        }
      }
    },
    control: (method, path, body) => request(socketPath, method, path, body),
    change: (edits) => requestChanges(socketPath, edits),
    async stop() {
      child.kill('SIGTERM')
      await ended
      rmSync(folder, { recursive: true })
    },
  }
}
