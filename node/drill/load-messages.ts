/**
 * What a drill and its client process say to each other over Node's IPC channel. The client process lives in the client's
 * namespace; both read CLOCK_MONOTONIC, so their milliseconds compare.
 */
export interface LoadOptions {
  virtualAddress: string
  sessionPort: number
  webPort: number
  sessions: number
  /** Between two messages of one session. */
  messageIntervalMs: number
  connectionsPerSecond: number
  /** One after another, forever, each in a loop of its own. */
  downloads: { path: string; sha256: string }[]
  /** Without progress for so long, a session is lost; without an answer, so is a new connection or a download. */
  patienceMs: number
}

/**
 * In this order: `open` (answered by `opened`), `observe` (the quiet seconds begin), `census` (answered by `census`), `fault`
 * (the pauses that count begin), `finish` (answered by `result`, after which the process ends).
 */
export type ToClient =
  | { type: 'open'; options: LoadOptions }
  | { type: 'observe' }
  | { type: 'census' }
  | { type: 'fault'; atMs: number }
  | { type: 'finish' }

export type FromClient =
  | { type: 'opened'; opened: number; reasons: string[] }
  | { type: 'census'; conversations: Conversation[] }
  | ({ type: 'progress' } & LoadProgress)
  | ({ type: 'result' } & LoadResult)

/** A TCP connection that is open now. */
export interface Conversation {
  kind: 'session' | 'download'
  /** "10.0.0.1:80" or "[2001:db8::1]:80", on the client's side. */
  client: string
  /** The same of the service. */
  virtual: string
  /** Name of the server that answers. */
  server: string
}

export interface LoadProgress {
  /** Sessions that are open and not lost. */
  alive: number
  lost: number
  /** Sessions that have had an answer to something that was due after the fault. */
  progressed: number
  connectionsAttempted: number
  connectionsFailed: number
  /** Why the last of them failed. */
  lastFailure?: FailedBeginning
  /** Connections that since the last progress had waited in vain for half of their patience; most of them still wait. */
  overdue: FailedBeginning[]
  downloadsIntact: number
}

export interface LoadResult {
  opened: number
  lost: { client: string; server: string; reason: string; atMs: number }[]
  /** Longest pause before the fault, a session each; survivors only. */
  baselinePausesMs: number[]
  /** Longest pause after the fault, a session each; survivors only. */
  pausesMs: number[]
  /** setUpMs: how long the handshakes took, of the latest 50,000. */
  connections: { attempted: number; failed: FailedBeginning[]; setUpMs: number[] }
  downloads: {
    started: number
    intact: number
    /** `server` is empty when none has answered. */
    failed: ({ server: string; failedMs: number } & FailedBeginning)[]
  }
}

/** A connection that was begun and did not come to its end. */
export interface FailedBeginning {
  startedMs: number
  /** When its handshake was over, as the client saw it; absent: it never was. */
  connectedMs?: number
  /** The client's. */
  port?: number
  /** The server that a director gave it to; absent: nobody has asked, or none knows. */
  server?: string
  reason: string
}

/** CLOCK_MONOTONIC in milliseconds. */
export function monotonicMs(): number {
  return Number(process.hrtime.bigint()) / 1e6
}
