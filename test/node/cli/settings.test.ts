/** `director settings` against a pool that is served: what it shows, and what it changes. */
import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { test } from 'tap'
import { renderSettings } from '../../../node/cli/director/settings.ts'
import { allSettings } from '../../../node/director/pool/setting-changes.ts'
import { servePool } from './served-pool.ts'

const run = promisify(execFile)
const program = fileURLToPath(new URL('../../../node/cli/director.ts', import.meta.url))
const settings = async (socket: string, ...words: string[]) => {
  const { stdout } = await run(process.execPath, [program, 'settings', ...words, '--socket', socket])
  return stdout
}

test('settings are listed, read one by one, and several are changed at once', async (t) => {
  const pool = await servePool(t)
  t.equal(await settings(pool.socketPath, 'get', 'timeoutTcpS'), '900\n')
  t.equal(await settings(pool.socketPath, 'set', 'timeoutTcpS=300', 'drop_entry=1'), '', 'silent, as sysctl -qw')
  t.equal(await settings(pool.socketPath, 'get', 'timeoutTcpS'), '300\n')
  t.match(JSON.parse(await settings(pool.socketPath, 'list', '--json')), { drop_entry: 1, drop_packet: 0 })
  t.match(await settings(pool.socketPath, 'list'), /^drop_entry +1 +0 +0 to 3 +mode +end half-open/m)
})

test('a change that the director refuses changes nothing', async (t) => {
  const pool = await servePool(t)
  await t.rejects(pool.control('PUT', '/settings', { drop_entry: 1, speed: 2 }), { code: 'INPUT_INVALID' })
  await t.rejects(pool.control('PUT', '/settings', { drop_entry: 'much' }), { message: /^drop_entry: / })
  await t.rejects(pool.control('PUT', '/settings', 'fast'), { code: 'INPUT_INVALID' })
  t.match(await pool.control('GET', '/settings'), { drop_entry: 0 })
})

test('the list has one line a setting, under a heading', async (t) => {
  const values = allSettings({ sloppy_tcp: 1 })
  const lines = renderSettings(values).split('\n')
  t.equal(lines.length, Object.keys(values).length + 1)
  t.match(lines[0], /^Setting +Value +Default +Allowed +Type +Meaning$/)
})
