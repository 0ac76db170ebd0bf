/**
 * Faults that are planted into directors by what is put around their parts, to see that the promises' checks would find them in the
 * product. The product knows nothing of them.
 */
import type { Transport } from '../../node/director/cluster/transport.ts'
import type { VrrpTransport } from '../../node/director/vip/vrrp-transport.ts'
import { decodeAdvertisement, encodeAdvertisement } from '../../protocol/packet/vrrp.ts'

export interface Sabotage {
  readonly gossip: (transport: Transport) => Transport
  readonly vrrp: (transport: VrrpTransport, self: string) => VrrpTransport
  readonly inSync: (inSync: boolean) => boolean
}

export const noSabotage: Sabotage = {
  gossip: (transport) => transport,
  vrrp: (transport) => transport,
  inSync: (inSync) => inSync,
}

const LOWEST_ADDRESS = '0.0.0.1'

export const SABOTAGES = {
  none: noSabotage,
  /** Batches that a peer asks for again are not sent: those alone go by stream. */
  'no-resend': {
    ...noSabotage,
    gossip: (transport) =>
      new Proxy(transport, {
        get(target, name) {
          if (name === 'send')
            return async (...[peer, topic, message]: Parameters<Transport['send']>) =>
              topic === 'connections' ? undefined : target.send(peer, topic, message)
          const value = Reflect.get(target, name, target)
          return typeof value === 'function' ? value.bind(target) : value
        },
      }),
  },
  /** Of two directors with the same priority each takes its own address for the higher one. */
  'wrong-tie-break': {
    ...noSabotage,
    vrrp: (transport, self) => ({
      ...transport,
      onDatagram: (handler) =>
        transport.onDatagram((datagram) => {
          const decoded = decodeAdvertisement(datagram, self)
          if (!decoded.ok || datagram.source === self) return handler(datagram)
          const message = encodeAdvertisement(
            decoded.advertisement,
            LOWEST_ADDRESS,
            datagram.destination,
            decoded.checksum,
          )
          handler({ ...datagram, source: LOWEST_ADDRESS, message })
        }),
    }),
  },
  /** A director takes its VIPs back whether its table is whole or not. */
  'preempts-before-sync': { ...noSabotage, inSync: () => true },
} as const satisfies Record<string, Sabotage>

export type SabotageName = keyof typeof SABOTAGES
