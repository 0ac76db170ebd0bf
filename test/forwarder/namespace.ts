/**
 * Network namespaces without a name, for tests: each lives as long as a process in it, so nothing has to be cleaned up,
 * however a test ends.
 */
import { execFileSync, spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import type { Test } from 'tap'

/** Runs a test file of its own inside a new network namespace; its results become a part of this test. */
export function runInNamespace(t: Test, file: URL): void {
  if (process.getuid?.() !== 0) {
    t.pass('not run: only root can make network namespaces', { skip: true })
    return
  }
  t.spawn('unshare', ['--net', process.execPath, fileURLToPath(file)], {}, 'in a network namespace')
}

/** Runs ip(8), once for each line of arguments, in the namespace of this process or in another. */
export function ip(lines: string, namespace?: Namespace): void {
  const prefix = namespace ? namespace.enter : []
  for (const line of lines.trim().split('\n')) {
    const [command, ...rest] = [...prefix, 'ip', ...line.trim().split(' ')]
    execFileSync(command, rest, { stdio: ['ignore', 'ignore', 'pipe'] })
  }
}

/** A pair of connected Ethernet interfaces, up, on which the kernel says nothing by itself. */
export function createVethPair(one: string, other: string): void {
  ip(`link add ${one} type veth peer name ${other}`)
  for (const name of [one, other]) ip(`link set ${name} addrgenmode none\nlink set ${name} up`)
  waitUntilUp(one)
  waitUntilUp(other)
}

/** The kernel starts an interface a moment after it was told to; until then it loses what is sent. */
export function waitUntilUp(name: string, namespace?: Namespace): void {
  const [command, ...rest] = [...(namespace?.enter ?? []), 'ip', '-json', 'link', 'show', name]
  for (;;) {
    const [state] = JSON.parse(execFileSync(command, rest, { encoding: 'utf8' }))
    if (state.operstate === 'UP') return
  }
}

export interface Namespace {
  /** What to put before a command line so that it runs inside. */
  readonly enter: readonly string[]
  /** Process whose network namespace it is, for "ip link set ... netns". */
  readonly pid: number
  close(): void
}

/** Another namespace. It ends with this process: what holds it reads a pipe that then closes. */
export async function createNamespace(): Promise<Namespace> {
  const holder = spawn('unshare', ['--net', 'sh', '-c', 'echo ready; exec cat'], { stdio: ['pipe', 'pipe', 'inherit'] })
  await new Promise((resolve, reject) => {
    holder.stdout.once('data', resolve)
    holder.once('error', reject)
  })
  const pid = holder.pid!
  return { pid, enter: ['nsenter', `--net=/proc/${pid}/ns/net`], close: () => holder.stdin.end() }
}

/**
 * A namespace with another host on the same link, both up, with addresses that end in 1 here and in 2 there. An interface that is moved
 * begins anew with IPv6: it would give itself an address besides.
 */
export async function createNeighbour(here: string, there: string): Promise<Namespace> {
  const other = await createNamespace()
  createVethPair(here, there)
  ip(`link set ${there} netns ${other.pid}`)
  ip(`address add 10.0.0.1/24 dev ${here}`)
  ip(
    `link set lo up
    link set ${there} addrgenmode none
    address add 10.0.0.2/24 dev ${there}
    link set ${there} up`,
    other,
  )
  ip(`address add fe80::1/64 dev ${here} nodad\naddress add 2001:db8:1::1/64 dev ${here} nodad`)
  ip(`address add fe80::2/64 dev ${there} nodad\naddress add 2001:db8:1::2/64 dev ${there} nodad`, other)
  waitUntilUp(here)
  waitUntilUp(there, other)
  return other
}
