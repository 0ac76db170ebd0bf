/** Sync daemons as an operator starts and stops them, and over a restart. */
import { test } from 'tap'
import { syncDaemonInputSchema } from '../../../../node/director/control/api.ts'
import { addressBytes, longestDatagram } from '../../../../node/director/sync-daemon/sync-daemon.ts'
import { DirectorError } from '../../../../protocol/errors.ts'
import { notedDaemons } from '../../../support/sync-daemons.ts'

const input = (fields: object = {}) => syncDaemonInputSchema.parse({ state: 'master', interface: 'd0', ...fields })
const group = { syncId: 0, maxLength: 1472, group: '224.0.0.81', port: 8848, ttl: 1 }

test('a daemon runs with ipvsadm’s defaults, the master listed first', async (t) => {
  const { daemons, asked } = await notedDaemons()
  await daemons.start(input({ state: 'backup', syncId: 8 }))
  await daemons.start(input())
  const master = { state: 'master', interface: 'd0', ...group }
  const backup = { state: 'backup', interface: 'd0', ...group, syncId: 8 }
  t.same(asked, [backup, master])
  t.match(daemons.list(), [master, backup])
})

test('a second master, and the end of one that does not run, are refused', async (t) => {
  const { daemons, asked } = await notedDaemons()
  await t.rejects(daemons.stop('master'), { code: 'DAEMON_MISSING' })
  await daemons.start(input())
  await t.rejects(daemons.start(input({ syncId: 3 })), { code: 'DAEMON_RUNNING' })
  await daemons.stop('master')
  await t.rejects(daemons.stop('master'), { code: 'DAEMON_MISSING' })
  t.same(asked.slice(1), ['master'])
})

test('an interface that there is not comes before everything else', async (t) => {
  const { daemons } = await notedDaemons()
  await t.rejects(daemons.start(input({ interface: 'nosuch0' })), { code: 'INTERFACE_MISSING' })
  await t.rejects(daemons.start(syncDaemonInputSchema.parse({ state: 'master' })), { code: 'INTERFACE_MISSING' })
  await daemons.start(input())
  await t.rejects(daemons.start(input({ interface: 'nosuch0' })), { code: 'INTERFACE_MISSING' })
})

test('a daemon whose socket is refused does not run, and is not kept', async (t) => {
  const { daemons, store } = await notedDaemons(undefined, new DirectorError('SOCKET_BUSY', 'in use'))
  await t.rejects(daemons.start(input()), { code: 'SOCKET_BUSY' })
  t.same(daemons.list(), [])
  t.equal(await store.get('sync-daemon/master'), undefined)
})

test('what ran before a restart runs after it, and what was stopped does not', async (t) => {
  const before = await notedDaemons()
  await before.daemons.start(input({ syncId: 5, maxLength: 1000, group: 'FF02:0:0:0:0:0:0:99', port: 9999, ttl: 4 }))
  await before.daemons.start(input({ state: 'backup' }))
  await before.daemons.stop('backup')
  await before.store.close()
  const { daemons } = await notedDaemons(before.store)
  await daemons.resume((error) => t.fail(error.message))
  t.match(daemons.list(), [
    { state: 'master', interface: 'd0', syncId: 5, maxLength: 1000, group: 'ff02::99', port: 9999, ttl: 4 },
  ])
  t.equal(daemons.list().length, 1)
})

test('one that cannot run after a restart is told of, and can be stopped or started again', async (t) => {
  const before = await notedDaemons()
  await before.daemons.start(input())
  await before.store.close()
  const { daemons, interfaces } = await notedDaemons(before.store)
  interfaces.clear()
  const failures: string[] = []
  await daemons.resume((error, daemon) => failures.push(`${daemon.state}: ${(error as DirectorError).code}`))
  t.same(failures, ['master: INTERFACE_MISSING'])
  t.same(daemons.list(), [])
  interfaces.set('d0', 1500)
  await daemons.start(input())
  await daemons.stop('master')
  await t.rejects(daemons.stop('master'), { code: 'DAEMON_MISSING' })
})

const lengths: [state: 'master' | 'backup', asked: number | undefined, mtu: number, family: 4 | 6, length: number][] = [
  ['master', undefined, 1500, 4, 1472],
  ['master', undefined, 9000, 4, 1472],
  ['master', undefined, 1500, 6, 1452],
  ['master', 20, 1500, 4, 20],
  ['master', 65_530, 1500, 4, 65_507],
  ['backup', undefined, 9000, 4, 8972],
  ['backup', undefined, 1400, 6, 1452],
  ['backup', 20, 1500, 4, 1024],
]
for (const [state, asked, mtu, family, length] of lengths) {
  test(`the longest datagram of a ${state} over IPv${family} is ${length}, asked for ${asked} at an MTU of ${mtu}`, async (t) => {
    t.equal(longestDatagram(state, asked, mtu, family), length)
  })
}

test('addresses of both families become bytes', async (t) => {
  const hex = (text: string) => Buffer.from(addressBytes(text)).toString('hex')
  t.equal(hex('224.0.0.81'), 'e0000051')
  t.equal(hex('ff02::99'), 'ff020000000000000000000000000099')
  t.equal(hex('ff05:1:2:3:4:5:6:7'), 'ff050001000200030004000500060007')
  t.equal(hex('ff02::'), 'ff020000000000000000000000000000')
  t.equal(hex('ff02::1:224.0.0.81'), 'ff020000000000000000000100000051'.replace('000100000051', '0001e0000051'))
})

const bad: [what: string, fields: object, message: RegExp][] = [
  ['a group that is no multicast address', { group: '10.0.0.1' }, /multicast/],
  ['an IPv6 group that is none', { group: '2001:db8::1' }, /multicast/],
  ['a sync id above 255', { syncId: 256 }, /255/],
  ['a TTL of 0', { ttl: 0 }, /1/],
  ['port 0', { port: 0 }, /1/],
  ['a state that there is not', { state: 'bogus' }, /master/],
]
for (const [what, fields, message] of bad) {
  test(`${what} is refused`, async (t) => t.throws(() => input(fields), { message }))
}
