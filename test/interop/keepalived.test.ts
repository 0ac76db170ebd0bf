/** keepalived as VRRP peer: each obeys the other's advertisements, with the checksum that it uses by default. */
import { spawnSync } from 'node:child_process'
import { test } from 'tap'
import { runInNamespace } from '../forwarder/namespace.ts'

test('keepalived is a peer', async (t) => {
  if (spawnSync('keepalived', ['--version']).error) t.pass('not run: keepalived is not installed', { skip: true })
  else runInNamespace(t, new URL('./keepalived-in-namespace.ts', import.meta.url))
})
