/**
 * One director of a simulated pool, from its start to its end: the parts of node/director/director.ts put together in its order, on
 * three simulated threads. What is not here is what a simulation has no use for: libp2p, sockets, level, the control socket.
 */

import { VNET_HEADER_LENGTH } from '../../forwarder/link/link.ts'
import { Checkpoints } from '../../node/director/checkpoint/checkpoints.ts'
import { Admission } from '../../node/director/cluster/admission.ts'
import { KnownStatus, type SaidStatus } from '../../node/director/cluster/known-status.ts'
import { type ReplicationStatus, Replicator } from '../../node/director/cluster/replication/replicator.ts'
import type { Peer, Transport } from '../../node/director/cluster/transport.ts'
import { letIn } from '../../node/director/pool/admissions.ts'
import { Agreement } from '../../node/director/pool/agreement.ts'
import { effectiveService, type ServerConditions } from '../../node/director/pool/effective-services.ts'
import { Membership, type PoolMembers } from '../../node/director/pool/membership.ts'
import { type PoolChange, PoolConfiguration } from '../../node/director/pool/pool-configuration.ts'
import { engineSettings } from '../../node/director/pool/setting-changes.ts'
import { Readiness } from '../../node/director/readiness.ts'
import type { ReignTransport } from '../../node/director/vip/ended-reigns.ts'
import { VipService } from '../../node/director/vip/vip.ts'
import type { VrrpTransport } from '../../node/director/vip/vrrp-transport.ts'
import type { VirtualClock } from '../../node/director/virtual-clock.ts'
import { parseMac } from '../../protocol/packet/bytes.ts'
import { PRIORITY_RESIGN } from '../../protocol/packet/vrrp.ts'
import { createVrrpKey } from '../../protocol/packet/vrrp-trailer.ts'
import { type JoinToken, readJoinToken } from '../../protocol/wire/join-token.ts'
import type { Random } from '../random.ts'
import { speaksLater, withAccent } from '../support/accent.ts'
import { MemoryForwarder } from '../support/memory-forwarder.ts'
import { type Belonging, peerIdOf } from './belonging.ts'
import type { WatchedStore } from './changes.ts'
import { fraction } from './draw.ts'
import type { Election } from './election.ts'
import type { Segment } from './lan.ts'
import type { Networks } from './networks.ts'
import type { Sabotage } from './sabotage.ts'
import { INSIDE, insideAddress, macOf, OUTSIDE, outsideAddress, routesOf, SERVICES, UPLINK } from './site.ts'
import { Thread } from './thread.ts'

export interface DirectorOptions {
  readonly clock: VirtualClock
  readonly networks: Networks
  readonly segments: Readonly<Record<typeof OUTSIDE | typeof INSIDE, Segment>>
  readonly random: Random
  readonly number: number
  readonly name: string
  readonly belonging: Belonging
  readonly store: WatchedStore
  readonly wallClockMs: () => number
  /** What the host's monotonic clock was at the virtual clock's 0. */
  readonly clockOffsetMs: number
  /** By virtual service. */
  readonly priorities: readonly number[]
  readonly election: Election
  readonly announceIntervalMs: number
  /** All virtual services in one sync group. */
  readonly isGrouped: boolean
  /** Advertisements are signed, and not believed otherwise. */
  readonly isAuthenticated: boolean
  /** Of a later version of the formats. */
  readonly isLater: boolean
  readonly sabotage: Sabotage
  /** Changes that others have overridden without knowing of them, one line for each. */
  readonly onOverridden: (overridden: readonly string[]) => void
  readonly note: (text: string) => void
}

export const THREADS = ['main', 'cluster', 'forwarder'] as const
export type ThreadName = (typeof THREADS)[number]

