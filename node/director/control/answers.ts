/** What a director answers on its control socket (api.ts says to what), in JSON. */
import type { DefenceFacts } from '../../../forwarder/defence-facts.ts'
import type { ForwardingMethod, MarkRule, ServiceProtocol } from '../../../forwarder/service.ts'
import type { SyncDaemon } from '../sync-daemon/sync-daemon.ts'
import type { TunnelInput, WholeService } from './api.ts'

/** The pool's configuration, whole: what `director config show` prints. */
export interface PoolDocument {
  revision: string
  services: WholeService[]
  /** Those that somebody has set. */
  settings: Record<string, number>
  marks: MarkRule[]
}

/** What a document of changes would make of the configuration. */
export interface ChangePreview {
  /** Which it would change. */
  revision: string
  /** One line for each difference; none: nothing. */
  difference: string[]
}

/** A change that this director made or heard of. */
export interface RevisionListing {
  revision: string
  /** What it changed; null: this is what there was before the oldest change that is remembered. */
  change: {
    /** Of the director that made it, milliseconds since 1970. */
    madeMs: number
    director: string
    summary: string
    /** Changes that were in force here until then, of which whoever made this one did not know. */
    overridden: string[]
    /** Changes to other things that were made at the same time: neither of the directors knew of the other's, and all are in force. */
    beside: string[]
  } | null
}

/** Packets and bytes since the last zero; rates per second as IPVS estimates them (net/netfilter/ipvs/ip_vs_est.c). */
export interface TrafficStatistics {
  connections: number
  inPackets: number
  outPackets: number
  inBytes: number
  outBytes: number
  connectionsPerSecond: number
  inPacketsPerSecond: number
  outPacketsPerSecond: number
  inBytesPerSecond: number
  outBytesPerSecond: number
}

export interface ServerListing {
  address: string
  port: number
  method: ForwardingMethod
  /** As configured. */
  weight: number
  /** After health and load; what the scheduler works with. */
  effectiveWeight: number
  upperThreshold: number
  lowerThreshold: number
  /** Of method tun. */
  tunnel?: TunnelInput
  /** It is this director itself, whatever the method says. */
  isLocal: boolean
  activeConnections: number
  inactiveConnections: number
  /** Templates of clients that persistence has given to it. */
  persistentConnections: number
  health: 'up' | 'down' | 'unknown'
  /** From the agent, 0 to 1; null: no agent speaks for this server. */
  load: number | null
  loadFactor: number
  /** What its HAProxy agent has said; null: nothing, or nobody asks. */
  agentCheck: AgentCheckListing | null
  /** null: not asked for. */
  statistics: TrafficStatistics | null
}

export interface AgentCheckListing {
  /** Of the configured weight. */
  weightPercent: number | null
  maxConnections: number | null
  administration: 'ready' | 'drain' | 'maint'
  isDown: boolean
  description: string
}

export interface ServiceListing {
  protocol: ServiceProtocol
  address: string
  port: number
  mark?: number
  scheduler: string
  schedulerFlags: string[]
  persistence?: { timeoutS: number; netmask: string }
  persistenceEngine?: string
  onePacket: boolean
  mss?: 'clamp'
  sync?: 'confirmed' | 'confirmed-only'
  /** null: not asked for. */
  statistics: TrafficStatistics | null
  /** Oldest first. */
  servers: ServerListing[]
}

export interface ConnectionListing {
  /** Lower case; "ip" of a template for a firewall mark. */
  protocol: string
  state: string
  /** Milliseconds until it expires. */
  expiresMs: number
  /** "10.0.0.1:80" or "[2001:db8::1]:80". A template for a firewall mark has the mark as its virtual address. */
  client: string
  virtual: string
  server: string
  /** Remembers a client's server and is no connection itself. */
  isTemplate?: boolean
  persistenceEngine?: { name: string; data: string }
}

/** Whether each part of the director does its work; it is well when all do. */
export interface HealthStatus {
  /** The forwarder's thread lives. */
  forwarder: boolean
  /** The cluster's thread lives. */
  cluster: boolean
  /** No group of virtual addresses is in fault. */
  vip: boolean
}

export interface PeerListing {
  /** Null: it is revoked, and nothing else is known of it here. */
  name: string | null
  address: string | null
  id: string
  /** Whether it is in this director's configuration, or has shown a token. */
  knownBy: 'configuration' | 'token' | null
  connected: boolean
  revoked: boolean
}

