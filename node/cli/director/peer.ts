/** `director peer`: who belongs to the pool, and who does not any more. */
import type { Command } from 'commander'
import type { PeerListing } from '../../director/control/answers.ts'
import { request } from '../../director/control/client.ts'
import { peerId } from './peer-id.ts'
import { type SocketOptions, socketVerbs } from './socket-verbs.ts'
import { table } from './table.ts'

export function declare(command: Command): void {
  const verb = socketVerbs(command)
  verb('list', 'show the peers of this director, and all that are revoked')
    .option('--json', 'print them as one JSON array')
    .action(async ({ json, socket }: SocketOptions & { json?: true }) => {
      const peers = (await request(socket, 'GET', '/peers')) as PeerListing[]
      process.stdout.write(`${json ? JSON.stringify(peers) : renderPeers(peers)}\n`)
    })
  for (const [name, summary, revoked] of [
    ['revoke', 'shut a director out of the whole pool, at once', true],
    ['restore', 'let it in again', false],
  ] as const) {
    verb(name, summary)
      .argument('<peer-id>', 'as `director peer list` shows it', peerId)
      .action(async (id: string, { socket }: SocketOptions) => {
        await request(socket, 'PUT', '/peers', { id, revoked })
      })
  }
}

export function renderPeers(peers: readonly PeerListing[]): string {
  return table(
    ['Peer', 'Address', 'Known by', 'Connected', 'Revoked', 'Peer id'],
    peers.map(({ name, address, knownBy, connected, revoked, id }) => [
      name ?? '-',
      address ?? '-',
      knownBy ?? '-',
      connected ? 'yes' : 'no',
      revoked ? 'yes' : 'no',
      id,
    ]),
  )
}