/** Frames that a link holds. */
const SLOTS = 32
const BREATH_MS = 0.02
/** The forwarder's longest wait (forwarder/sys/poll.ts). */
const IDLE_BREATH_MS = 50
/** Often enough for the shortest of simulations to have some. */
const CHECKPOINT_INTERVAL_MS = 2_000
const KEY_FILE = 'site.key'
const everythingIsWell: ServerConditions = { health: () => 'up', loadFactor: () => 1, isLocal: () => false }

export class SimulatedDirector {
  readonly number: number
  readonly name: string
  /** Of a peer. */
  readonly id: string
  readonly address: string
  readonly insideAddress: string
  /** Tells it from an earlier director of the same name. */
  readonly boot: string
  readonly threads: Readonly<Record<ThreadName, Thread>>
  readonly forwarder: MemoryForwarder
  readonly replicator: Replicator
  readonly pool: PoolConfiguration
  readonly #readiness: Readiness
  readonly membership: Membership
  /** Peer ids that it knows to be shut out. */
  revoked: ReadonlySet<string> = new Set()
  readonly vip: VipService
  readonly checkpoints: Checkpoints
  readonly transport: Transport
  /** What it advertises and since when, by vrid; nothing after a resignation. */
  readonly advertised = new Map<number, { readonly priority: number; readonly sinceMs: number }>()
  isAlive = true
  readonly #options: DirectorOptions
  readonly #vrrp: VrrpTransport
  /** As the main thread knows it. */
  readonly #known = new KnownStatus<ReplicationStatus & SaidStatus>(() => this.threads.cluster.now() - this.#pulseMs)
  /** When the cluster thread last breathed. */
  #pulseMs = 0
  #willBreathe = false

