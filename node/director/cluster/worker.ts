/**
 * The cluster thread: libp2p and replication, away from the thread that forwards and from the one that speaks VRRP. Loading libp2p
 * alone takes the better part of a second.
 */
import { randomBytes } from 'node:crypto'
import { setImmediate } from 'node:timers/promises'
import { parentPort, workerData } from 'node:worker_threads'
import { monotonicMs } from '../../../forwarder/clock.ts'
import { wake } from '../../../forwarder/sys/event-fd.ts'
import { ConnectionReader } from '../../../forwarder/table/connection-reader.ts'
import { RecordRing } from '../../../forwarder/table/record-ring.ts'
import { DirectorError } from '../../../protocol/errors.ts'
import { parsePoolKey } from '../../../protocol/pool-key.ts'
import { systemClock } from '../clock.ts'
import { RefusalLog } from '../control/refusal-log.ts'
import { RunningDaemons } from '../sync-daemon/running-daemons.ts'
import { Admission, type TokenRefusal } from './admission.ts'
import { Libp2pTransport } from './libp2p-transport.ts'
import { Replicator } from './replication/replicator.ts'
import { UntakenMessages } from './untaken-messages.ts'
import {
  type ClusterStatus,
  type ClusterWorkerInput,
  type FromClusterWorker,
  PROXIED_TOPICS,
  type ToClusterWorker,
} from './worker-messages.ts'

/** The forwarder wakes us when it has written; this is for a wake that was missed. */
const RING_CHECK_MS = 100

const input = workerData as ClusterWorkerInput
const port = parentPort
if (!port) throw new Error('to be run as a worker thread')

const outgoing = new RecordRing(input.outgoing)
const source = new ConnectionReader(input.table, input.directory)
const pulse = new Float64Array(input.pulse)
const untaken = new UntakenMessages(input.untaken)
let isStopping = false
let lastStatus = ''
let doubts = 0
let takeRestored: (records: Uint8Array | undefined) => void = () => {}
let peers = input.peers
/** By number, newcomers about whom the main thread was asked. */
const asked = new Map<number, (reason: TokenRefusal | undefined) => void>()
let nextAsked = 0

try {
  const refusals = new RefusalLog(
    (peerId, reason) => post({ kind: 'token-refused', peerId, reason: reason as TokenRefusal }),
    systemClock.now,
  )
  const poolKeys = (input.poolKeys ?? []).flatMap((text) => parsePoolKey(text) ?? [])
  const admission = new Admission({
    keys: poolKeys,
    wallClockMs: Date.now,
    isPeer: (peerId) => peers.some(({ id }) => id === peerId),
    admit: askMainThread,
    onRefused: (peerId, reason) => refusals.refuse(peerId, reason),
  })
  const transport = new Libp2pTransport(input, {
    token: input.token,
    onToken: poolKeys.length > 0 ? (token, peerId) => admission.show(token, peerId) : undefined,
  })
  const replicator = new Replicator({
    transport,
    peers: peers.map(({ name }) => name),
    clock: systemClock,
    random: () => randomBytes(4).readUInt32BE(),
    outgoing,
    incoming: new RecordRing(input.incoming),
    source,
    versionNow: () => source.versionNow,
    restore: () => {
      post({ kind: 'restore' })
      return new Promise((resolve) => {
        takeRestored = resolve
      })
    },
    wake: () => wake(input.wakeDescriptor),
    onStatus: (status) =>
      postStatus({
        ...status,
        doubts,
        transport: { ...transport.counters },
        refusedTokens: admission.refused,
        syncDaemons: syncDaemons.counters,
      }),
    onRecord: (bytes, offset) => syncDaemons.note(bytes, offset),
  })
  const syncDaemons = new RunningDaemons({ clock: systemClock, source, apply: (block) => replicator.apply(block) })
  for (const topic of PROXIED_TOPICS) {
    transport.onMessage(topic, (from, bytes) => {
      const peerId = peers.find(({ name }) => name === from)?.id
      if (peerId === undefined) return
      const place = untaken.post(peerId)
      if (place === undefined) {
        transport.counters.droppedMessages++
        return
      }
      // A copy: the bytes may lie in a larger buffer, which would be copied whole.
      const message = new Uint8Array(bytes)
      post({ kind: 'message', topic, from, peerId, place, message }, [message.buffer])
    })
  }
  transport.onPeer((peer, connected) => post({ kind: 'peer', peer, connected }))

  port.on('message', (message: ToClusterWorker) => {
    if (message.kind === 'broadcast') transport.broadcast(message.topic, message.message)
    else if (message.kind === 'send')
      transport.send(message.peer, message.topic, message.message).then(
        () => post({ kind: 'sent', id: message.id }),
        (error: Error) => post({ kind: 'sent', id: message.id, error: error.message }),
      )
    else if (message.kind === 'restored') takeRestored(message.records)
    else if (message.kind === 'peers') {
      peers = message.peers
      transport.setPeers(peers)
      replicator.setPeers(peers.map(({ name }) => name))
    } else if (message.kind === 'judged') {
      asked.get(message.id)?.(message.reason)
      asked.delete(message.id)
    } else if (message.kind === 'doubt') {
      doubts++
      replicator.doubt()
    } else if (message.kind === 'deliver') void replicator.deliver().then(() => post({ kind: 'delivered' }))
    else if (message.kind === 'start-sync-daemon') answer(message.id, syncDaemons.start(message.daemon))
    else if (message.kind === 'stop-sync-daemon') answer(message.id, syncDaemons.stop(message.state))
    else void stop(transport, replicator, syncDaemons)
  })

  await transport.start()
  replicator.start()
  post({ kind: 'ready' })
  void followRing(replicator)
} catch (error) {
  if (!(error instanceof DirectorError)) throw error
  post({ kind: 'refused', code: error.code, message: error.message })
  port.close()
}

async function followRing(replicator: Replicator): Promise<void> {
  while (!isStopping) {
    await outgoing.whenWritten(RING_CHECK_MS)
    if (isStopping) return
    replicator.recordsWritten()
    await setImmediate()
  }
}

function askMainThread(token: Uint8Array): Promise<TokenRefusal | undefined> {
  const id = nextAsked++
  return new Promise((resolve) => {
    asked.set(id, resolve)
    post({ kind: 'newcomer', id, token })
  })
}

function answer(id: number, done: Promise<void>): void {
  done.then(
    () => post({ kind: 'sync-daemon', id }),
    (error: Error) => {
      if (!(error instanceof DirectorError)) throw error
      post({ kind: 'sync-daemon', id, error: { code: error.code, message: error.message } })
    },
  )
}

async function stop(transport: Libp2pTransport, replicator: Replicator, syncDaemons: RunningDaemons): Promise<void> {
  isStopping = true
  replicator.recordsWritten()
  replicator.stop()
  await syncDaemons.stopAll()
  await transport.stop()
  port?.close()
}

function postStatus(status: ClusterStatus): void {
  pulse[0] = monotonicMs()
  const text = JSON.stringify(status)
  if (text === lastStatus) return
  lastStatus = text
  post({ kind: 'status', status })
}

function post(message: FromClusterWorker, transfer: ArrayBuffer[] = []): void {
  port?.postMessage(message, transfer)
}
