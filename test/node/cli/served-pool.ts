/**
 * A pool's real configuration behind its real control socket, over a store in memory and without a forwarder: traffic and
 * connections are what the test says. For tests of the commands that talk to a director.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import type { ConnectionSnapshot } from '../../../forwarder/forwarder.ts'
import { type ServiceAddress, serverKey, serviceKey } from '../../../forwarder/service.ts'
import type { Director } from '../../../node/cli/vsadm/execute.ts'
import type { DirectorStatus, TrafficStatistics } from '../../../node/director/control/answers.ts'
import { request, requestChanges } from '../../../node/director/control/client.ts'
import { type ControlServerOptions, startControlServer } from '../../../node/director/control/control-server.ts'
import { type ListingSources, listService } from '../../../node/director/control/service-listing.ts'
import { demandService } from '../../../node/director/pool/service-changes.ts'
import { DirectorError } from '../../../protocol/errors.ts'
import { notedDaemons } from '../../support/sync-daemons.ts'
import { PoolOfDirectors, recordingHost } from '../director/pool/pool-of-directors.ts'

export const noTraffic: TrafficStatistics = {
  connections: 0,
  inPackets: 0,
  outPackets: 0,
  inBytes: 0,
  outBytes: 0,
  connectionsPerSecond: 0,
  inPacketsPerSecond: 0,
  outPacketsPerSecond: 0,
  inBytesPerSecond: 0,
  outBytesPerSecond: 0,
}

export interface ServedPool {
  readonly socketPath: string
  readonly control: Director['control']
  readonly change: Director['change']
  /** By the key of a service or of a server; others have had no traffic. */
  readonly traffic: Map<string, TrafficStatistics>
  connections: ConnectionSnapshot[]
  /** What was asked of the director, as `POST /services`. */
  readonly requests: string[]
}

/** Serves until the test ends. */
export async function servePool(
  t: Pick<Test, 'teardown'> & { fail(message: string): unknown },
  status?: DirectorStatus,
  tls?: ControlServerOptions['tls'],
): Promise<ServedPool> {
  const { configuration } = await new PoolOfDirectors(['a']).start('a')
  // Not in the test's own folder: a socket's path has at most 107 bytes.
  const folder = mkdtempSync(join(tmpdir(), 'vsadm-'))
  const socketPath = join(folder, 'control.sock')
  const pool: ServedPool = {
    socketPath,
    traffic: new Map(),
    connections: [],
    requests: [],
    control: (method, path, body) => {
      pool.requests.push(`${method} ${path}`)
      return request(socketPath, method, path, body)
    },
    change: (edits) => {
      pool.requests.push('POST /changes')
      return requestChanges(socketPath, edits)
    },
  }
  const statistics = (key: string) => pool.traffic.get(key) ?? noTraffic
  const sources: ListingSources = {
    conditions: { health: () => 'up', loadFactor: () => 1, isLocal: recordingHost.isLocal },
    load: () => null,
    counters: {
      serverCounters: () => ({ ...noTraffic, activeConnections: 0, inactiveConnections: 0, persistentConnections: 0 }),
    },
    statistics: {
      service: (service: ServiceAddress) => statistics(serviceKey(service)),
      server: (_: ServiceAddress, server: { address: string; port: number }) => statistics(serverKey(server)),
    },
  }
  const server = await startControlServer({
    path: socketPath,
    tls,
    onBug: (error) => t.fail(error.message),
    director: {
      configuration,
      members: configuration.members,
      syncDaemons: (await notedDaemons()).daemons,
      status: () => status as DirectorStatus,
      explain: async () => {
        throw new DirectorError('FORWARDER_FAILED', 'there is no forwarder here')
      },
      services: (view) => configuration.services().map((service) => listService(service, sources, view)),
      service: (address, view) => listService(demandService(configuration.service(address), address), sources, view),
      connections: () => pool.connections,
      followEvents: () => () => {},
      peers: () =>
        [...configuration.members.current().revoked].map((id) => ({
          name: null,
          address: null,
          id,
          knownBy: null,
          connected: false,
          revoked: true,
        })),
      health: () => ({ forwarder: true, cluster: true, vip: true }),
      zero: async (service) => {
        if (service) pool.traffic.delete(serviceKey(service))
        else pool.traffic.clear()
      },
    },
  })
  t.teardown(async () => {
    await server.stop()
    rmSync(folder, { recursive: true })
  })
  return pool
}
