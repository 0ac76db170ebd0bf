/**
 * What directors tell each other when they are no longer active: MessagePack on the transport's topic 'vip', by stream.
 *
 * ```
 * { version   1
 *   ended     array of { vrid     integer of 1 to 255
 *                        family   4 or 6
 *                        holder   text, an address, unless nobody is heard: who is active by what the sender hears }
 *                      virtual routers for which the sender has been active, and is not any more }
 * ```
 *
 * VRRP tells of a duel by advertisements, which may all be lost: then the one that stays active does not know that neighbours were drawn away,
 * and would not announce the addresses again. So all peers are told of an end, at once, and each that connects of all that have ended. Version rule:
 * a reader drops other versions; within one, fields may be added and are passed over by those who do not know them.
 */
import { z } from 'zod'
import { pack, unpack } from '../../../protocol/message-pack.ts'
import type { Transport } from '../cluster/transport.ts'

const VERSION = 1
/** Every number of both families. */
const REIGNS_MAX = 510

const schema = z.object({
  version: z.literal(VERSION),
  ended: z
    .array(
      z.object({ vrid: z.int().min(1).max(255), family: z.literal([4, 6]), holder: z.string().max(64).optional() }),
    )
    .max(REIGNS_MAX),
})

/** Of which virtual router. */
export interface Reign {
  readonly vrid: number
  readonly family: 4 | 6
  /** Who has yielded tells that one alone to announce again: of several others that believe themselves active it may be the only right one. */
  readonly holder?: string
}

export type ReignTransport = Pick<Transport, 'send' | 'onMessage' | 'onPeer' | 'connectedPeers'>

export interface EndedReignsOptions {
  readonly transport: ReignTransport
  /** All that this director has had and has not now. */
  readonly ended: () => readonly Reign[]
  /** Somebody else was active, or may have been. @param reign undefined: nobody knows for which virtual routers */
  readonly onOther: (reason: string, reign?: Reign) => void
}

export class EndedReigns {
  readonly #transport: ReignTransport

  constructor({ transport, ended, onOther }: EndedReignsOptions) {
    this.#transport = transport
    transport.onMessage('vip', (from, bytes) => {
      for (const reign of decodeReigns(bytes) ?? []) onOther(`${from} was active until now`, reign)
    })
    transport.onPeer((peer, connected) => {
      // Not when it is lost: where it was cut off, both would announce, and draw the neighbours to and fro.
      if (!connected) return
      // While it was not connected it may have been active unheard, and it may have ended since.
      onOther(`${peer} is reached`)
      this.#send(peer, ended())
    })
  }

  /** To be called when one ends. */
  tell(reign: Reign): void {
    for (const peer of this.#transport.connectedPeers()) this.#send(peer, [reign])
  }

  #send(peer: string, reigns: readonly Reign[]): void {
    // Who cannot be sent to is told when it connects again.
    if (reigns.length > 0) void this.#transport.send(peer, 'vip', encodeReigns(reigns)).catch(() => {})
  }
}

export function encodeReigns(ended: readonly Reign[]): Uint8Array {
  return pack({ version: VERSION, ended })
}

/** Undefined when the bytes are not such a message. Never throws. */
export function decodeReigns(bytes: Uint8Array): Reign[] | undefined {
  try {
    return schema.safeParse(unpack(bytes)).data?.ended
  } catch {
    return undefined
  }
}
