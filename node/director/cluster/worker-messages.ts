/** What the main thread and the cluster thread tell each other. */
import type { ErrorCode } from '../../../protocol/errors.ts'
import type { SyncDaemon, SyncDaemonState } from '../sync-daemon/sync-daemon.ts'
import type { TokenRefusal } from './admission.ts'
import type { Libp2pTransportOptions } from './libp2p-transport.ts'
import type { ReplicationStatus } from './replication/replicator.ts'
import type { Peer, PeerName, Topic, TransportCounters } from './transport.ts'

/** Topics of the cluster thread itself. */
export type ReplicationTopic = 'connections' | 'presence' | 'sync'
/** Topics that the main thread speaks on, through the cluster thread. */
export const PROXIED_TOPICS = ['config', 'health', 'vip'] as const satisfies readonly Exclude<Topic, ReplicationTopic>[]

export interface ClusterInput extends Libp2pTransportOptions {
  /** RecordRing memory: what the forwarder writes, and what it is to apply. */
  readonly outgoing: SharedArrayBuffer
  readonly incoming: SharedArrayBuffer
  /** The connection table, and the server directory that goes with it. */
  readonly table: SharedArrayBuffer
  readonly directory: SharedArrayBuffer
  /** The eventfd that ends the forwarder's wait. */
  readonly wakeDescriptor: number
  /** The pool's (protocol/pool-key.ts); tokens are not read without any. */
  readonly poolKeys?: readonly string[]
  /** This director's own. */
  readonly token?: Uint8Array
}

export interface ClusterWorkerInput extends ClusterInput {
  /** Memory of UntakenMessages. */
  readonly untaken: SharedArrayBuffer
  /** A double: when the cluster thread last breathed, by monotonicMs(). */
  readonly pulse: SharedArrayBuffer
}

export interface ClusterStatus extends ReplicationStatus {
  /** How many doubts it knows of. */
  readonly doubts: number
  readonly transport: Readonly<TransportCounters>
  /** Tokens that did not let in, by reason. */
  readonly refusedTokens: Readonly<Record<string, number>>
  /** Of the running daemons of the kernel's sync protocol. */
  readonly syncDaemons: Readonly<Partial<Record<SyncDaemonState, Readonly<Record<string, number>>>>>
}

export type ToClusterWorker =
  /** Answered with 'delivered'. */
  | { readonly kind: 'deliver' }
  | { readonly kind: 'broadcast'; readonly topic: Topic; readonly message: Uint8Array }
  | {
      readonly kind: 'send'
      readonly id: number
      readonly peer: PeerName
      readonly topic: Topic
      readonly message: Uint8Array
    }
  | { readonly kind: 'start-sync-daemon'; readonly id: number; readonly daemon: SyncDaemon }
  | { readonly kind: 'stop-sync-daemon'; readonly id: number; readonly state: SyncDaemonState }
  /** The answer to restore; without records: there are no more. */
  | { readonly kind: 'restored'; readonly records?: Uint8Array }
  | { readonly kind: 'peers'; readonly peers: readonly Peer[] }
  /** The answer to a newcomer; a reason: it is not let in. */
  | { readonly kind: 'judged'; readonly id: number; readonly reason?: TokenRefusal }
  /** This director may have missed something. */
  | { readonly kind: 'doubt' }
  | { readonly kind: 'stop' }

export type FromClusterWorker =
  | { readonly kind: 'ready' }
  | { readonly kind: 'refused'; readonly code: ErrorCode; readonly message: string }
  | {
      readonly kind: 'message'
      readonly topic: Topic
      readonly from: PeerName
      /** Of the peer that has this name; it may be another's when this arrives. */
      readonly peerId: string
      /** Of the peer among the untaken messages. */
      readonly place: number
      readonly message: Uint8Array
    }
  | { readonly kind: 'peer'; readonly peer: PeerName; readonly connected: boolean }
  /** Asks for the next records of the checkpoint. One question at a time. */
  | { readonly kind: 'restore' }
  /** Whoever the token is for has shown it, and it is good; waits for an answer. */
  | { readonly kind: 'newcomer'; readonly id: number; readonly token: Uint8Array }
  | { readonly kind: 'token-refused'; readonly peerId: string; readonly reason: TokenRefusal }
  /** The answer to a send; error: why it was refused. */
  | { readonly kind: 'sent'; readonly id: number; readonly error?: string }
  /** The answer to what was asked of a sync daemon; with an error nothing has changed. */
  /** Said to deliver. */
  | { readonly kind: 'delivered' }
  | { readonly kind: 'sync-daemon'; readonly id: number; readonly error?: { code: ErrorCode; message: string } }
  | { readonly kind: 'status'; readonly status: ClusterStatus }
