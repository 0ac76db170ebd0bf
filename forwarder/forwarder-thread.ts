/** The Forwarder that really forwards: starts the forwarding thread, speaks to it, and reads its memory. */
import { setTimeout as wait } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import { DirectorError } from '../protocol/errors.ts'
import { monotonicMs } from './clock.ts'
import type { Command, Route, VirtualAddress } from './commands.ts'
import { type DefenceFacts, readDefenceFacts } from './defence-facts.ts'
import { Drops } from './engine/drop-reason.ts'
import type { Explanation, Question } from './engine/explain.ts'
import type {
  ConnectionSnapshot,
  Forwarder,
  ForwarderOptions,
  FrameCounts,
  LinkCounters,
  ServerCounters,
} from './forwarder.ts'
import { programFile } from './program-file.ts'
import type { MarkRule, ServiceAddress, ServiceSpec } from './service.ts'
import type { EngineSettings } from './settings.ts'
import { allocateSharedState, LINK_STATISTICS, type SharedState } from './shared-state.ts'
import { createEventFd, wake } from './sys/event-fd.ts'
import { closeDescriptor } from './sys/socket.ts'
import { ConnectionReader } from './table/connection-reader.ts'
import { RecordRing } from './table/record-ring.ts'
import { COUNTER, COUNTERS, NO_SLOT, ServerDirectory, type Slot } from './table/server-directory.ts'
import { serviceIdentity } from './table/service-table.ts'
import type { WorkerInput, WorkerMessage } from './worker.ts'

const STOP_LIMIT_MS = 3000

type ReadyLink = Extract<WorkerMessage, { kind: 'ready' }>['links'][number]

/**
 * Starts the thread and waits until its links are open.
 * @throws DirectorError of the links: INTERFACE_MISSING, PRIVILEGE_MISSING
 */
export async function startForwarder({ interfaces, connections }: ForwarderOptions): Promise<Forwarder> {
  const shared = allocateSharedState(connections, interfaces.length)
  const wakeDescriptor = createEventFd()
  const input: WorkerInput = { interfaces, shared, wakeDescriptor }
  const worker = new Worker(programFile('forwarder/worker'), { workerData: input, name: 'forwarder' })
  const links = await new Promise<ReadyLink[]>((resolve, reject) => {
    worker.once('error', reject)
    worker.once('message', (message: WorkerMessage) => {
      worker.off('error', reject)
      if (message.kind === 'ready') resolve(message.links)
      else if (message.kind === 'failed') reject(new DirectorError(message.code, message.message))
    })
  }).catch((error) => {
    closeDescriptor(wakeDescriptor)
    throw error
  })
  return new ForwarderThread(worker, shared, links, wakeDescriptor)
}

class ForwarderThread implements Forwarder {
  readonly outgoing: RecordRing
  readonly incoming: RecordRing
  readonly wakeDescriptor: number
  readonly tableMemory: SharedArrayBuffer
  readonly directoryMemory: SharedArrayBuffer
  readonly #worker: Worker
  readonly #links: readonly ReadyLink[]
  readonly #reader: ConnectionReader
  readonly #directory: ServerDirectory
  readonly #drops: Drops
  readonly #linkStatistics: Float64Array
  readonly #frames: Float64Array
  readonly #defences: Float64Array
  readonly #commandCount: Int32Array
  readonly #pulse: Float64Array
  readonly #answersUntil: Float64Array
  readonly #exited: Promise<void>
  readonly #failed = Promise.withResolvers<Error>()
  #stopping = false
  #willWake = false
  #nextQuestion = 0
  readonly #questions = new Map<
    number,
    { resolve: (explanation: Explanation) => void; reject: (error: Error) => void }
  >()
  isRunning = true

