/** Entries of peers of a later version: what this one does not know of them is not its to lose, nor to show. */
import { test } from 'tap'
import { poolEditSchema } from '../../../../node/director/control/api.ts'
import { encodeEntries, packEntry } from '../../../../node/director/pool/config-message.ts'
import { documentService } from '../../../../node/director/pool/pool-document.ts'
import type { PoolEntry } from '../../../../node/director/pool/pool-entry.ts'
import { PoolOfDirectors, START_MS } from './pool-of-directors.ts'

const web = { protocol: 'tcp', address: '10.0.0.100', port: 80 } as const
const persistence = { timeoutS: 60, netmask: '255.255.255.255' }
const tunnel = { type: 'gue', port: 6080, checksum: 'none' } as const
const server = { address: '10.0.0.1', port: 80, method: 'tun', weight: 1 } as const
const service = {
  ...web,
  scheduler: 'rr',
  persistence: { ...persistence, shared: true },
  quota: { packets: 300 },
  servers: [{ ...server, tunnel: { ...tunnel, key: 7 }, colour: 'blue' }],
}

async function heard() {
  const pool = new PoolOfDirectors(['a', 'b', 'c'])
  const a = await pool.start('a')
  const later = await pool.network.join('c', pool.names)
  await later.start()
  await pool.advance(100)
  const entry = { kind: 'service', stamp: { wallMs: START_MS, counter: 0, director: 'z' }, colour: 'red', service }
  for (const message of encodeEntries([packEntry(entry as unknown as PoolEntry)])) later.broadcast('config', message)
  await pool.advance(100)
  return { pool, a }
}

test('fields that this version does not know are kept at any depth, through edits, and passed on', async (t) => {
  const { pool, a } = await heard()
  t.same([a.configuration.service(web), a.configuration.refused.invalid], [service, 0])
  await a.configuration.editService({ ...web, scheduler: 'wrr', persistence: { ...persistence, timeoutS: 90 } })
  await a.configuration.editServer({ service: web, ...server, weight: 5, tunnel: { ...tunnel, port: 6081 } })
  const b = await pool.start('b')
  await pool.settle()
  t.strictSame(b.configuration.service(web), {
    ...service,
    scheduler: 'wrr',
    persistence: { ...persistence, timeoutS: 90, shared: true },
    servers: [{ ...service.servers[0], weight: 5, tunnel: { ...tunnel, port: 6081, key: 7 }, edits: 1 }],
  })
  t.match(await b.store.get('pool/service/tcp 10.0.0.100:80').then(String), /colour.*red/s)
})

test('an edit that takes persistence or a tunnel away takes it away whole', async (t) => {
  const { a } = await heard()
  await a.configuration.editService({ ...web, scheduler: 'rr' })
  await a.configuration.editServer({ service: web, ...server, method: 'dr' })
  t.strictSame(a.configuration.service(web), {
    ...web,
    scheduler: 'rr',
    quota: { packets: 300 },
    servers: [{ ...server, method: 'dr', colour: 'blue', edits: 1 }],
  })
})

test('the document that is shown has none of them, since the control API refuses them, and applied it changes nothing', async (t) => {
  const { a } = await heard()
  const shown = documentService(a.configuration.service(web)!)
  t.strictSame(shown, { ...web, scheduler: 'rr', persistence, servers: [{ ...server, tunnel }] })
  const before = a.configuration.revision
  await a.configuration.edit([poolEditSchema.parse({ do: 'replace-service', service: shown })])
  t.equal(a.configuration.revision, before)
  const whole = { ...shown, persistence: service.persistence }
  const refused = poolEditSchema.safeParse({ do: 'replace-service', service: whole })
  t.same(
    refused.error?.issues.map(({ code, path }) => [code, ...path].join(' ')),
    ['unrecognized_keys service persistence'],
  )
})
