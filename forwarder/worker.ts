/**
 * The forwarding thread: opens the links, ties them to an engine, and breathes until it is told to stop. When there is nothing
 * to do it waits in poll() for a frame or for the eventfd by which other threads wake it.
 */
import { randomBytes } from 'node:crypto'
import { type MessagePort, parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads'
import { DirectorError } from '../protocol/errors.ts'
import { monotonicMs } from './clock.ts'
import type { Command } from './commands.ts'
import { writeDefenceFacts } from './defence-facts.ts'
import { Drops } from './engine/drop-reason.ts'
import { Engine } from './engine/engine.ts'
import { type Explanation, explain } from './engine/explain.ts'
import { heldMacs } from './engine/virtual-macs.ts'
import { HOST_DEVICE } from './forwarder.ts'
import { HostLink } from './link/host-link.ts'
import { type Frame, HEADROOM, MAX_FRAME_LENGTH, VNET_HEADER_LENGTH } from './link/link.ts'
import { PacketRingLink } from './link/packet-ring.ts'
import { Loop } from './loop.ts'
import { rehearse } from './rehearsal.ts'
import { LINK_STATISTICS, type SharedState } from './shared-state.ts'
import { drain } from './sys/event-fd.ts'
import { allocateFrameMemory } from './sys/memory.ts'
import { LONGEST_WAIT_MS, PollSet } from './sys/poll.ts'
import { TICK_MS } from './table/connection-layout.ts'
import { ConnectionTable } from './table/connection-table.ts'
import { RecordRing } from './table/record-ring.ts'
import { ServerDirectory } from './table/server-directory.ts'
import { ServiceTable } from './table/service-table.ts'

export interface WorkerInput {
  readonly interfaces: readonly string[]
  readonly shared: SharedState
  readonly wakeDescriptor: number
}

export type WorkerMessage =
  | { readonly kind: 'ready'; readonly links: { name: string; mac: Uint8Array; mtu: number }[] }
  /** Said to open-host-device. */
  | { readonly kind: 'host-device'; readonly failure?: string }
  /** Said to rest. */
  | { readonly kind: 'rests' }
  | { readonly kind: 'explanation'; readonly id: number; readonly explanation: Explanation }
  | { readonly kind: 'failed'; readonly code: DirectorError['code']; readonly message: string }

/** Memory for some two thousand frames of the engine's own, or five hundred large ones. */
const POOL_BYTES = 4 * 1024 * 1024
const STATISTICS_INTERVAL_MS = 250
/** Between two breaths commands are taken for this long, so that a long list of them keeps no packet waiting. */
const COMMANDS_MS = 1
/** After a standstill packets have waited for longer, and what was asked for meanwhile counts: as much as is no standstill again. */
const COMMANDS_AFTER_STANDSTILL_MS = 100
/** Room for a few dozen frames. */
const REHEARSAL_BYTES = 128 * 1024

class ForwardingThread {
  readonly #interfaces: readonly PacketRingLink[]
  /** The interfaces', and last the host's. */
  readonly #links: readonly (PacketRingLink | HostLink)[]
  readonly #host: HostLink
  readonly #engine: Engine
  readonly #loop: Loop
  #poll: PollSet
  readonly #wakeDescriptor: number
  readonly #commandCount: Int32Array
  readonly #pulse: Float64Array
  readonly #answersUntil: Float64Array
  readonly #linkStatistics: Float64Array
  readonly #frames: Float64Array
  readonly #defences: Float64Array
  readonly #port: MessagePort
  /** A frame of a command, on its way out. */
  readonly #commandFrame: Frame
  #commandsTaken = 0
  #statisticsDueMs = 0
  #running = true

  constructor({ interfaces, shared, wakeDescriptor }: WorkerInput, port: MessagePort) {
    this.#interfaces = interfaces.map((name) => new PacketRingLink(name))
    this.#host = new HostLink(HOST_DEVICE, Math.min(...this.#interfaces.map((link) => link.mtu)))
    this.#links = [...this.#interfaces, this.#host]
    const directory = new ServerDirectory(shared.directory)
    const secret = randomBytes(4).readInt32LE()
    const nowMs = monotonicMs()
    this.#engine = new Engine({
      links: this.#links,
      hostLink: this.#links.length - 1,
      table: new ConnectionTable(shared.table, directory, secret, Math.floor(nowMs / TICK_MS)),
      services: new ServiceTable(directory),
      outgoing: new RecordRing(shared.outgoing),
      drops: new Drops(shared.drops),
      poolMemory: allocateFrameMemory(POOL_BYTES),
      epochMs: Date.now() - nowMs,
    })
    this.#loop = new Loop(this.#engine, this.#links, new RecordRing(shared.incoming), () =>
      this.#takeCommands(COMMANDS_AFTER_STANDSTILL_MS),
    )
    this.#poll = this.#waitFor(wakeDescriptor)
    this.#wakeDescriptor = wakeDescriptor
    this.#commandCount = new Int32Array(shared.commands)
    this.#pulse = new Float64Array(shared.pulse)
    this.#pulse[0] = nowMs
    this.#answersUntil = new Float64Array(shared.answersUntil)
    this.#linkStatistics = new Float64Array(shared.links)
    this.#frames = new Float64Array(shared.frames)
    this.#defences = new Float64Array(shared.defences)
    this.#port = port
    const start = HEADROOM + VNET_HEADER_LENGTH
    this.#commandFrame = { memory: allocateFrameMemory(start + MAX_FRAME_LENGTH), start, length: 0 }
  }

  get links(): { name: string; mac: Uint8Array; mtu: number }[] {
    return this.#interfaces.map(({ name, mac, mtu }) => ({ name, mac, mtu }))
  }

  run(): void {
    while (this.#running) {
      const nowMs = monotonicMs()
      this.#pulse[0] = nowMs
      this.#engine.addresses.answersUntilMs = this.#answersUntil[0]
      const handled = this.#loop.breathe(nowMs)
      this.#takeCommands()
      if (nowMs >= this.#statisticsDueMs) {
        this.#statisticsDueMs = nowMs + STATISTICS_INTERVAL_MS
        this.#publishStatistics()
      }
      if (handled > 0 || this.#hasCommands()) continue
      this.#poll.wait(LONGEST_WAIT_MS)
      if (this.#poll.isReadable(0)) drain(this.#wakeDescriptor)
    }
    for (const link of this.#links) link.close()
  }

  #hasCommands(): boolean {
    return this.#commandsTaken !== Atomics.load(this.#commandCount, 0)
  }

  #takeCommands(forMs = COMMANDS_MS): void {
    if (!this.#hasCommands()) return
    const until = monotonicMs() + forMs
    while (this.#hasCommands() && monotonicMs() < until) {
      const received = receiveMessageOnPort(this.#port)
      if (received === undefined) return
      this.#commandsTaken = (this.#commandsTaken + 1) | 0
      this.#take(received.message as Command)
    }
  }

  #take(command: Command): void {
    const names = this.#interfaces.map((link) => link.name)
    switch (command.kind) {
      case 'service':
        this.#engine.services.set(command.service)
        break
      case 'remove-service':
        this.#engine.services.remove(command.service)
        break
      case 'virtual-addresses':
        this.#engine.placeAddresses(command.addresses, names)
        for (const link of this.#interfaces) link.takeMacs(heldMacs(command.addresses, link.name))
        break
      case 'routes':
        this.#engine.setRoutes(command.routes, command.mtus)
        break
      case 'settings':
        this.#engine.applySettings(command.settings)
        break
      case 'available-memory':
        this.#engine.defences.availablePages = command.pages
        break
      case 'marks':
        this.#engine.marks.replace(command.rules, names)
        break
      case 'transmit':
        if (this.#loop.hasSleptThrough(command.askedMs)) break
        this.#transmit(names.indexOf(command.link), command.frame)
        break
      case 'open-host-device':
        this.#openHostDevice()
        break
      case 'explain': {
        const explanation = explain(this.#engine, command.question, monotonicMs())
        this.#port.postMessage({ kind: 'explanation', id: command.id, explanation } satisfies WorkerMessage)
        break
      }
      case 'rest':
        this.#loop.rest()
        this.#poll = new PollSet([this.#wakeDescriptor])
        this.#port.postMessage({ kind: 'rests' } satisfies WorkerMessage)
        break
      case 'stop':
        this.#running = false
    }
  }

  #waitFor(wakeDescriptor: number): PollSet {
    const descriptors = this.#links.map((link) => link.descriptor).filter((descriptor) => descriptor !== undefined)
    return new PollSet([wakeDescriptor, ...descriptors])
  }

  #openHostDevice(): void {
    let message: WorkerMessage = { kind: 'host-device' }
    try {
      this.#host.open()
      this.#poll = this.#waitFor(this.#wakeDescriptor)
    } catch (error) {
      message = { kind: 'host-device', failure: (error as Error).message }
    }
    this.#port.postMessage(message)
  }

  #transmit(link: number, bytes: Uint8Array): void {
    if (link < 0 || bytes.length > MAX_FRAME_LENGTH) return
    const frame = this.#commandFrame
    frame.memory.bytes.fill(0, frame.start - VNET_HEADER_LENGTH, frame.start)
    frame.memory.bytes.set(bytes, frame.start)
    frame.length = bytes.length
    this.#loop.transmit(link, frame)
    this.#links[link].flush()
  }

  #publishStatistics(): void {
    writeDefenceFacts(this.#defences, this.#engine)
    const { free, total } = this.#engine.egress.poolUse
    this.#frames[0] = total - free
    this.#frames[1] = total
    for (let link = 0; link < this.#links.length - 1; link++) {
      const { statistics } = this.#links[link]
      const at = link * LINK_STATISTICS
      this.#linkStatistics[at] = statistics.receivedFrames
      this.#linkStatistics[at + 1] = statistics.receivedBytes
      this.#linkStatistics[at + 2] = statistics.transmittedFrames
      this.#linkStatistics[at + 3] = statistics.transmittedBytes
      this.#linkStatistics[at + 4] = statistics.transmitErrors
      this.#linkStatistics[at + 5] = statistics.overruns
    }
  }
}

const port = parentPort as MessagePort
try {
  rehearse(allocateFrameMemory(REHEARSAL_BYTES), allocateFrameMemory(REHEARSAL_BYTES))
  const thread = new ForwardingThread(workerData as WorkerInput, port)
  port.postMessage({ kind: 'ready', links: thread.links } satisfies WorkerMessage)
  thread.run()
  port.close()
} catch (error) {
  if (!(error instanceof DirectorError)) throw error
  port.postMessage({ kind: 'failed', code: error.code, message: error.message } satisfies WorkerMessage)
  port.close()
}
