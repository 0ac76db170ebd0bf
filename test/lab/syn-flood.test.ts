/**
 * A SYN flood at twenty times the rate of real clients, over real interfaces and in both address families at once: the connection
 * table fills up, half-open connections make room, and every real client is served. How the table does that, step by step and on
 * a clock of the test's own: test/forwarder/syn-flood.test.ts.
 *
 * The table is so small that the flood replaces all that is half open in it every few seconds. The real clients are those of the
 * drills: long sessions, and new connections with a request each.
 */
import { test } from 'tap'
import { statusOf } from '../../node/drill/lab-directors.ts'
import { FAMILIES, type Family, hostsOf, SESSION_PORT, VIRTUAL_ADDRESSES, WEB_PORT } from '../../node/drill/lab-plan.ts'
import { LoadClient, sessionClientIn } from '../../node/drill/load-client.ts'
import { formatEndpoint } from '../../protocol/packet/ipv6-address.ts'
import { TCP_SYN } from '../../protocol/packet/tcp.ts'
import { tcpFrame } from '../support/frames.ts'
import { tcpFrame6 } from '../support/ipv6-frames.ts'
import { inject, macOf } from './lab-traffic.ts'
import { withTestLab } from './test-lab.ts'

const skip = process.getuid?.() !== 0 && 'network namespaces need root'

const CONNECTIONS = 2048
const SESSIONS = 25
/** Of each family. */
const REAL_PER_SECOND = 10
const FORGED_PER_SECOND = 20 * REAL_PER_SECOND * FAMILIES.length
const SECONDS = 12

test('every real client is served through a SYN flood at twenty times their rate', {
  skip,
  timeout: 120_000,
}, async (t) => {
  const options = { name: `t${process.pid}-f`, directors: 1, servers: 2, clients: 2, connections: CONNECTIONS }
  await withTestLab(options, async (lab, signal) => {
    const { namespace } = hostsOf(lab.plan, 'client')[0]
    const command = sessionClientIn(namespace)
    const clients = FAMILIES.map((family) => ({ family, load: new LoadClient(command, signal, () => {}) }))
    for (const { family, load } of clients) t.equal((await load.open(realLoad(family))).opened, SESSIONS)
    const [sourceMac, destinationMac] = [await macOf(lab, 'c2', 'outside'), await macOf(lab, 'd1', 'outside')]
    const forged = forgedSyns(sourceMac, destinationMac, FORGED_PER_SECOND * SECONDS)
    await inject(lab, forged, { client: 'c2', perSecond: FORGED_PER_SECOND })

    const { defences, drops, connections } = (await statusOf(lab.folder, 'd1'))!
    t.ok(connections.used >= CONNECTIONS - 1, `the table is full: ${connections.used}`)
    t.ok(defences.evicted > CONNECTIONS, `${defences.evicted} half-open connections made room`)
    t.equal(drops['table-full'], 0, 'there was room for every connection')
    for (const { family, load } of clients) {
      const { lost, connections } = await load.finish()
      t.same(lost, [], `${family}: every session goes on`)
      t.same(connections.failed, [], `${family}: each of ${connections.attempted} new connections is served`)
      t.ok(connections.attempted >= REAL_PER_SECOND * SECONDS)
    }
  })
})

function realLoad(family: Family) {
  return {
    virtualAddress: VIRTUAL_ADDRESSES[family],
    sessionPort: SESSION_PORT,
    webPort: WEB_PORT,
    sessions: SESSIONS,
    messageIntervalMs: 200,
    connectionsPerSecond: REAL_PER_SECOND,
    downloads: [],
    patienceMs: 10_000,
  }
}

/** From addresses that never answer (RFC 2544, RFC 3849), in turns of either family. */
function* forgedSyns(sourceMac: string, destinationMac: string, count: number): Generator<Uint8Array> {
  for (let index = 0; index < count; index++) {
    const port = 1024 + index
    const low = (index >> 1) & 255
    const high = index >> 9
    const macs = { sourceMac, destinationMac, flags: TCP_SYN }
    if (index % 2 === 0) {
      yield tcpFrame({ ...macs, from: `198.18.${high}.${low}:${port}`, to: `${VIRTUAL_ADDRESSES.ipv4}:${WEB_PORT}` })
    } else {
      const to = formatEndpoint(VIRTUAL_ADDRESSES.ipv6, WEB_PORT)
      yield tcpFrame6({ ...macs, from: `[2001:db8::${high}:${low}]:${port}`, to })
    }
  }
}
