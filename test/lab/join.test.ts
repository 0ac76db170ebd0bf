/**
 * A director that joins a pool with 100,000 connections, and is to be the active one by its priority, leaves the addresses where they are until it
 * has them all; and when all others then die at once, not one connection is missing at it, and old clients reach the server that they
 * reached before.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { test } from 'tap'
import { parse, stringify } from 'yaml'
import type { ConnectionListing, DirectorStatus } from '../../node/director/control/answers.ts'
import type { Lab } from '../../node/drill/lab.ts'
import { findActive } from '../../node/drill/lab-directors.ts'
import { VIRTUAL_ADDRESS } from '../../node/drill/lab-plan.ts'
import { udpFrame } from '../support/frames.ts'
import {
  ask,
  configFileOf,
  directorNames,
  endProcess,
  eventually,
  firstProcessOf,
  startDirector,
} from './lab-directors.ts'
import { addService, askByDatagram, inject, macOf, SINK_PORT, startSinks } from './lab-traffic.ts'
import { withTestLab } from './test-lab.ts'

const needsRoot = process.getuid?.() === 0 ? false : 'network namespaces need root'

const CONNECTIONS = 100_000
const CLIENT_ADDRESSES = 4
const NEWCOMER = 'd4'
/** Above those of the others. */
const PRIORITY = 254

/** Clients that are really there, and can be asked again. */
const WHO = Array.from({ length: 32 }, (_, index) => ({ port: 30_000 + index, payload: Buffer.from('who') }))

test('a fourth director joins a pool with 100,000 connections, and then carries it alone', {
  skip: needsRoot,
  timeout: 170_000,
}, async (t) => {
  const options = {
    name: `t${process.pid}-j`,
    directors: 4,
    servers: 2,
    // No subject here; nobody shall take over because the machine is busy.
    advertisementIntervalMs: 500,
  }
  await withTestLab(options, async (lab) => {
    await startSinks(lab)
    await addService(lab, { protocol: 'udp', port: SINK_PORT })
    await endProcess(firstProcessOf(lab, NEWCOMER), 'SIGKILL')
    const answeredBefore = await askByDatagram(lab, SINK_PORT, WHO)
    await openConnections(lab)
    const before = await connectionsAt(lab, await findActive(lab))
    t.equal(before.size, CONNECTIONS + WHO.length)

    preferNewcomer(lab)
    const startedAt = performance.now()
    startDirector(lab, NEWCOMER)
    const answers: (Pick<DirectorStatus, 'inSync' | 'syncReason' | 'vips'> & { known: number; atMs: number })[] = []
    await eventually(
      `${NEWCOMER} is in sync`,
      async () => {
        const { inSync, syncReason, vips, connections } = await ask<DirectorStatus>(lab, NEWCOMER, '/status')
        answers.push({ inSync, syncReason, vips, known: connections.used, atMs: performance.now() - startedAt })
        return inSync || undefined
      },
      60_000,
      10,
    )
    const [first, last] = [answers[0], answers.at(-1)!]
    t.comment(
      `in sync ${Math.round(last.atMs - first.atMs)} ms after its first answer, ${Math.round(last.atMs)} ms after its process was started`,
    )
    // However late this process asks, each answer has to agree with itself.
    t.ok(last.known >= before.size, `it takes itself for complete when it has ${last.known} connections`)
    const incomplete = answers.slice(0, -1)
    const reasons = new Set(incomplete.map(({ syncReason }) => syncReason.replace(/:.*/, '')))
    t.comment(`${incomplete.length} answers before: ${[...reasons].join(', ')}`)
    t.notOk(
      incomplete.find(({ syncReason }) => syncReason === '' || syncReason === last.syncReason),
      'it says what it waits for',
    )
    const vips = incomplete.flatMap((answer) => answer.vips)
    t.notOk(
      vips.find(({ state }) => state === 'active'),
      'it takes nothing over before',
    )
    t.notOk(
      vips.find(({ state, waiting }) => state === 'backup' && waiting === null),
      'it says why it does not',
    )

    const others = directorNames(lab).filter((name) => name !== NEWCOMER)
    await Promise.all(others.map((name) => endProcess(firstProcessOf(lab, name), 'SIGKILL')))
    await eventually(`${NEWCOMER} takes over`, async () => {
      const { vips } = await ask<DirectorStatus>(lab, NEWCOMER, '/status')
      return vips[0].state === 'active' || undefined
    })
    const after = await connectionsAt(lab, NEWCOMER)
    const missing = [...before].filter(([key, server]) => after.get(key) !== server)
    t.equal(missing.length, 0, `missing or elsewhere: ${missing.slice(0, 3)}`)
    t.same(await askByDatagram(lab, SINK_PORT, WHO), answeredBefore, 'each client reaches the same server as before')
    t.equal(new Set(answeredBefore.map(String)).size, 2, 'they were spread over the servers')
  })
})

/** So that nothing but its table keeps it from taking the addresses. */
function preferNewcomer(lab: Lab): void {
  const file = configFileOf(lab, NEWCOMER)
  const config = parse(readFileSync(file, 'utf8'))
  for (const vip of config.vips) vip.priority = PRIORITY
  writeFileSync(file, stringify(config))
}

/** Makes the connections in the active director's table. What a full queue, or a change of the holder, has lost is sent again. */
async function openConnections(lab: Lab): Promise<void> {
  const sourceMac = await macOf(lab, 'c1', 'outside')
  await eventually(
    `the pool has ${CONNECTIONS} connections`,
    async () => {
      const active = await findActive(lab)
      await inject(lab, datagrams(sourceMac, await macOf(lab, active, 'outside')))
      const { connections } = await ask<DirectorStatus>(lab, active, '/status')
      if (connections.used < CONNECTIONS + WHO.length) throw new Error(`${active} has ${connections.used}`)
      return true
    },
    60_000,
  )
}

/** One datagram of each connection. */
function* datagrams(sourceMac: string, destinationMac: string): Generator<Uint8Array> {
  for (let index = 0; index < CONNECTIONS; index++) {
    const from = `198.18.0.${1 + (index % CLIENT_ADDRESSES)}:${1024 + Math.floor(index / CLIENT_ADDRESSES)}`
    yield udpFrame({ sourceMac, destinationMac, from, to: `${VIRTUAL_ADDRESS}:${SINK_PORT}` })
  }
}

/** "CLIENT VIRTUAL" to "SERVER", of the service that this is about. */
async function connectionsAt(lab: Lab, director: string): Promise<Map<string, string>> {
  const listed = await ask<ConnectionListing[]>(lab, director, '/connections')
  const ours = listed.filter(({ virtual }) => virtual === `${VIRTUAL_ADDRESS}:${SINK_PORT}`)
  return new Map(ours.map(({ client, virtual, server }) => [`${client} ${virtual}`, server]))
}
