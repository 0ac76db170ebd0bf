/**
 * Two pools of one director each that know nothing of each other but the kernel's sync protocol and VRRP, as a kernel's director and
 * ours do while a site migrates: what the master tells lets the backup carry a connection on when the master loses power.
 *
 * What is on the wire is read here by the kernel's description of it, and not by our own codec.
 */
import type { ChildProcess } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { test } from 'tap'
import { parse, stringify } from 'yaml'
import type { ConnectionListing, DirectorStatus, SyncDaemonListing } from '../../node/director/control/answers.ts'
import { request } from '../../node/director/control/client.ts'
import type { Lab } from '../../node/drill/lab.ts'
import { hostNamed, SESSION_PORT, VIRTUAL_ADDRESS } from '../../node/drill/lab-plan.ts'
import { controlSocketOf } from '../../node/drill/lab-programs.ts'
import {
  ask,
  configFileOf,
  directorNames,
  endProcess,
  eventually,
  firstProcessOf,
  startDirector,
  vsadm,
} from './lab-directors.ts'
import { startOnClient, startSession } from './lab-session.ts'
import { withTestLab } from './test-lab.ts'

const needsRoot = process.getuid?.() === 0 ? false : 'network namespaces need root'
const SYNC_ID = 5
const VIRTUAL = `${VIRTUAL_ADDRESS}:${SESSION_PORT}`

test('a connection through one pool is carried on by another that heard of it by the kernel’s sync protocol', {
  skip: needsRoot,
  timeout: 170_000,
}, async (t) => {
  const options = {
    name: `t${process.pid}-y`,
    directors: 2,
    servers: 2,
    // No subject here; nobody shall take over because the machine is busy.
    advertisementIntervalMs: 500,
  }
  await withTestLab(options, async (lab) => {
    const running = await asPoolsOfTheirOwn(lab)
    for (const director of directorNames(lab)) {
      t.match(await vsadm(lab, director, '-E', '-t', VIRTUAL, '-s', 'wlc', '-p', '600'), { code: 0, stderr: '' })
    }
    const heard = await hear(lab)
    await changeDaemon(lab, 'd2', 'POST', 'backup')
    const session = startSession(lab)
    t.teardown(() => session.child.kill())
    const server = await session.ask()
    t.match(server, /^s[12]$/)
    t.same(await sessionsAt(lab, 'd2'), [], 'the second pool does not know of it by other ways')

    await t.test('a master that starts tells of the connections that there are', async (t) => {
      await changeDaemon(lab, 'd1', 'POST', 'master')
      const known = await eventually('d2 knows the connection', async () =>
        (await sessionsAt(lab, 'd2')).find(({ state }) => state === 'ESTABLISHED'),
      )
      const [{ client, server }] = await sessionsAt(lab, 'd1')
      t.match(known, { state: 'ESTABLISHED', client, virtual: VIRTUAL, server })
      t.ok(known.expiresMs > 800_000 && known.expiresMs <= 901_000, `${known.expiresMs} ms left`)
    })

    await t.test('the template that leads the client to its server is told of as well', async (t) => {
      const [template] = await templatesAt(lab, 'd1')
      const known = await eventually('d2 knows the template', async () => (await templatesAt(lab, 'd2'))[0])
      const { client, server } = template
      t.match(known, { state: 'ASSURED', client, virtual: VIRTUAL, server, protocol: 'tcp' })
      t.ok(known.expiresMs > 500_000 && known.expiresMs <= 601_000, `${known.expiresMs} ms left`)
      const told = await eventually('it is on the wire', async () =>
        heard.flatMap(decodeByHand).find((each) => each.client === client),
      )
      // IP_VS_CONN_F_TEMPLATE and IP_VS_CONN_F_INACTIVE.
      t.match(told, { client, virtual: VIRTUAL, server, protocol: 6, state: 1, flags: 0x1100, mark: 0 })
    })

    await t.test('what is on the wire is what the kernel would have sent', async (t) => {
      const [{ client, server }] = await sessionsAt(lab, 'd1')
      const entries = () => heard.flatMap(decodeByHand)
      const entry = await eventually('it is on the wire', async () => entries().find((each) => each.client === client))
      const { timeoutS, ...rest } = entry
      t.same(rest, { client, virtual: VIRTUAL, server, protocol: 6, state: 1, flags: 0, mark: 0 })
      t.ok(timeoutS > 800 && timeoutS <= 900, `${timeoutS} s`)
    })

    await t.test('the beginning of a connection and its end arrive in their order', async (t) => {
      const before = new Set((await sessionsAt(lab, 'd2')).map(({ client }) => client))
      const brief = startSession(lab)
      await brief.ask()
      const begun = await eventually('d2 hears of it', async () =>
        (await sessionsAt(lab, 'd2')).find(({ client, state }) => !before.has(client) && state === 'ESTABLISHED'),
      )
      brief.child.stdin?.end()
      const ended = await eventually('d2 hears of its end', async () =>
        (await sessionsAt(lab, 'd2')).find(({ client, state }) => client === begun.client && state !== begun.state),
      )
      t.match(ended.state, /^(CLOSE_WAIT|FIN_WAIT|TIME_WAIT|CLOSE)$/)
    })

    await t.test('each director lists the daemon that it runs, after a restart too', async (t) => {
      const daemon = { interface: 'outside', syncId: SYNC_ID, maxLength: 1472, group: '224.0.0.81', port: 8848, ttl: 1 }
      t.match(await daemonsOf(lab, 'd1'), [{ state: 'master', ...daemon }])
      t.match(await daemonsOf(lab, 'd2'), [{ state: 'backup', ...daemon }])
      await endProcess(running.get('d2') as ChildProcess, 'SIGTERM')
      running.set('d2', startDirector(lab, 'd2').child)
      const listed = await eventually('d2 runs its daemon again', async () => {
        const daemons = await daemonsOf(lab, 'd2')
        return daemons.length > 0 ? daemons : undefined
      })
      t.match(listed, [{ state: 'backup', ...daemon }])
    })

    await t.test('the connection goes on through the second pool when the first has lost power', async (t) => {
      // The restart has emptied the table of d2, and a master tells of its own again when it starts.
      await changeDaemon(lab, 'd1', 'DELETE', 'master')
      await changeDaemon(lab, 'd1', 'POST', 'master')
      const [{ client }] = (await sessionsAt(lab, 'd1')).filter(({ state }) => state === 'ESTABLISHED')
      await eventually('d2 knows the connection again', async () =>
        (await sessionsAt(lab, 'd2')).find((each) => each.client === client),
      )
      await eventually('d2 is ready to take over', async () => {
        const { vips, inSync } = await ask<DirectorStatus>(lab, 'd2', '/status')
        return (inSync && vips[0].state === 'backup') || undefined
      })
      await endProcess(running.get('d1') as ChildProcess, 'SIGKILL')
      t.equal(await session.ask(), server, 'the same server answers')
      t.equal((await ask<DirectorStatus>(lab, 'd2', '/status')).vips[0].state, 'active')
    })
  })
})

