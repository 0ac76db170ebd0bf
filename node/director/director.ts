/**
 * One director, put together: what it is made of, in which order that comes to life, and in which order it ends.
 *
 * Everything that can fail is opened before the first address is asked for, so that a director which cannot run takes nothing
 * over. It ends the other way round: addresses are handed over while the forwarder still forwards.
 */
import { setTimeout as wait } from 'node:timers/promises'
import type { Logger } from 'pino'
import { monotonicMs } from '../../forwarder/clock.ts'
import { startForwarder } from '../../forwarder/forwarder-thread.ts'
import { DirectorError } from '../../protocol/errors.ts'
import { type Endpoint, parseEndpoint } from '../../protocol/packet/ipv6-address.ts'
import { parsePoolKey } from '../../protocol/pool-key.ts'
import { readAgentKeys } from '../agent/key-file.ts'
import { putAmongOthers, putFirst } from '../processor-share.ts'
import { openCheckpoints } from './checkpoint/open-checkpoints.ts'
import { systemClock } from './clock.ts'
import { readOwnToken } from './cluster/admission.ts'
import { Cluster } from './cluster/cluster.ts'
import { peerIdOf } from './cluster/identity.ts'
import { type DirectorConfig, demandOthers, usesIPv6 } from './config.ts'
import { startControlServer } from './control/control-server.ts'
import { ControlTls } from './control/control-tls.ts'
import { DirectorView } from './director-view.ts'
import { silenceLimit } from './forwarder-watch.ts'
import { Health } from './health/health.ts'
import { readHostAddresses } from './host/host-addresses.ts'
import { lookForInterference, refuseInterference } from './host/interference.ts'
import { InterferenceWatch } from './host/interference-watch.ts'
import { watchLinks } from './host/link-watch.ts'
import { LocalServers } from './host/local-servers.ts'
import { mtusOf, readHostNetwork, readSettledHostNetwork, smallestMtuOf } from './host/network.ts'
import { RouteFollower } from './host/route-follower.ts'
import { IDENTITY_KEY, loadIdentity } from './identity.ts'
import { createAskAgent } from './load/agent-check.ts'
import { AgentChecks } from './load/agent-checks.ts'
import { ReportListener } from './load/report-listener.ts'
import { giveUpOnFaults } from './own-faults.ts'
import { demandAcquaintance, letIn } from './pool/admissions.ts'
import { Agreement } from './pool/agreement.ts'
import { ConflictLog } from './pool/conflict-log.ts'
import type { ServerConditions } from './pool/effective-services.ts'
import { Membership, type PoolMembers } from './pool/membership.ts'
import { PoolConfiguration } from './pool/pool-configuration.ts'
import { engineSettings } from './pool/setting-changes.ts'
import { Readiness } from './readiness.ts'
import { ServiceFeed } from './service-feed.ts'
import { openStore } from './store/salvage.ts'
import { SyncDaemons } from './sync-daemon/sync-daemons.ts'
import { VipService } from './vip/vip.ts'
import { readVrrpKeys } from './vip/vrrp-key-files.ts'
import { openVrrpTransports } from './vip/vrrp-transports.ts'

/** The pool's configuration is compared with the peers' this often. */
const ANNOUNCE_INTERVAL_MS = 5_000
/** The defences decide once a second. */
const MEMORY_INTERVAL_MS = 1_000
const PAGE_BYTES = 4096
/** What the first look at links and addresses may hold a start up: after that VRRP begins, and is told of them later. */
const LONGEST_LOOK_MS = 5_000
/** What a stop waits for the forwarder: one that hangs keeps nothing else from ending in order. */
const LONGEST_REST_MS = 1_000
/** The same for the cluster thread, which ends its own wait before that if it does not hang. */
const LONGEST_DELIVERY_MS = 1_500

export class Director {
  readonly #config: DirectorConfig
  readonly #log: Logger
  /** What has been started, to be ended in reverse. */
  readonly #started: (() => Promise<void> | void)[] = []
  readonly #onFatal: (error: Error) => void
  #reports: ReportListener | undefined
  #controlTls: ControlTls | undefined
  #vip: VipService | undefined