/** How far this director and a peer have each other's connections. */
export interface PeerRecords {
  name: string
  connected: boolean
  /** Connection records that the peer has sent and we have not applied. */
  recordsBehind: number
  /** Age of the oldest of those, milliseconds; 0 when there is none. */
  behindMs: number
  /** Our records that the peer has not confirmed. */
  peerRecordsBehind: number
  peerBehindMs: number
  /** Parts of 2048 of the connection table that differed from ours in the last comparison as they had before; null: there was none yet. */
  rangesDifferent: number | null
  /** Of the formats (docs/protocol.md, Versions), in which the peer last spoke; null: it has not spoken. */
  formatVersion: number | null
  /** Messages of the peer in a version that is not read here, since the start. */
  unreadableMessages: number
}

export interface PeerStatus extends PeerRecords {
  /** For how long its digest of the configuration has been another than ours, milliseconds; 0: they are the same; null: it has told none. */
  configurationDiffersMs: number | null
}

/** An interface or a script that a group's priority depends on. */
export interface TrackedStatus {
  /** The interface's name or the program's path. */
  name: string
  /** Above 0: added while it is up. Below: taken away while it is down. 0: a fault while it is not up. */
  weight: number
  state: 'up' | 'down' | 'unknown'
  reason: string | null
}

export interface VipStatus {
  vrid: number
  state: 'init' | 'backup' | 'active' | 'fault'
  /** As configured. */
  priority: number
  /** With which it stands for election now: with what is tracked, and 1 while it is out of sync. */
  effectivePriority: number
  tracked: TrackedStatus[]
  /** Name of the sync group that it moves with; null: it moves alone. */
  syncGroup: string | null
  addresses: string[]
  gateway: string | null
  /** Virtual router MAC that clients and real servers see; null: that of the holder's interface. */
  virtualMac: string | null
  advertisementIntervalMs: number
  /** Address of the director we believe holds it; null: none heard. */
  holder: string | null
  /** CLOCK_MONOTONIC, milliseconds, when this director last became active; null: it is not. */
  activeSinceMonotonicMs: number | null
  /** Why a better director does not preempt; null: nothing holds it back. */
  waiting: string | null
}

/** Of the socket that a director speaks VRRP by, one a family: what it could not do, or threw away, since the start. */
export interface VrrpSocketStatus {
  /** From which advertisements come. */
  address: string
  sendErrors: number
  receiveErrors: number
  /** Without a sound IP header of VRRP's protocol. */
  unsoundPackets: number
  /** Of sending or receiving, the last one's text; null: there was none. */
  lastError: string | null
}

/** A line of `GET /events`. More kinds may come: leave out what is not known. */
export interface DirectorEvent {
  /** A group of virtual addresses is another than before; at first, each as it is. */
  event: 'vip_status'
  /** Wall clock, milliseconds since 1970. */
  timeMs: number
  vip: VipStatus
}

export interface DirectorStatus {
  name: string
  version: string
  peerId: string
  uptimeMs: number
  inSync: boolean
  /** What it waits for while it is not in sync. */
  syncReason: string
  vips: VipStatus[]
  peers: PeerStatus[]
  services: ServiceListing[]
  connections: { used: number; capacity: number }
  /** That wait for an address to be resolved, for missing fragments or for a confirmation. */
  frames: { kept: number; capacity: number }
  /** What of the connections is in the store (docs/operations.md, "Restarting in place"); null: nothing. */
  checkpoint: { records: number; ageMs: number } | null
  links: { name: string; receivedFrames: number; transmittedFrames: number; transmitErrors: number; overruns: number }[]
  defences: DefenceFacts
  /** Settings of the host by which its own network stack interferes, each with what it does and the command that mends it. */
  interference: string[]
  vrrpSockets: VrrpSocketStatus[]
  /** VRRP advertisements that were not believed, by reason. */
  refusedAdvertisements: Record<string, number>
  /** What peers told of the pool's configuration and was not taken, by reason. */
  refusedEntries: { stamps: number; invalid: number; surplus: number; revocations: number; admissions: number }
  /** Agents' reports that were not believed, by reason. */
  refusedReports: Record<string, number>
  /** Connections to controlTls that were not let in. */
  refusedClients: number
  /** Connections and messages of nodes that are no peers. */
  refusedStrangers: number
  /** Connections to the cluster port that ended before it was proved who was there. */
  failedHandshakes: number
  /** Messages of peers for which the director was too busy. */
  droppedMessages: number
  /** What else went wrong between directors, by its name (docs/commands/status.md). */
  peerTroubles: {
    oversizedMessages: number
    malformedMessages: number
    failedHandlers: number
    silentPeers: number
    abortedConnections: number
    unreadableOpinions: number
  }
  /** Tokens that did not let in whoever showed them, by reason. */
  refusedTokens: Record<string, number>
  /** What replication has done, by name (docs/protocol.md, Counters). */
  replication: Readonly<Record<string, number>>
  /** Why packets were dropped, by reason. */
  drops: Record<string, number>
}

export interface SyncDaemonListing extends SyncDaemon {
  /** Since it started; undefined until the first are known. */
  counters: Readonly<Record<string, number>> | undefined
}