/** Makes each director a pool by itself, with the services that they have in common. The first one holds the VIP. */
async function asPoolsOfTheirOwn(lab: Lab): Promise<Map<string, ChildProcess>> {
  const running = new Map<string, ChildProcess>()
  for (const name of directorNames(lab)) {
    await endProcess(firstProcessOf(lab, name), 'SIGTERM')
    const file = configFileOf(lab, name)
    const config = parse(readFileSync(file, 'utf8'))
    config.cluster.peers = []
    writeFileSync(file, stringify(config))
  }
  for (const name of directorNames(lab)) {
    running.set(name, startDirector(lab, name).child)
    await eventually(`${name} sees its servers`, async () => {
      const { services, vips } = await ask<DirectorStatus>(lab, name, '/status')
      const isReady = services.every(({ servers }) =>
        servers.every(({ health, load }) => health === 'up' && load !== null),
      )
      return (isReady && vips[0].state === (name === 'd1' ? 'active' : 'backup')) || undefined
    })
  }
  return running
}

async function changeDaemon(lab: Lab, director: string, method: 'POST' | 'DELETE', state: 'master' | 'backup') {
  const options = method === 'POST' ? { interface: 'outside', syncId: SYNC_ID } : {}
  await request(controlSocketOf(lab.folder, director), method, '/sync-daemons', { state, ...options })
}

function daemonsOf(lab: Lab, director: string): Promise<SyncDaemonListing[]> {
  return ask<SyncDaemonListing[]>(lab, director, '/sync-daemons')
}

async function sessionsAt(lab: Lab, director: string): Promise<ConnectionListing[]> {
  return (await entriesAt(lab, director)).filter(({ isTemplate }) => !isTemplate)
}

async function templatesAt(lab: Lab, director: string): Promise<ConnectionListing[]> {
  return (await entriesAt(lab, director)).filter(({ isTemplate }) => isTemplate)
}

async function entriesAt(lab: Lab, director: string): Promise<ConnectionListing[]> {
  return (await ask<ConnectionListing[]>(lab, director, '/connections')).filter(({ virtual }) => virtual === VIRTUAL)
}

/** Every datagram to the kernel's group, as the client's wire has it, in the order of arrival. */
async function hear(lab: Lab): Promise<Buffer[]> {
  const heard: Buffer[] = []
  const [{ address }] = hostNamed(lab.plan, 'c1').interfaces
  const { child, lines } = startOnClient(lab, 'hear-multicast', '224.0.0.81', 8848, address)
  child.unref()
  await new Promise<void>((resolve) => {
    lines.on('line', (line) => {
      if (line === 'ready') resolve()
      else heard.push(Buffer.from(line, 'hex'))
    })
  })
  return heard
}

/** The IPv4 entries of a datagram, by struct ip_vs_sync_mesg and struct ip_vs_sync_v4 of the kernel. @throws Error */
function decodeByHand(datagram: Buffer) {
  const [reserved, syncId, , , count, version] = datagram
  if (reserved !== 0 || syncId !== SYNC_ID || version !== 1 || datagram.readUInt16BE(6) !== 0) throw new Error('header')
  if (datagram.readUInt16BE(2) !== datagram.length || datagram.length !== 8 + count * 36) throw new Error('length')
  return Array.from({ length: count }, (_, index) => {
    const entry = datagram.subarray(8 + index * 36, 44 + index * 36)
    if (entry[0] !== 0 || entry.readUInt16BE(2) !== 36) throw new Error(`entry ${index}`)
    const endpoint = (address: number, port: number) =>
      `${[...entry.subarray(address, address + 4)].join('.')}:${entry.readUInt16BE(port)}`
    return {
      protocol: entry[1],
      flags: entry.readUInt32BE(4),
      state: entry.readUInt16BE(8),
      mark: entry.readUInt32BE(16),
      timeoutS: entry.readUInt32BE(20),
      client: endpoint(24, 10),
      virtual: endpoint(28, 12),
      server: endpoint(32, 14),
    }
  })
}
