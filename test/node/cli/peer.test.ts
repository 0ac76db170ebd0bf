/** director peer, against a pool's real configuration. */
import { test } from 'tap'
import { renderPeers } from '../../../node/cli/director/peer.ts'
import { runDirectorCommand } from '../../../node/cli/director/program.ts'
import type { PeerListing } from '../../../node/director/control/answers.ts'
import { peerIdOf } from '../director/pool/pool-of-directors.ts'
import { servePool } from './served-pool.ts'

test('a director is shut out by its peer id, and let in again', async (t) => {
  const { socketPath, control } = await servePool(t)
  const run = async (...words: string[]) => {
    let said = ''
    const sink = { write: (text: string) => (said += text) }
    const status = await runDirectorCommand(['peer', ...words, '--socket', socketPath], sink, sink)
    return { status, said }
  }
  const revoked = async () => ((await control('GET', '/peers')) as PeerListing[]).map(({ id }) => id)
  t.same(await run('revoke', peerIdOf('b')), { status: 0, said: '' })
  t.same(await revoked(), [peerIdOf('b')])
  t.match(await run('revoke', peerIdOf('a')), { status: 2, said: /is this director itself.*\(INPUT_INVALID\)\n$/ })
  t.same(await run('restore', peerIdOf('b')), { status: 0, said: '' })
  t.same(await revoked(), [])
})

test('peers are listed with those that are configured nowhere here', async (t) => {
  const peers: PeerListing[] = [
    {
      name: 'd2',
      address: '10.1.0.12:7946',
      id: '12D3KooWd2',
      knownBy: 'configuration',
      connected: true,
      revoked: false,
    },
    { name: 'd3', address: '10.1.0.13:7946', id: '12D3KooWd3', knownBy: 'token', connected: true, revoked: false },
    { name: null, address: null, id: '12D3KooWgone', knownBy: null, connected: false, revoked: true },
  ]
  t.equal(
    renderPeers(peers),
    `
Peer  Address         Known by       Connected  Revoked  Peer id
d2    10.1.0.12:7946  configuration  yes        no       12D3KooWd2
d3    10.1.0.13:7946  token          yes        no       12D3KooWd3
-     -               -              no         yes      12D3KooWgone`.trimStart(),
  )
})
