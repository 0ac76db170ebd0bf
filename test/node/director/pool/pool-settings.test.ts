/** The pool's settings: who may say what, who hears of it, what stays. */
import { test } from 'tap'
import { SETTINGS } from '../../../../forwarder/settings.ts'
import { encodeEntries, packEntry } from '../../../../node/director/pool/config-message.ts'
import type { PoolEntry } from '../../../../node/director/pool/pool-entry.ts'
import { allSettings, engineSettings } from '../../../../node/director/pool/setting-changes.ts'
import { PoolOfDirectors, START_MS } from './pool-of-directors.ts'

test('a setting that is changed at one director is in force at all of them, and the rest stays', async (t) => {
  const pool = new PoolOfDirectors(['a', 'b', 'c'])
  const a = await pool.start('a')
  const b = await pool.start('b')
  await pool.advance(100)
  await a.configuration.setSettings({ drop_entry: 1, timeoutTcpS: 300 })
  await pool.advance(100)
  t.strictSame(b.settings, [{ drop_entry: 1, timeoutTcpS: 300 }])
  await b.configuration.setSettings({ drop_entry: 3 })
  const c = await pool.start('c')
  await pool.settle()
  for (const { name, configuration, settings } of [a, b, c]) {
    t.strictSame(configuration.settings(), { drop_entry: 3, timeoutTcpS: 300 }, name)
    t.strictSame(settings.at(-1), { drop_entry: 3, timeoutTcpS: 300 }, `${name} was told`)
  }
})

test('settings are there after a restart', async (t) => {
  const pool = new PoolOfDirectors(['a'])
  const a = await pool.start('a')
  await a.configuration.setSettings({ secure_tcp: 3 })
  await pool.stop('a')
  const again = await pool.start('a', a.store)
  t.strictSame(again.configuration.settings(), { secure_tcp: 3 })
  t.strictSame(again.settings, [{ secure_tcp: 3 }], 'what is loaded is told')
})

test('of two changes the newer wins, whole, also over a director whose clock is behind', async (t) => {
  const pool = new PoolOfDirectors(['a', 'b'])
  const a = await pool.start('a')
  const b = await pool.start('b', undefined, -300_000)
  await pool.advance(100)
  await a.configuration.setSettings({ drop_packet: 1 })
  await pool.settle()
  await b.configuration.setSettings({ drop_packet: 3, am_droprate: 5 })
  await pool.settle()
  t.strictSame(a.configuration.settings(), { drop_packet: 3, am_droprate: 5 })
})

test('clearing the services leaves the settings', async (t) => {
  const { configuration } = await new PoolOfDirectors(['a']).start('a')
  await configuration.setSettings({ sloppy_tcp: 1 })
  await configuration.clear()
  t.strictSame(configuration.settings(), { sloppy_tcp: 1 })
})

const wrong: [changes: Record<string, number>, message: RegExp][] = [
  [{ drop_entry: 4 }, /^drop_entry: 4: expected a whole number from 0 to 3$/],
  [{ drop_entry: -1 }, /^drop_entry: -1: expected a whole number from 0 to 3$/],
  [{ am_droprate: 0 }, /^am_droprate: 0: expected a whole number from 1 to 1000000$/],
  [{ timeoutTcpS: 2_678_401 }, /^timeoutTcpS: 2678401: expected a whole number from 1 to 2678400$/],
  [{ sync_threshold: 3 }, /^sync_threshold would do nothing here: a connection is told of when it is established/],
  [{ fast: 1 }, /^there is no setting "fast": `director settings list` shows all$/],
  [{ toString: 1 }, /^there is no setting "toString"/],
]
for (const [changes, message] of wrong) {
  test(`refused: ${JSON.stringify(changes)}`, async (t) => {
    const { configuration, settings } = await new PoolOfDirectors(['a']).start('a')
    await t.rejects(configuration.setSettings({ sloppy_tcp: 1, ...changes }), { code: 'INPUT_INVALID', message })
    t.strictSame([configuration.settings(), settings], [{}, []], 'and nothing half-applied')
  })
}

test('0 keeps a timeout as it is, as ipvsadm --set does', async (t) => {
  const { configuration } = await new PoolOfDirectors(['a']).start('a')
  await configuration.setSettings({ timeoutTcpS: 100, timeoutTcpFinS: 50, timeoutUdpS: 30 })
  await configuration.setSettings({ timeoutTcpS: 0, timeoutTcpFinS: 60, timeoutUdpS: 0 })
  t.match(allSettings(configuration.settings()), { timeoutTcpS: 100, timeoutTcpFinS: 60, timeoutUdpS: 30 })
})

test('the forwarder is told every setting as a number, those of nobody at their defaults', async (t) => {
  const settings = engineSettings({ conn_reuse_mode: 2, timeoutUdpS: 10 })
  t.equal(settings.connReuseMode, 2)
  t.equal(settings.timeoutUdpS, 10)
  t.equal(settings.timeoutTcpS, 900)
  t.equal(Object.keys(settings).length, SETTINGS.length)
})

test('what a peer of another version has set is kept and passed on, and counts as not set where it is not allowed', async (t) => {
  const pool = new PoolOfDirectors(['a', 'b', 'c'])
  const a = await pool.start('a')
  const stranger = pool.network.join('c', pool.names)
  await stranger.start()
  await pool.advance(100)
  const stamp = { wallMs: START_MS, counter: 0, director: 'c' }
  const entry: PoolEntry = { kind: 'settings', stamp, settings: { drop_entry: 17, ring_size: 9, pmtu_disc: 0 } }
  for (const message of encodeEntries([packEntry(entry)])) stranger.broadcast('config', message)
  await pool.advance(100)
  t.match(allSettings(a.configuration.settings()), { drop_entry: 0, pmtu_disc: 0 })
  t.notOk('ring_size' in allSettings(a.configuration.settings()))
  await a.configuration.setSettings({ sloppy_tcp: 1 })
  const b = await pool.start('b')
  await pool.settle()
  t.strictSame(b.configuration.settings(), { drop_entry: 17, ring_size: 9, pmtu_disc: 0, sloppy_tcp: 1 })
})
