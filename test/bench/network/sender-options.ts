/** What sender.ts is told, and the memory that it shares with its threads. */
export interface SenderOptions {
  readonly link: string
  readonly nextHopMac: string
  readonly source: string
  /** "ADDRESS:PORT" */
  readonly destination: string
  /** Packets a second; left out: as fast as they arrive. */
  readonly rate?: number
  /** A process of the server's namespace, whose counters tell what has arrived. */
  readonly serverPid: number
}

export interface SenderThreadInput extends SenderOptions {
  readonly number: number
  /** Packets a second and thread, and packets sent. */
  readonly shared: SharedArrayBuffer
}

/** Of Int32Array(shared): rate, then of each thread how many it has sent. */
export const RATE = 0
export const SENT = 1