  constructor(options: DirectorOptions) {
    const { clock, networks, random, number, name, belonging, clockOffsetMs, sabotage } = options
    this.#options = options
    this.number = number
    this.name = name
    this.id = belonging.id
    this.address = outsideAddress(number)
    this.insideAddress = insideAddress(number)
    this.boot = `${name} ${clock.now()}`
    const [main, cluster, forwarder] = THREADS.map(() => new Thread(clock, clockOffsetMs))
    this.threads = { main, cluster, forwarder }
    const startMs = main.now()
    this.forwarder = new MemoryForwarder({
      links: [
        { name: OUTSIDE, mac: macOf(this.address) },
        { name: INSIDE, mac: macOf(insideAddress(number)) },
      ],
      slots: SLOTS,
      startMs,
      epochMs: options.wallClockMs() - startMs,
      random: () => fraction(random),
    })
    this.forwarder.engine.setRoutes(routesOf(number))
    const { id, poolKeys, token } = belonging
    this.membership = new Membership({ name, id }, belonging.peers)
    const admission = new Admission({
      keys: poolKeys,
      wallClockMs: options.wallClockMs,
      isPeer: (peer) => this.membership.peers.some((each) => each.id === peer),
      admit: (bytes) =>
        new Promise((resolve) => {
          const judged = () => letIn(bytes, this.membership, this.pool.members)
          main.post(() => void judged().then((reason) => cluster.post(() => resolve(reason))))
        }),
      onRefused: (peer, reason) => options.note(`refuses a token of ${peer}: ${reason}`),
    })
    const transport = networks.gossip.join(name, namesOf(belonging.peers), {
      token,
      onToken:
        poolKeys.length > 0
          ? (bytes, from) => new Promise((resolve) => cluster.run(() => resolve(admission.show(bytes, peerIdOf(from)))))
          : undefined,
    })
    this.transport = sabotage.gossip(options.isLater ? withAccent(transport, speaksLater) : transport)
    let doubts = 0
    this.replicator = new Replicator({
      transport: heardBy(cluster, this.transport),
      peers: namesOf(belonging.peers),
      clock: cluster,
      random: () => random.below(2 ** 32),
      outgoing: this.forwarder.outgoing,
      incoming: this.forwarder.incoming,
      source: this.forwarder.reader,
      versionNow: () => this.forwarder.reader.versionNow,
      restore: () =>
        new Promise((resolve) => {
          main.post(() => void this.checkpoints.next().then((records) => cluster.post(() => resolve(records))))
        }),
      wake: () => this.#breatheSoon(),
      onStatus: (status) => {
        const said = { ...status, doubts }
        this.#pulseMs = cluster.now()
        main.post(() => this.#known.take(said))
      },
    })
    const agreement = new Agreement(() => main.now())
    const poolTransport = proxied(this.transport, cluster, main)
    poolTransport.onPeer((peer, connected) => {
      if (!connected) agreement.forget(peer)
    })
    this.pool = new PoolConfiguration({
      store: options.store,
      transport: poolTransport,
      wallClockMs: options.wallClockMs,
      isUnicast: () => () => true,
      onChange: (change) => forwarder.post(() => this.#applyChange(change)),
      onSettings: (settings) => forwarder.post(() => this.forwarder.engine.applySettings(engineSettings(settings))),
      onMarks: (rules) => forwarder.post(() => this.forwarder.engine.marks.replace(rules, [OUTSIDE, INSIDE])),
      poolKeys,
      onMembers: (members) => this.#followMembers(members),
      membership: this.membership,
      onBeside: () => {},
      onCompared: (peer, isSame) => agreement.compared(peer, isSame),
      onToldAll: () => agreement.toldAll(),
      onOverridden: (overridden) => options.onOverridden(sabotage.overridden(overridden)),
      onCorrected: (changes) => options.note(`makes ${changes} changes anew`),
      onStoreFailure: (error) => {
        throw error
      },
    })
    // No servers are checked here.
    this.#readiness = new Readiness({
      records: () => this.#known.current ?? { inSync: false, reason: 'has just started' },
      connectedPeers: () => poolTransport.connectedPeers(),
      configuration: agreement,
      refusedStamps: () => this.pool.refused.stamps,
      isInformed: () => true,
      monotonicMs: () => main.now(),
      onChange: ({ inSync, reason }) => options.note(`${inSync ? 'in sync' : 'not in sync'}: ${reason}`),
    })
    this.checkpoints = new Checkpoints({
      store: options.store,
      source: this.forwarder.reader,
      clock: main,
      instant: () => ({ wallMs: options.wallClockMs(), monotonicMs: main.now(), boot: name }),
      intervalMs: CHECKPOINT_INTERVAL_MS,
      isWhole: () => this.#known.current?.joined ?? false,
      onRead: (report) => options.note(`reads its checkpoint: ${JSON.stringify(report)}`),
      // Its store is closed under it when it is killed.
      onTrouble: () => {},
    })
    this.#vrrp = sabotage.vrrp(this.#watched(networks.vrrp.join(this.address)), this.address, main)
    this.vip = this.#createVip(poolTransport, () => {
      this.#known.doubt('another took over')
      cluster.post(() => {
        doubts++
        this.replicator.doubt()
      })
    })
  }

  /** Rejects only when the simulation itself is wrong. */
  async start(): Promise<void> {
    const { store, segments, announceIntervalMs, belonging } = this.#options
    const { main, forwarder } = this.threads
    for (const [index, link] of this.forwarder.links.entries()) {
      const name = index === 0 ? OUTSIDE : INSIDE
      segments[name].attach(macOf(index === 0 ? this.address : this.insideAddress), (frame) => {
        link.inject(frame)
        this.#breatheSoon()
      })
    }
    forwarder.every(IDLE_BREATH_MS, () => this.#breathe())
    await store.open()
    await this.pool.load()
    const { token } = belonging
    if (token) await this.pool.members.admit(readJoinToken(token, undefined) as JoinToken, token)
    await this.checkpoints.load()
    await this.transport.start()
    this.replicator.start()
    this.checkpoints.start()
    main.every(announceIntervalMs, () => this.pool.announce())
    this.vip.start()
  }

  /** An interface that it tracks has no carrier, or has one again. */
  setUplink(isUp: boolean): void {
    this.threads.main.run(() => this.vip.setLink(UPLINK, isUp ? undefined : 'no carrier'))
  }

  stall(thread: ThreadName): void {
    this.threads[thread].stall()
    if (thread === 'main') this.#options.networks.vrrp.freeze(this.address, true)
  }

  /** @param first whether the main thread finds its timers or its socket first */
  resume(thread: ThreadName, first: 'timers' | 'socket'): void {
    const { networks, clock } = this.#options
    const { stalls } = this.threads[thread]
    const thaws = thread === 'main' && stalls === 1
    if (thaws && first === 'socket') networks.vrrp.freeze(this.address, false)
    this.threads[thread].resume()
    if (thaws && first === 'timers') clock.schedule(0, () => networks.vrrp.freeze(this.address, false))
  }

  /** Hands its addresses over, then ends. @param onEnd called before anything is lost */
  async stop(onEnd: () => void): Promise<void> {
    await this.vip.stop()
    await this.#rest()
    await this.#deliver()
    await this.checkpoints.stop()
    if (!this.isAlive) return
    onEnd()
    this.replicator.stop()
    await this.pool.close()
    await this.kill()
    await this.leave()
  }

  #rest(): Promise<void> {
    return new Promise((resolve) =>
      this.threads.forwarder.run(() => {
        this.forwarder.loop.rest()
        this.#breathe()
        resolve()
      }),
    )
  }

  #deliver(): Promise<void> {
    return new Promise((resolve) => this.threads.cluster.run(() => void this.replicator.deliver().then(resolve)))
  }

  /** Nothing of it is left but its store. Its peers may learn of it later: see leave(). */
  async kill(): Promise<void> {
    const { segments, store } = this.#options
    this.isAlive = false
    for (const thread of Object.values(this.threads)) thread.end()
    segments.outside.detach(macOf(this.address))
    segments.inside.detach(macOf(this.insideAddress))
    this.#vrrp.close()
    await store.close()
  }

  /** Its connections end. */
  async leave(): Promise<void> {
    await this.transport.stop()
  }

  get store(): WatchedStore {
    return this.#options.store
  }

  /** With which it stands for election, by the position of a virtual service. */
  priorityOf(service: number): number {
    return this.#options.priorities[service]
  }

  /** 'active' and so on, of a virtual service by its position. */
  stateOf(service: number): string {
    return this.vip.status[service].state
  }

  #followMembers(members: PoolMembers): void {
    this.membership.setMembers(members)
    this.revoked = members.revoked
    const { peers } = this.membership
    this.threads.cluster.run(() => {
      this.transport.setPeers(peers)
      this.replicator.setPeers(namesOf(peers))
    })
  }

  #createVip(cluster: ReignTransport, onOvertaken: () => void): VipService {
    const { priorities, election, isGrouped, isAuthenticated, wallClockMs, segments, sabotage, note } = this.#options
    const { main, forwarder } = this.threads
    return new VipService(
      {
        vips: SERVICES.map(({ vrid, address, gateway }, index) =>
          sabotage.vip({
            vrid,
            ...election,
            priority: priorities[index],
            virtualMac: false,
            addresses: [address],
            gateway,
            // The fault of one of a sync group is that of all.
            track: { interfaces: isGrouped && index > 0 ? [] : [{ name: UPLINK, weight: 0 }], scripts: [] },
            ...(isGrouped && { syncGroup: 'site' }),
            ...(isAuthenticated && { authentication: { keyFile: KEY_FILE, required: true } }),
          }),
        ),
        outside: OUTSIDE,
        inside: INSIDE,
        keys: new Map([[KEY_FILE, [createVrrpKey(Buffer.alloc(32, 'site'))]]]),
      },
      {
        transports: [this.#vrrp],
        cluster,
        clock: main,
        wallClockMs,
        isInSync: () => sabotage.inSync(this.#readiness.state.inSync),
        onOvertaken,
        note,
        forwarder: {
          mac: (link) => parseMac(macOf(link === OUTSIDE ? this.address : this.insideAddress)),
          setVirtualAddresses: (addresses) =>
            forwarder.post(() => this.forwarder.engine.placeAddresses(addresses, [OUTSIDE, INSIDE])),
          transmit: (link, frame) => forwarder.post(() => segments[link === OUTSIDE ? OUTSIDE : INSIDE].send(frame)),
        },
      },
    )
  }

  #applyChange(change: PoolChange): void {
    const { services } = this.forwarder.engine
    if (change.kind === 'set') services.set(effectiveService(change.service, everythingIsWell))
    else services.remove(change.service)
  }

  #watched(transport: VrrpTransport): VrrpTransport {
    return {
      ...transport,
      send: (message, destination, groupMac) => {
        const [, vrid, priority] = message
        if (priority === PRIORITY_RESIGN) this.advertised.delete(vrid)
        else if (this.advertised.get(vrid)?.priority !== priority)
          this.advertised.set(vrid, { priority, sinceMs: this.#options.clock.now() })
        return transport.send(message, destination, groupMac)
      },
    }
  }

  #breatheSoon(): void {
    if (this.#willBreathe) return
    this.#willBreathe = true
    this.threads.forwarder.schedule(BREATH_MS, () => {
      this.#willBreathe = false
      this.#breathe()
    })
  }

  #breathe(): void {
    const { segments } = this.#options
    const { forwarder, cluster } = this.threads
    const { loop, links, outgoing } = this.forwarder
    while (loop.breathe(forwarder.now()) > 0);
    for (const frame of links[0].take()) segments.outside.send(frame.subarray(VNET_HEADER_LENGTH))
    for (const frame of links[1].take()) segments.inside.send(frame.subarray(VNET_HEADER_LENGTH))
    if (outgoing.length > 0) cluster.post(() => this.replicator.recordsWritten())
  }
}

