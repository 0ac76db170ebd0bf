/**
 * Faults that are planted into directors by what is put around their parts, to see that the promises' checks would find them in the
 * product. The product knows nothing of them.
 */

import type { Clock } from '../../node/director/clock.ts'
import type { Peer, Topic, Transport } from '../../node/director/cluster/transport.ts'
import type { VipConfig } from '../../node/director/vip/vip-config.ts'
import type { VrrpTransport } from '../../node/director/vip/vrrp-transport.ts'
import { readUint16, writeUint16 } from '../../protocol/packet/bytes.ts'
import {
  decodeAdvertisement,
  encodeAdvertisement,
  PRIORITY_RESIGN,
  type VrrpDatagram,
} from '../../protocol/packet/vrrp.ts'
import { RECORD, RECORD_REMOVE } from '../../protocol/wire/connection-record.ts'
import { BATCH_HEADER_LENGTH, parseBatch } from '../../protocol/wire/record-batch.ts'
import { BLOCK_HEADER_LENGTH } from '../../protocol/wire/record-block.ts'
import { parseSyncMessage } from '../../protocol/wire/sync-message.ts'
import { SERVICES, UPLINK } from './site.ts'

export interface Sabotage {
  readonly gossip: (transport: Transport) => Transport
  /** @param clock the main thread's */
  readonly vrrp: (transport: VrrpTransport, self: string, clock: Clock) => VrrpTransport
  /** Of one virtual service. */
  readonly vip: (config: VipConfig) => VipConfig
  readonly inSync: (inSync: boolean) => boolean
  /** What is said of changes that were overridden. */
  readonly overridden: (lines: readonly string[]) => readonly string[]
}

export const noSabotage: Sabotage = {
  gossip: (transport) => transport,
  vrrp: (transport) => transport,
  vip: (config) => config,
  inSync: (inSync) => inSync,
  overridden: (lines) => lines,
}

/** Of so many connections one is not told of. */
const LOST_ONE_IN = 10
const [, LAST_SERVICE] = SERVICES
const tracksUplink = { interfaces: [{ name: UPLINK, weight: 0 }], scripts: [] }
const VRID = 1
const PRIORITY = 2
const ECHO_INTERVAL_MS = 100
const LATE_MS = 1000
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
  /** Whoever was a peer once is one for ever. */
  'goes-on-hearing': {
    ...noSabotage,
    gossip: (transport) => {
      const { setPeers } = transport
      let known: readonly Peer[] = []
      transport.setPeers = (peers) => {
        known = [...known.filter(({ id }) => !peers.some((peer) => peer.id === id)), ...peers]
        setPeers.call(transport, known)
      }
      return transport
    },
  },
  /** Some connections are left out of batches, and again when they are resent: nothing is missing by number. */
  'loses-records': {
    ...noSabotage,
    gossip: (transport) => {
      const { broadcast, send } = transport
      const said = (topic: Topic, message: Uint8Array) => (topic === 'connections' ? withoutSome(message) : message)
      transport.broadcast = (topic, message) => broadcast.call(transport, topic, said(topic, message))
      transport.send = (peer, topic, message) => send.call(transport, peer, topic, said(topic, message))
      return transport
    },
  },
  /** Nobody confirms a connection. */
  'confirms-nothing': {
    ...noSabotage,
    gossip: (transport) => {
      const { send } = transport
      transport.send = async (peer, topic, message) => {
        if (topic === 'sync' && parseSyncMessage(message)?.kind === 'confirmation') return
        await send.call(transport, peer, topic, message)
      }
      return transport
    },
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
  /** Who has fallen silent is heard for a while longer, so that nobody misses him. */
  'late-takeover': {
    ...noSabotage,
    vrrp: (transport, _self, clock) => {
      const last = new Map<number, VrrpDatagram>()
      return {
        ...transport,
        send: (message, destination, groupMac) => {
          last.delete(message[VRID])
          return transport.send(message, destination, groupMac)
        },
        onDatagram: (handler) =>
          transport.onDatagram((datagram) => {
            const echo = (leftMs: number) => {
              if (leftMs <= 0 || last.get(datagram.message[VRID]) !== datagram) return
              handler(datagram)
              clock.schedule(ECHO_INTERVAL_MS, () => echo(leftMs - ECHO_INTERVAL_MS))
            }
            last.set(datagram.message[VRID], datagram)
            echo(LATE_MS)
          }),
      }
    },
  },
  throws: {
    ...noSabotage,
    vrrp: onResignation(() => {
      throw new Error('a resignation is heard')
    }),
  },
  /** Nobody handles it. */
  rejects: { ...noSabotage, vrrp: onResignation(() => void Promise.reject(new Error('a resignation is heard'))) },
  /** A director takes its VIPs back whether its table is whole or not. */
  'preempts-before-sync': { ...noSabotage, inSync: () => true },
  /** A director takes its VIPs back although they are to be left where they are, for a while or for good. */
  'preempts-at-will': { ...noSabotage, vip: (config) => ({ ...config, preempt: true, preemptDelayMs: 0 }) },
  /** One of a sync group goes its own way. */
  'leaves-its-group': {
    ...noSabotage,
    vip: (config) => (config.vrid === LAST_SERVICE.vrid ? { ...config, syncGroup: undefined } : config),
  },
  /** One of a sync group becomes faulty with the others, but does not take its address back with them. */
  'stays-behind': {
    ...noSabotage,
    vip: (config) => {
      if (config.vrid !== LAST_SERVICE.vrid || config.syncGroup === undefined) return config
      return { ...config, track: tracksUplink, syncGroup: undefined, preempt: false }
    },
  },
  /** What becomes of the interface that it tracks is nothing to one of the virtual services. */
  'tracks-nothing': {
    ...noSabotage,
    vip: (config) =>
      config.vrid === LAST_SERVICE.vrid ? { ...config, track: { interfaces: [], scripts: [] } } : config,
  },
  /** Nobody says so when a change is overridden by who did not know it. */
  'overrides-in-silence': { ...noSabotage, overridden: () => [] },
} as const satisfies Record<string, Sabotage>

function onResignation(happens: () => void): Sabotage['vrrp'] {
  return (transport) => ({
    ...transport,
    onDatagram: (handler) =>
      transport.onDatagram((datagram) => {
        if (datagram.message[PRIORITY] === PRIORITY_RESIGN) happens()
        handler(datagram)
      }),
  })
}

export type SabotageName = keyof typeof SABOTAGES

/** The end of a connection that nobody has stands in the place of what is left out: a batch must have as many records as it says. */
function withoutSome(message: Uint8Array): Uint8Array {
  const bytes = message.slice()
  const records = BATCH_HEADER_LENGTH + BLOCK_HEADER_LENGTH
  const length = (bytes.length - records) / (parseBatch(bytes)?.block.count ?? 1)
  for (let at = records; at < bytes.length; at += length) {
    if (readUint16(bytes, at + RECORD.clientPort) % LOST_ONE_IN > 0) continue
    bytes[at + RECORD.kind] = RECORD_REMOVE
    writeUint16(bytes, at + RECORD.clientPort, 0)
  }
  return bytes
}
