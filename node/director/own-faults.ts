/**
 * What is wrong with this director itself: for that it gives its addresses up. An interface, an address or a forwarder may be well again, and
 * then it stands for election again; a thread that has died, or an interface that was replaced, only a new start mends.
 *
 * A director that cannot forward, or that hears nobody, would go on to advertise addresses that lead nowhere.
 */
import type { Logger } from 'pino'
import type { Forwarder } from '../../forwarder/forwarder.ts'
import { DirectorError } from '../../protocol/errors.ts'
import type { Clock } from './clock.ts'
import type { Cluster } from './cluster/cluster.ts'
import { watchForwarder } from './forwarder-watch.ts'
import type { Health } from './health/health.ts'
import type { LinkWatchHandlers } from './host/link-watch.ts'
import type { VipService } from './vip/vip.ts'
import type { VrrpSocket } from './vip/vrrp-socket.ts'

/** From one try of a socket that could not join its groups to the next. */
const JOIN_AGAIN_MS = 1000

export interface OwnFaultsInput {
  readonly forwarder: Pick<Forwarder, 'silentForMs' | 'answerFor' | 'onFailure'>
  readonly cluster: Pick<Cluster, 'onFailure' | 'doubt'>
  readonly vip: Pick<VipService, 'setFault' | 'setLink'>
  readonly sockets: readonly Pick<VrrpSocket, 'address' | 'joinAgain' | 'onFailure'>[]
  readonly health: Pick<Health, 'setFault'>
  readonly log: Pick<Logger, 'info' | 'warn' | 'error' | 'fatal'>
  /** Those that the director uses; of others it is told because groups track them. */
  readonly interfaces: readonly string[]
  /** How long the forwarder may be silent: silenceLimit(). */
  readonly silenceLimitMs: number
  readonly clock: Clock
  /** The director cannot go on. The addresses have been given up. */
  readonly onFatal: (error: Error) => void
}

export interface OwnFaults {
  /** Whoever watches the links tells them. */
  readonly links: Pick<LinkWatchHandlers, 'onFault' | 'onReplaced'>
  stop(): void
}

/** From now on the director gives up for what is wrong with it. */
export function giveUpOnFaults(input: OwnFaultsInput): OwnFaults {
  const { forwarder, cluster, vip, sockets, health, log, interfaces, silenceLimitMs, clock, onFatal } = input
  const fail = (error: Error) => {
    log.fatal({ error }, 'the director cannot go on: giving the addresses up')
    vip.setFault('director', error.message)
    onFatal(error)
  }
  forwarder.onFailure(fail)
  cluster.onFailure(fail)
  for (const socket of sockets) socket.onFailure(fail)
  const endWatch = watchForwarder(forwarder, silenceLimitMs, clock, (fault) => {
    if (fault === undefined) log.info('the forwarder is well again')
    else log.error({ fault }, 'the forwarder has failed')
    vip.setFault('forwarder', fault)
  })
  const deaf = new Set<(typeof sockets)[number]>()
  let cancelRetry = () => {}
  /** A socket that cannot hear all that it should is a fault of its own, which ends when it can. No event tells when that is. */
  const joinAgain = (those: Iterable<(typeof sockets)[number]>) => {
    for (const socket of those) {
      const subject = `the socket of ${socket.address}`
      try {
        socket.joinAgain()
        deaf.delete(socket)
        vip.setFault(subject, undefined, socket.address)
      } catch (error) {
        if (!deaf.has(socket)) log.error({ error }, `${subject} cannot join its groups`)
        deaf.add(socket)
        vip.setFault(subject, (error as Error).message, socket.address)
      }
    }
    cancelRetry()
    if (deaf.size > 0) cancelRetry = clock.schedule(JOIN_AGAIN_MS, () => joinAgain([...deaf]))
  }
  const links: OwnFaults['links'] = {
    onFault: ({ name, address }, fault) => {
      const subject = address ?? name
      if (fault === undefined) {
        log.info(`${subject} is well again`)
        cluster.doubt('a link was down')
      } else log.warn({ fault }, `${subject} has failed`)
      if (address === undefined) vip.setLink(name, fault)
      if (address === undefined && !interfaces.includes(name)) return
      // Before it takes part again: one that was deaf would be active beside another.
      if (fault === undefined) joinAgain(sockets)
      vip.setFault(subject, fault)
      health.setFault(subject, fault)
    },
    onReplaced: (_, fault) => fail(new DirectorError('INTERFACE_MISSING', fault)),
  }
  return {
    links,
    stop() {
      endWatch()
      cancelRetry()
    },
  }
}
