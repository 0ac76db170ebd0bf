/**
 * The long sessions of a drill: N TCP connections, each with a message due every interval, whether or not the one before
 * was answered.
 *
 * The schedule is open-loop, and a pause is the time from when a message was due until its answer was read. So a stall counts
 * in full for everything that was due during it (no "coordinated omission", as G. Tene calls it), including stalls of this
 * process, which is why the drill reports the same number for the quiet seconds before the failure.
 *
 * Since TCP keeps order and messages are numbered, when a message was due follows from its number: no state a message.
 */
import { Socket } from 'node:net'
import { formatEndpoint } from '../../protocol/packet/ipv6-address.ts'
import type { Conversation, LoadOptions, LoadProgress, LoadResult } from './load-messages.ts'
import { answers, MESSAGE_BYTES, serverNameIn, writeRequest } from './session-message.ts'

/** How many may be in their handshake at once. */
const OPENING_AT_ONCE = 64
/** How often the schedule is looked at. */
const TICK_MS = 2

interface Session {
  readonly id: number
  readonly socket: Socket
  /** Name of the server; empty until it has answered. */
  server: string
  client: string
  /** ended: by ourselves, when the drill was over. */
  state: 'opening' | 'alive' | 'lost' | 'ended'
  /** Next message to send; the next answer expected. */
  sent: number
  answered: number
  /** When message 1 is due; message 0 is the greeting on opening. */
  firstDueMs: number
  lastProgressMs: number
  worstBeforeMs: number
  worstAfterMs: number
  /** The part of a reply that has come so far. */
  readonly partial: Buffer
  partialBytes: number
}

export class LongSessions {
  readonly #options: LoadOptions
  readonly #now: () => number
  readonly #sessions: Session[] = []
  readonly #lost: LoadResult['lost'] = []
  readonly #refused: string[] = []
  /** One buffer for all sockets: each read is dealt with before the next begins. */
  readonly #readBuffer = Buffer.allocUnsafe(64 * 1024)
  #timer: NodeJS.Timeout | undefined
  #observing = false
  #finishing = false
  #faultMs = Number.POSITIVE_INFINITY

  constructor(options: LoadOptions, now: () => number) {
    this.#options = options
    this.#now = now
  }

  /** Opens the sessions and starts their schedules. Resolves with the number that a server has answered. */
  async open(): Promise<number> {
    let next = 0
    const openInTurn = async () => {
      while (next < this.#options.sessions) await this.#openOne(next++)
    }
    await Promise.all(Array.from({ length: OPENING_AT_ONCE }, openInTurn))
    // Spread evenly over the interval, so that the load is steady.
    const startMs = this.#now() + this.#options.messageIntervalMs
    this.#sessions.forEach((session, index) => {
      session.firstDueMs = startMs + (index * this.#options.messageIntervalMs) / this.#sessions.length
    })
    this.#timer = setInterval(() => this.#tick(), TICK_MS)
    return this.#sessions.length
  }