function namesOf(peers: readonly Peer[]): string[] {
  return peers.map(({ name }) => name)
}

/** The transport as its own thread has it: what arrives waits while the thread stands still. */
function heardBy(thread: Thread, transport: Transport): Transport {
  return {
    self: transport.self,
    counters: transport.counters,
    start: () => transport.start(),
    stop: () => transport.stop(),
    broadcast: (topic, message) => transport.broadcast(topic, message),
    send: (peer, topic, message) => transport.send(peer, topic, message),
    onMessage: (topic, handler) =>
      transport.onMessage(topic, (from, message) => thread.run(() => handler(from, message))),
    onPeer: (handler) => transport.onPeer((peer, connected) => thread.run(() => handler(peer, connected))),
    connectedPeers: () => transport.connectedPeers(),
    setPeers: (peers) => transport.setPeers(peers),
  }
}

/** The same as another thread has it, by messages from and to the first (node/director/cluster/cluster.ts). */
function proxied(
  transport: Transport,
  owner: Thread,
  thread: Thread,
): Pick<Transport, 'self' | 'broadcast' | 'send' | 'onMessage' | 'onPeer' | 'connectedPeers'> {
  const own = heardBy(owner, transport)
  return {
    self: transport.self,
    connectedPeers: () => transport.connectedPeers(),
    broadcast: (topic, message) => owner.post(() => transport.broadcast(topic, message)),
    send: (peer, topic, message) =>
      new Promise((resolve, reject) => {
        owner.post(() => {
          transport.send(peer, topic, message).then(
            () => thread.post(resolve),
            (error: Error) => thread.post(() => reject(error)),
          )
        })
      }),
    onMessage: (topic, handler) => own.onMessage(topic, (from, message) => thread.post(() => handler(from, message))),
    onPeer: (handler) => own.onPeer((peer, connected) => thread.post(() => handler(peer, connected))),
  }
}