  constructor(worker: Worker, shared: SharedState, links: readonly ReadyLink[], wakeDescriptor: number) {
    this.#worker = worker
    this.#links = links
    this.wakeDescriptor = wakeDescriptor
    this.outgoing = new RecordRing(shared.outgoing)
    this.incoming = new RecordRing(shared.incoming)
    this.tableMemory = shared.table
    this.directoryMemory = shared.directory
    this.#reader = new ConnectionReader(shared.table, shared.directory)
    this.#directory = new ServerDirectory(shared.directory)
    this.#drops = new Drops(shared.drops)
    this.#linkStatistics = new Float64Array(shared.links)
    this.#frames = new Float64Array(shared.frames)
    this.#defences = new Float64Array(shared.defences)
    this.#commandCount = new Int32Array(shared.commands)
    this.#pulse = new Float64Array(shared.pulse)
    this.#answersUntil = new Float64Array(shared.answersUntil)
    let failure: Error | undefined
    worker.on('message', (message: WorkerMessage) => {
      if (message.kind === 'failed') failure = new DirectorError(message.code, message.message)
      if (message.kind !== 'explanation') return
      this.#questions.get(message.id)?.resolve(message.explanation)
      this.#questions.delete(message.id)
    })
    worker.on('error', (error: Error) => {
      failure = error
    })
    this.#exited = new Promise((resolve) => {
      worker.on('exit', () => {
        this.isRunning = false
        resolve()
        for (const { reject } of this.#questions.values()) {
          reject(new DirectorError('FORWARDER_FAILED', 'the forwarding thread has ended'))
        }
        if (this.#stopping) return
        const reason = failure?.message ?? 'it ended without an error'
        this.#failed.resolve(new DirectorError('FORWARDER_FAILED', `the forwarding thread has died: ${reason}`))
      })
    })
  }

  mac(link: string): Uint8Array {
    const found = this.#links.find(({ name }) => name === link)
    if (found === undefined) throw new RangeError(`no link ${link}`)
    return found.mac
  }

  setService(service: ServiceSpec): void {
    this.#postOneOfMany({ kind: 'service', service })
  }

  removeService({ protocol, address, port, mark }: ServiceAddress): void {
    this.#postOneOfMany({ kind: 'remove-service', service: { protocol, address, port, ...(mark && { mark }) } })
  }

  setVirtualAddresses(addresses: readonly VirtualAddress[]): void {
    this.#post({ kind: 'virtual-addresses', addresses })
  }

  setRoutes(routes: readonly Route[], mtus: Readonly<Record<string, number>> = {}): void {
    this.#post({ kind: 'routes', routes, mtus })
  }

  setSettings(settings: EngineSettings): void {
    this.#post({ kind: 'settings', settings })
  }

  setAvailableMemory(pages: number): void {
    this.#post({ kind: 'available-memory', pages })
  }

  setMarks(rules: readonly MarkRule[]): void {
    this.#post({ kind: 'marks', rules })
  }

  transmit(link: string, frame: Uint8Array): void {
    this.#post({ kind: 'transmit', link, frame, askedMs: monotonicMs() })
  }

  openHostDevice(): Promise<void> {
    return new Promise((resolve, reject) => {
      const answered = (message: WorkerMessage) => {
        if (message.kind !== 'host-device') return
        this.#worker.off('message', answered)
        if (message.failure === undefined) resolve()
        else reject(new DirectorError('FORWARDER_FAILED', message.failure))
      }
      this.#worker.on('message', answered)
      void this.#exited.then(() => reject(new DirectorError('FORWARDER_FAILED', 'the forwarder has ended')))
      this.#post({ kind: 'open-host-device' })
    })
  }

  explain(question: Question): Promise<Explanation> {
    const id = this.#nextQuestion++
    return new Promise((resolve, reject) => {
      this.#questions.set(id, { resolve, reject })
      this.#post({ kind: 'explain', id, question })
    })
  }

  wakeUp(): void {
    wake(this.wakeDescriptor)
  }

  serviceCounters(service: ServiceAddress): ServerCounters {
    const slot = this.#directory.findService(serviceIdentity(service, this.#directory.book))
    return this.#total(slot === NO_SLOT ? [] : this.#directory.slotsOf(slot))
  }

  serverCounters(service: ServiceAddress, { address, port }: { address: string; port: number }): ServerCounters {
    const { book } = this.#directory
    const identity = serviceIdentity(service, book)
    const slot = this.#directory.findServer({ ...identity, address: book.numberOf(address), port })
    // Nobody's slot has counted nothing.
    return this.#countersAt(slot)
  }

  connections(clientPort?: number): Iterable<ConnectionSnapshot> {
    return this.#reader.connections(clientPort)
  }

  get connectionCount(): number {
    return this.#reader.memory.used
  }

  get drops(): Record<string, number> {
    return this.#drops.toObject()
  }

  get defences(): DefenceFacts {
    return readDefenceFacts(this.#defences)
  }

  get frames(): FrameCounts {
    return { kept: this.#frames[0], capacity: this.#frames[1] }
  }

  get silentForMs(): number {
    return monotonicMs() - this.#pulse[0]
  }

  answerFor(ms: number): void {
    this.#answersUntil[0] = monotonicMs() + ms
  }

  linkStatistics(): LinkCounters[] {
    return this.#links.map(({ name }, link) => {
      const at = link * LINK_STATISTICS
      const [receivedFrames, , transmittedFrames, , transmitErrors, overruns] = this.#linkStatistics.subarray(at)
      return { name, receivedFrames, transmittedFrames, transmitErrors, overruns }
    })
  }

  onFailure(handler: (error: Error) => void): void {
    void this.#failed.promise.then(handler)
  }

  rest(): Promise<void> {
    return new Promise((resolve) => {
      this.#worker.on('message', ({ kind }: WorkerMessage) => {
        if (kind === 'rests') resolve()
      })
      void this.#exited.then(resolve)
      this.#post({ kind: 'rest' })
    })
  }

  async stop(): Promise<void> {
    if (this.#stopping) return this.#exited
    this.#stopping = true
    this.#post({ kind: 'stop' })
    await Promise.race([this.#exited, wait(STOP_LIMIT_MS, undefined, { ref: false })])
    if (!this.isRunning) closeDescriptor(this.wakeDescriptor)
    // It hangs: nothing else is to wait for it, and the process ends it with itself.
    else this.#worker.unref()
  }

  #post(command: Command): void {
    this.#postOneOfMany(command)
    this.wakeUp()
  }

  /** A wake is a system call, and its thread has to be found a processor: many commands of one turn share it. */
  #postOneOfMany(command: Command): void {
    this.#worker.postMessage(command)
    Atomics.add(this.#commandCount, 0, 1)
    if (this.#willWake) return
    this.#willWake = true
    setImmediate(() => {
      this.#willWake = false
      this.wakeUp()
    })
  }

  #countersAt(slot: Slot): ServerCounters {
    const { counters } = this.#directory
    const at = slot * COUNTERS
    return {
      activeConnections: counters[at + COUNTER.active],
      inactiveConnections: counters[at + COUNTER.inactive],
      persistentConnections: counters[at + COUNTER.persistent],
      connections: counters[at + COUNTER.connections],
      inPackets: counters[at + COUNTER.inPackets],
      outPackets: counters[at + COUNTER.outPackets],
      inBytes: counters[at + COUNTER.inBytes],
      outBytes: counters[at + COUNTER.outBytes],
    }
  }

  #total(slots: readonly Slot[]): ServerCounters {
    const total = this.#countersAt(NO_SLOT)
    const { counters } = this.#directory
    for (const slot of slots) {
      const at = slot * COUNTERS
      total.activeConnections += counters[at + COUNTER.active]
      total.inactiveConnections += counters[at + COUNTER.inactive]
      total.persistentConnections += counters[at + COUNTER.persistent]
      total.connections += counters[at + COUNTER.connections]
      total.inPackets += counters[at + COUNTER.inPackets]
      total.outPackets += counters[at + COUNTER.outPackets]
      total.inBytes += counters[at + COUNTER.inBytes]
      total.outBytes += counters[at + COUNTER.outBytes]
    }
    return total
  }
}
