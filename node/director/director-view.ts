/** The director as its control socket shows it: the parts' facts gathered, and their counters made into statistics. */

import { monotonicMs } from '../../forwarder/clock.ts'
import type { Explanation, Question } from '../../forwarder/engine/explain.ts'
import type { ConnectionSnapshot, Forwarder } from '../../forwarder/forwarder.ts'
import type { ServiceAddress } from '../../forwarder/service.ts'
import packageFile from '../../package.json' with { type: 'json' }
import type { Checkpoints } from './checkpoint/checkpoints.ts'
import type { Cluster } from './cluster/cluster.ts'
import type { DirectorConfig } from './config.ts'
import type { DirectorEvent, DirectorStatus, HealthStatus, PeerListing, ServiceListing } from './control/answers.ts'
import type { CounterView } from './control/api.ts'
import type { ControlTls } from './control/control-tls.ts'
import type { ControlledDirector } from './control/controlled-director.ts'
import { ESTIMATION_INTERVAL_MS } from './control/rate-estimator.ts'
import { listService } from './control/service-listing.ts'
import { TrafficStatisticsBook } from './control/statistics.ts'
import type { Health } from './health/health.ts'
import type { InterferenceWatch } from './host/interference-watch.ts'
import type { ReportListener } from './load/report-listener.ts'
import type { Agreement } from './pool/agreement.ts'
import type { ServerConditions } from './pool/effective-services.ts'
import type { MemberEntries } from './pool/member-entries.ts'
import type { Membership } from './pool/membership.ts'
import type { PoolChange, PoolConfiguration } from './pool/pool-configuration.ts'
import type { PoolService } from './pool/pool-entry.ts'
import { demandService } from './pool/service-changes.ts'
import { engineSettings } from './pool/setting-changes.ts'
import type { Readiness } from './readiness.ts'
import type { SyncDaemons } from './sync-daemon/sync-daemons.ts'
import type { VipService } from './vip/vip.ts'
import { followVips } from './vip/vip-events.ts'
import type { VrrpSocket } from './vip/vrrp-socket.ts'

export interface DirectorViewSources {
  readonly config: DirectorConfig
  readonly cluster: Cluster
  readonly membership: Membership
  readonly forwarder: Forwarder
  readonly pool: PoolConfiguration
  readonly vip: VipService
  readonly transports: readonly Pick<VrrpSocket, 'status'>[]
  readonly interference: Pick<InterferenceWatch, 'found'>
  readonly syncDaemons: SyncDaemons
  /** Undefined: there are to be none. */
  readonly checkpoints: Pick<Checkpoints, 'last'> | undefined
  readonly conditions: ServerConditions
  readonly health: Pick<Health, 'unreadableMessages'>
  /** Undefined: no agents are listened to. */
  readonly reports: Pick<ReportListener, 'get' | 'statistics'> | undefined
  /** Undefined: there is no control over TLS. */
  readonly controlTls: Pick<ControlTls, 'refused'> | undefined
  readonly readiness: Pick<Readiness, 'state'>
  readonly agreement: Pick<Agreement, 'differsMs'>
}

export class DirectorView implements ControlledDirector {
  readonly configuration: PoolConfiguration
  readonly members: MemberEntries
  readonly syncDaemons: SyncDaemons
  readonly #sources: DirectorViewSources
  readonly #statistics: TrafficStatisticsBook
  readonly #startedMs = monotonicMs()
  readonly #estimating: NodeJS.Timeout