  /** @param onFatal it cannot go on: a part that cannot be done without has died or was replaced. The addresses are given up */
  constructor(config: DirectorConfig, log: Logger, onFatal: (error: Error) => void) {
    this.#config = config
    this.#log = log
    this.#onFatal = onFatal
  }

  /**
   * @param calledOff aborted before it has resolved: it asks for no address, and nothing is left running when it resolves
   * @throws DirectorError; nothing is left running then
   */
  async start(calledOff: AbortSignal): Promise<void> {
    try {
      await this.#start(calledOff)
    } catch (error) {
      await this.stop()
      if (error !== calledOff.reason) throw error
    }
  }

  /** Hands the addresses over, then ends everything. */
  async stop(): Promise<void> {
    for (let end = this.#started.pop(); end !== undefined; end = this.#started.pop()) {
      try {
        await end()
      } catch (error) {
        this.#log.error({ error }, 'a part of the director did not end cleanly')
      }
    }
  }

  /**
   * Reads again what may be another while it runs: the agents' keys, the directors', and who may control it from elsewhere, for which
   * the configuration is read too. What is not right changes nothing.
   */
  reload(readConfig: () => DirectorConfig): void {
    const { agents, vips } = this.#config
    const controlTls = this.#controlTls
    if (agents) {
      void this.#readAgain("the agents' keys", () => {
        const keys = readAgentKeys(agents.keyFile)
        this.#reports?.setKeys(keys)
        return { keys: keys.length }
      })
    }
    if (vips.some(({ authentication }) => authentication)) {
      void this.#readAgain("the directors' keys", () => {
        const keys = readVrrpKeys(vips)
        this.#vip?.setKeys(keys)
        return { keys: [...keys.values()].flat().length }
      })
    }
    if (controlTls) {
      void this.#readAgain('the files of controlTls', async () => {
        const config = readConfig().controlTls
        if (!config) throw new DirectorError('CONFIG_INVALID', 'controlTls: is no longer there: a restart ends it')
        await controlTls.reload(config)
        return { allow: config.allow }
      })
    }
  }

  /** @param read returns what there is to say of it */
  async #readAgain(what: string, read: () => object | Promise<object>): Promise<void> {
    try {
      this.#log.info(await read(), `has read ${what} again`)
    } catch (error) {
      this.#log.error({ error }, `goes on with ${what} that it has`)
    }
  }

  async #start(calledOff: AbortSignal): Promise<void> {
    const config = this.#config
    const log = this.#log
    const begun = (end: () => Promise<void> | void) => {
      this.#started.push(end)
      calledOff.throwIfAborted()
    }
    const { outside, inside = outside } = config.interfaces
    const interfaces = [...new Set([outside, inside])]

    const controlTls =
      config.controlTls &&
      new ControlTls(config.controlTls, {
        onRefused: (address, reason) => log.warn({ address, reason }, 'a client that controlTls does not let in'),
        onFailure: (error) =>
          log.error({ error }, 'nobody can come in by controlTls until the director is started again'),
      })
    this.#controlTls = controlTls

    const store = await openStore(config.store, {
      mustHave: IDENTITY_KEY,
      onSalvage: (salvage) =>
        log.warn(salvage, 'the store was damaged: begins with what is sound of it, and takes the rest from the peers'),
      onTrouble: (error) => {
        if (error) log.error({ error }, 'changes of the configuration are refused until the store takes them')
        else log.info('the store takes changes again')
      },
    })
    begun(() => store.close())
    const privateKey = await loadIdentity(store)
    const self = { name: config.name, id: peerIdOf(privateKey) }
    demandOthers(config, self.id)
    const poolKeys = config.cluster.poolKeys.flatMap((text) => parsePoolKey(text) ?? [])
    const own = config.cluster.token === undefined ? undefined : readOwnToken(config.cluster.token, self, poolKeys)

    const keys = readVrrpKeys(config.vips)
    const network = await (usesIPv6(config) ? readSettledHostNetwork : readHostNetwork)(interfaces)
    const [outsideFacts, insideFacts = outsideFacts] = network.interfaces
    const transports = await openVrrpTransports(config.vips, outsideFacts, insideFacts, (message) => log.error(message))
    begun(() => {
      for (const transport of transports) transport.close()
    })
    const addresses = config.vips.flatMap((vip) => (vip.gateway ? [...vip.addresses, vip.gateway] : vip.addresses))
    const plan = { interfaces, addresses }
    await refuseInterference(plan)
    const interference = new InterferenceWatch({
      look: () => lookForInterference(plan),
      onAppeared: (interference) => log.error({ interference }, "the host's own network stack interferes"),
      onGone: (interference) => log.info({ interference }, 'interferes no longer'),
      warn: (message) => log.error(message),
    })
    begun(() => interference.stop())

    const forwarder = await startForwarder({ interfaces, connections: config.connections })
    begun(() => forwarder.stop())
    forwarder.setRoutes(network.routes, mtusOf(network))
    const localServers = new LocalServers({
      forwarder,
      mtu: smallestMtuOf(network),
      warn: (error, message) => log.warn({ error }, message),
    })
    begun(() => localServers.close())
    const routes = new RouteFollower({
      forwarder,
      read: () => readHostNetwork(interfaces),
      onRead: (now) => {
        if (localServers.refresh()) feed.refreshAll()
        void localServers.setMtu(smallestMtuOf(now))
        void localServers.restore()
      },
      warn: (error, message) => log.warn({ error }, message),
    })
    begun(() => routes.close())

    const cluster = new Cluster({
      name: config.name,
      privateKey,
      listen: config.cluster.listen,
      peers: config.cluster.peers,
      poolKeys: config.cluster.poolKeys,
      token: own?.bytes,
      outgoing: forwarder.outgoing.shared,
      incoming: forwarder.incoming.shared,
      table: forwarder.tableMemory,
      directory: forwarder.directoryMemory,
      wakeDescriptor: forwarder.wakeDescriptor,
    })

    const reports = this.#agentReports((address) => feed.refreshAt(address, 'load'))
    this.#reports = reports
    const health = new Health({
      health: config.health,
      transport: cluster,
      onChange: (server, verdict, before) => {
        // One of which nothing was known has been used already, and to find it well is no news.
        const isNews = verdict === 'down' || before === 'down'
        log[isNews ? 'info' : 'debug']({ server, verdict }, 'health of a real server')
        if (isNews) feed.refreshAt((parseEndpoint(server) as Endpoint).address, 'health')
      },
      onOpinion: (server, state, reason) => log.debug({ server, state, reason }, 'own opinion of a real server'),
      warn: (message) => log.warn(message),
    })
    const agentChecks =
      config.agentCheck &&
      new AgentChecks({
        intervalMs: config.agentCheck.intervalMs,
        ask: createAskAgent(config.agentCheck),
        onChange: (server, said, isNews) => {
          log[isNews ? 'info' : 'debug']({ server, said }, 'what the agent of a real server says')
          feed.refreshAt(server, isNews ? 'health' : 'load')
        },
        monotonicMs,
        random: Math.random,
      })
    const conditions: ServerConditions = {
      health: (server) => health.verdict(server),
      loadFactor: (address) => reports?.get(address).factor ?? 1,
      ...(agentChecks && { agent: (address) => agentChecks.get(address) }),
      isLocal: (address) => localServers.isLocal(address),
    }
    const feed = new ServiceFeed({ forwarder, health, agentChecks, localServers, conditions })
    this.#started.push(() => feed.stop())
    let view: DirectorView | undefined
    const membership = new Membership(self, config.cluster.peers)
    const agreement = new Agreement(monotonicMs)
    cluster.onPeer((peer, connected) => {
      if (!connected) agreement.forget(peer)
    })
    const conflicts = new ConflictLog((what, message) => log.warn(what, message), monotonicMs)
    const pool = new PoolConfiguration({
      store,
      transport: cluster,
      wallClockMs: Date.now,
      isUnicast: () => readHostAddresses().isUnicast,
      onChange: (change) => {
        feed.apply(change)
        view?.changed(change)
      },
      onSettings: (settings) => forwarder.setSettings(engineSettings(settings)),
      onMarks: (rules) => forwarder.setMarks(rules),
      poolKeys,
      onMembers: (members) => this.#followMembers(cluster, health, membership, members),
      membership,
      onOverridden: (changes, by) => conflicts.overridden(changes, by),
      onBeside: (changes, by) => conflicts.beside(changes, by),
      onStoreFailure: (error) => {
        // The store's own trouble is told of once, above.
        const level = error instanceof DirectorError ? 'debug' : 'error'
        log[level]({ error }, 'what a peer told of the configuration is in force, and not stored')
      },
      onCorrected: (changes) =>
        log.warn(
          { changes },
          'the clock was ahead when these changes were made here, and the other directors refused them: they are made anew',
        ),
      onCompared: (peer, isSame) => agreement.compared(peer, isSame),
      onToldAll: () => agreement.toldAll(),
    })
    const readiness = new Readiness({
      records: () => cluster.status(),
      connectedPeers: () => cluster.connectedPeers(),
      configuration: agreement,
      refusedStamps: () => pool.refused.stamps,
      isInformed: (peers) => health.isInformed(peers),
      monotonicMs,
      onChange: ({ inSync, reason }) =>
        inSync ? log.info('in sync with the pool') : log.warn({ reason }, 'not in sync with the pool'),
    })
    await pool.load()
    begun(() => pool.close())
    if (own) demandAcquaintance(own.token, membership)
    // So that newcomers hear of this director, too, whoever of the others had it in its configuration.
    if (own && own.token.expiresMs > Date.now()) {
      await pool.members
        .admit(own.token, own.bytes)
        .catch((error: Error) => log.warn({ error }, 'the own token cannot be told to the pool'))
    } else if (own) log.warn('cluster.token is over: who does not know this director by now will not let it in')
    cluster.onNewcomers({
      judge: (token) => letIn(token, membership, pool.members),
      refused: (peerId, reason) => log.warn({ peerId, reason }, 'somebody has shown a token that does not let in'),
    })

    const vip = new VipService(
      { vips: config.vips, outside, inside, keys },
      {
        transports,
        cluster,
        forwarder,
        isInSync: () => readiness.state.inSync,
        onOvertaken: () => cluster.doubt('another took over while this director stood still'),
        note: (message) => log.info(message),
      },
    )
    this.#vip = vip
    const syncDaemons = new SyncDaemons({ store, cluster })
    const checkpoints = await openCheckpoints({ store, forwarder, cluster, log, ...config.checkpoint })
    view = new DirectorView({
      config,
      cluster,
      membership,
      forwarder,
      pool,
      vip,
      transports,
      interference,
      syncDaemons,
      checkpoints,
      conditions,
      health,
      reports,
      controlTls,
      readiness,
      agreement,
    })
    begun(() => view?.stop())
    const control = await startControlServer({
      path: config.control,
      tls: controlTls,
      director: view,
      onBug: (error) => log.error({ error }, 'a request on the control socket met a bug'),
    })
    begun(() => control.stop())
    cluster.onSync(() => readiness.state)
    await cluster.start()
    begun(() => cluster.stop())
    checkpoints?.start()
    begun(() => checkpoints?.stop())
    await syncDaemons.resume((error, daemon) =>
      log.error({ error, daemon }, 'a sync daemon could not be started again'),
    )
    // The last that can fail: from here on the network is listened to.
    await reports?.start()
    begun(() => reports?.stop())
    health.start()
    begun(() => health.stop())
    agentChecks?.start()
    begun(() => agentChecks?.stop())
    let refusedBefore = 0
    const announcing = setInterval(() => {
      pool.announce()
      const refused = Object.values(pool.refused).reduce((sum, entries) => sum + entries, 0)
      if (refused > refusedBefore) {
        log.warn(
          { refused: pool.refused },
          'peers tell of configuration that is not taken: see docs/commands/status.md',
        )
      }
      refusedBefore = refused
    }, ANNOUNCE_INTERVAL_MS)
    begun(() => clearInterval(announcing))

    // Sent whatever the settings are, so that a defence that is set to work knows.
    const tellMemory = () => forwarder.setAvailableMemory(Math.floor(process.availableMemory() / PAGE_BYTES))
    const tellingMemory = setInterval(tellMemory, MEMORY_INTERVAL_MS)
    begun(() => clearInterval(tellingMemory))

    const faults = giveUpOnFaults({
      forwarder,
      cluster,
      vip,
      sockets: transports,
      health,
      log,
      interfaces,
      silenceLimitMs: silenceLimit(config.vips.map(({ advertisementIntervalMs }) => advertisementIntervalMs)),
      clock: systemClock,
      onFatal: this.#onFatal,
    })
    begun(() => faults.stop())
    const spokenFrom = transports.map(({ address }) => ({ name: outside, address }))
    const tracked = config.vips.flatMap(({ track }) => track?.interfaces.map(({ name }) => name) ?? [])
    const used = network.interfaces.map(({ name, index, mac }) => ({ name, identity: { index, mac } }))
    const others = [...new Set(tracked)].filter((name) => !interfaces.includes(name)).map((name) => ({ name }))
    const links = watchLinks([...used, ...others, ...spokenFrom], {
      ...faults.links,
      onActivity: () => {
        routes.mayHaveChanged()
        interference.mayHaveChanged()
      },
      warn: (message) => log.error(message),
    })
    begun(() => links.close())
    // A director whose cable is out hears nobody, and would be active until that is known.
    await atMost(LONGEST_LOOK_MS, links.known)
    calledOff.throwIfAborted()
    // So far nobody waits for this director, and others that run on this host should not wait for its start.
    const refusal = putFirst()
    if (refusal !== undefined)
      log.warn({ refusal }, 'runs with ordinary priority: a busy host may look like a failed director')
    vip.start()
    begun(async () => {
      await vip.stop(forwarder.isRunning)
      // What still comes here would come to a successor that has not heard of it.
      await atMost(LONGEST_REST_MS, forwarder.rest())
      await atMost(LONGEST_DELIVERY_MS, cluster.deliver())
      // What is left to do is to tidy up. Not behind everybody: on a busy host that would never end.
      putAmongOthers(process.pid)
    })
    log.info({ peerId: cluster.peerId, startedMs: Math.round(monotonicMs()) }, 'director runs')
  }

  #followMembers(cluster: Cluster, health: Health, membership: Membership, members: PoolMembers): void {
    const before = membership.peers
    membership.setMembers(members)
    const { peers } = membership
    cluster.setPeers(peers)
    for (const peer of peers) if (!before.some(({ id }) => id === peer.id)) this.#log.info({ peer }, 'has a new peer')
    for (const peer of before) {
      if (peers.some(({ id }) => id === peer.id)) continue
      this.#log.warn({ peer }, 'is no peer any more')
      void health.forget(peer.name)
    }
    if (members.revoked.has(cluster.peerId))
      this.#log.error('this director is revoked: the others do not hear it any more')
  }

  #agentReports(onChange: (address: string) => void): ReportListener | undefined {
    const { agents } = this.#config
    return (
      agents &&
      new ReportListener({
        listen: agents.listen,
        keys: readAgentKeys(agents.keyFile),
        onChange: (address, factor) => {
          this.#log.debug({ address, factor }, 'load factor of a real server')
          onChange(address)
        },
      })
    )
  }
}

/** Waits for something, and no longer than so. */
async function atMost(ms: number, something: Promise<unknown>): Promise<void> {
  await Promise.race([something, wait(ms, undefined, { ref: false })])
}