  /** Why sessions could not be opened, each reason once. */
  refusals(): string[] {
    return [...new Set(this.#refused)]
  }

  observe(): void {
    this.#observing = true
  }

  fault(atMs: number): void {
    this.#faultMs = atMs
  }

  conversations(): Conversation[] {
    const virtual = formatEndpoint(this.#options.virtualAddress, this.#options.sessionPort)
    return this.#sessions
      .filter((session) => session.state === 'alive')
      .map(({ client, server }) => ({ kind: 'session', client, virtual, server }))
  }

  progress(): Pick<LoadProgress, 'alive' | 'lost' | 'progressed'> {
    let progressed = 0
    for (const session of this.#sessions) {
      const scheduled = session.answered > 1
      if (session.state !== 'lost' && scheduled && this.#dueMs(session, session.answered - 1) > this.#faultMs)
        progressed++
    }
    return { alive: this.#sessions.length - this.#lost.length, lost: this.#lost.length, progressed }
  }

  /** Sends nothing more, and resolves when each session has all its answers or is lost. */
  async finish(): Promise<Pick<LoadResult, 'opened' | 'lost' | 'baselinePausesMs' | 'pausesMs'>> {
    this.#finishing = true
    await new Promise<void>((resolve) => {
      const look = setInterval(() => {
        if (this.#sessions.some((session) => session.state === 'alive' && session.answered < session.sent)) return
        clearInterval(look)
        resolve()
      }, 20)
    })
    clearInterval(this.#timer)
    const survivors = this.#sessions.filter((session) => session.state === 'alive')
    for (const session of survivors) {
      session.state = 'ended'
      session.socket.resetAndDestroy()
    }
    return {
      opened: this.#sessions.length,
      lost: this.#lost,
      baselinePausesMs: survivors.map((session) => session.worstBeforeMs),
      pausesMs: survivors.map((session) => session.worstAfterMs),
    }
  }

  #openOne(id: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>()
    const readBuffer = this.#readBuffer
    // @types/node knows `onread` for connect() only; net.Socket takes it as well.
    const socket = new Socket({
      onread: {
        buffer: readBuffer,
        callback: (bytes: number) => {
          this.#received(session, bytes)
          if (session.state !== 'opening') resolve()
          return true
        },
      },
    } as ConstructorParameters<typeof Socket>[0])
    const session: Session = {
      id,
      socket,
      server: '',
      client: '',
      state: 'opening',
      sent: 0,
      answered: 0,
      firstDueMs: Number.POSITIVE_INFINITY,
      lastProgressMs: this.#now(),
      worstBeforeMs: 0,
      worstAfterMs: 0,
      partial: Buffer.alloc(MESSAGE_BYTES),
      partialBytes: 0,
    }
    const giveUp = setTimeout(() => this.#lose(session, 'no answer'), this.#options.patienceMs)
    socket.setNoDelay(true)
    socket.on('error', (error: NodeJS.ErrnoException) => this.#lose(session, error.code ?? error.message))
    socket.on('end', () => this.#lose(session, 'ended by the server'))
    socket.on('close', () => {
      this.#lose(session, 'closed')
      resolve()
    })
    socket.connect(this.#options.sessionPort, this.#options.virtualAddress, () => {
      session.client = formatEndpoint(socket.localAddress!, socket.localPort!)
      this.#send(session)
    })
    return promise.finally(() => clearTimeout(giveUp))
  }

  #tick(): void {
    const now = this.#now()
    for (const session of this.#sessions) {
      if (session.state !== 'alive') continue
      if (!this.#finishing) while (this.#dueMs(session, session.sent) <= now) this.#send(session)
      const waiting = session.answered < session.sent
      if (waiting && now - session.lastProgressMs >= this.#options.patienceMs) {
        this.#lose(session, `no progress for ${this.#options.patienceMs / 1000} s`)
      }
    }
  }

  #dueMs(session: Session, number: number): number {
    return session.firstDueMs + (number - 1) * this.#options.messageIntervalMs
  }

  #send(session: Session): void {
    const message = Buffer.allocUnsafe(MESSAGE_BYTES)
    writeRequest(message, session.id, session.sent)
    // Nothing to wait for: progress is then counted from here.
    if (session.sent === session.answered) session.lastProgressMs = this.#now()
    session.sent++
    session.socket.write(message)
  }

  #received(session: Session, bytes: number): void {
    let offset = 0
    if (session.partialBytes > 0) {
      offset = Math.min(MESSAGE_BYTES - session.partialBytes, bytes)
      this.#readBuffer.copy(session.partial, session.partialBytes, 0, offset)
      session.partialBytes += offset
      if (session.partialBytes < MESSAGE_BYTES) return
      session.partialBytes = 0
      this.#answer(session, session.partial, 0)
    }
    for (; offset + MESSAGE_BYTES <= bytes; offset += MESSAGE_BYTES) this.#answer(session, this.#readBuffer, offset)
    if (offset < bytes) {
      this.#readBuffer.copy(session.partial, 0, offset, bytes)
      session.partialBytes = bytes - offset
    }
  }

  #answer(session: Session, message: Buffer, offset: number): void {
    if (session.state === 'lost' || session.state === 'ended') return
    if (session.answered >= session.sent || !answers(message, offset, session.id, session.answered)) {
      this.#lose(session, `wrong answer to message ${session.answered}`)
      return
    }
    const server = serverNameIn(message, offset)
    const now = this.#now()
    session.lastProgressMs = now
    if (session.state === 'opening') {
      session.server = server
      session.state = 'alive'
      this.#sessions.push(session)
    } else if (session.server !== server) {
      this.#lose(session, `answered by ${server}, which does not know it`)
      return
    } else if (this.#observing) {
      const pauseMs = now - this.#dueMs(session, session.answered)
      if (now > this.#faultMs) session.worstAfterMs = Math.max(session.worstAfterMs, pauseMs)
      else session.worstBeforeMs = Math.max(session.worstBeforeMs, pauseMs)
    }
    session.answered++
  }

  #lose(session: Session, reason: string): void {
    if (session.state === 'lost' || session.state === 'ended') return
    if (session.state === 'opening') this.#refused.push(reason)
    else this.#lost.push({ client: session.client, server: session.server, reason, atMs: this.#now() })
    session.state = 'lost'
    session.socket.destroy()
  }
}