  constructor(sources: DirectorViewSources) {
    this.#sources = sources
    this.configuration = sources.pool
    this.members = sources.pool.members
    this.syncDaemons = sources.syncDaemons
    this.#statistics = new TrafficStatisticsBook(sources.forwarder)
    this.#estimating = setInterval(() => {
      if (engineSettings(sources.pool.settings()).runEstimation) void this.#statistics.tick()
    }, ESTIMATION_INTERVAL_MS)
    for (const service of sources.pool.services()) this.#statistics.setService(service)
  }

  stop(): void {
    clearInterval(this.#estimating)
  }

  /** Follows the pool's configuration. The forwarder must have been told before. */
  changed(change: PoolChange): void {
    if (change.kind === 'set') this.#statistics.setService(change.service)
    else this.#statistics.removeService(change.service)
  }

  status(): Omit<DirectorStatus, 'services'> {
    const {
      config,
      cluster,
      forwarder,
      pool,
      vip,
      transports,
      interference,
      checkpoints,
      reports,
      controlTls,
      health,
      readiness,
      agreement,
    } = this.#sources
    const { peers, counters } = cluster.status()
    const { inSync, reason } = readiness.state
    const { refusedStrangers, failedHandshakes, droppedMessages, ...troubles } = cluster.counters
    return {
      name: config.name,
      version: packageFile.version,
      peerId: cluster.peerId,
      uptimeMs: Math.round(monotonicMs() - this.#startedMs),
      inSync,
      syncReason: reason,
      vips: vip.status,
      peers: peers.map((peer) => ({ ...peer, configurationDiffersMs: agreement.differsMs(peer.name) ?? null })),
      connections: { used: forwarder.connectionCount, capacity: config.connections },
      frames: forwarder.frames,
      checkpoint: checkpoints?.last ?? null,
      links: forwarder.linkStatistics(),
      defences: forwarder.defences,
      interference: [...interference.found],
      vrrpSockets: transports.map(({ status }) => status),
      refusedAdvertisements: { ...vip.refusals },
      refusedEntries: { ...pool.refused },
      refusedReports: { ...reports?.statistics.refused },
      refusedClients: controlTls?.refused ?? 0,
      refusedStrangers,
      failedHandshakes,
      droppedMessages,
      peerTroubles: { ...troubles, unreadableOpinions: health.unreadableMessages },
      refusedTokens: { ...cluster.refusedTokens },
      replication: counters,
      drops: forwarder.drops,
    }
  }

  peers(): PeerListing[] {
    const { cluster, membership } = this.#sources
    const names = cluster.connectedPeers()
    const connected = new Set(membership.peers.filter(({ name }) => names.includes(name)).map(({ id }) => id))
    return membership.known().map(({ isRevoked: revoked, ...peer }) => ({
      ...peer,
      connected: connected.has(peer.id),
      revoked,
    }))
  }

  /** The pool may change between two of them. */
  *services(view: CounterView): Generator<ServiceListing> {
    const { pool } = this.#sources
    for (const address of pool.services()) {
      const service = pool.service(address)
      if (service) yield this.#list(service, view)
    }
  }

  service(address: ServiceAddress, view: CounterView): ServiceListing {
    return this.#list(demandService(this.#sources.pool.service(address), address), view)
  }

  #list(service: PoolService, view: CounterView): ServiceListing {
    const { forwarder, conditions, reports } = this.#sources
    const load = (address: string) => reports?.get(address).load ?? null
    return listService(service, { conditions, load, counters: forwarder, statistics: this.#statistics }, view)
  }

  connections(clientPort?: number): Iterable<ConnectionSnapshot> {
    return this.#sources.forwarder.connections(clientPort)
  }

  zero(service?: ServiceAddress): Promise<void> {
    return this.#statistics.zero(service)
  }

  followEvents(handler: (event: DirectorEvent) => void): () => void {
    return followVips(this.#sources.vip, Date.now, handler)
  }

  explain(question: Question): Promise<Explanation> {
    return this.#sources.forwarder.explain(question)
  }

  health(): HealthStatus {
    const { forwarder, cluster, vip } = this.#sources
    const isInFault = vip.status.some(({ state }) => state === 'fault')
    return { forwarder: forwarder.isRunning, cluster: cluster.isRunning, vip: !isInFault }
  }
}
