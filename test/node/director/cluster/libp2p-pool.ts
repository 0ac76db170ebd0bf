/** Directors with identities and addresses on the loopback interface. */
import { createServer } from 'node:net'
import { createIdentity, peerIdOf } from '../../../../node/director/cluster/identity.ts'
import type { Libp2pTransportOptions } from '../../../../node/director/cluster/libp2p-transport.ts'
import type { Peer } from '../../../../node/director/cluster/transport.ts'
import { formatEndpoint } from '../../../../protocol/packet/ipv6-address.ts'

export interface Member extends Peer {
  readonly privateKey: Uint8Array
}

export async function createMembers(names: readonly string[], host = '127.0.0.1'): Promise<Map<string, Member>> {
  const members = new Map<string, Member>()
  for (const name of names) {
    const privateKey = createIdentity()
    members.set(name, {
      name,
      privateKey,
      id: peerIdOf(privateKey),
      address: formatEndpoint(host, await freePort(host)),
    })
  }
  return members
}

export function optionsOf(
  members: ReadonlyMap<string, Member>,
  name: string,
  peers: readonly string[] = [...members.keys()].filter((other) => other !== name),
): Libp2pTransportOptions {
  const { privateKey, address } = members.get(name) as Member
  return { name, privateKey, listen: address, peers: peers.map((peer) => members.get(peer) as Member) }
}

function freePort(host: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer().once('error', reject)
    server.listen(0, host, () => {
      const { port } = server.address() as { port: number }
      server.close(() => resolve(port))
    })
  })
}
