/**
 * What directors tell each other of the servers' health: MessagePack on the transport's topic 'health'.
 *
 * ```
 * { version   1
 *   sequence  integer        later messages of a director have greater ones; begins at its wall clock in milliseconds
 *   up        array of text  "10.0.0.1:80" or "[2001:db8::1]:80" of servers that the sender finds live
 *   down      array of text  and of those it finds dead }
 * ```
 *
 * A message speaks only of the servers in it. Of a server of which the sender knows nothing it says nothing. Version rule: a
 * reader drops other versions; within one, fields may be added and are passed over by those who do not know them.
 */
import { z } from 'zod'
import { pack, unpack } from '../../../protocol/message-pack.ts'
import type { HealthState } from './rise-fall.ts'

const VERSION = 1
/** 512 keys stay below the transport's 64 KiB, and are read and judged in a millisecond or two. */
export const SERVERS_PER_MESSAGE = 512

const keys = z.array(z.string().max(64)).max(SERVERS_PER_MESSAGE)
const schema = z.object({ version: z.literal(VERSION), sequence: z.int().min(0), up: keys, down: keys })

export interface OpinionMessage {
  sequence: number
  opinions: [key: string, state: HealthState][]
}

/** At most SERVERS_PER_MESSAGE opinions. */
export function encodeOpinions({ sequence, opinions }: OpinionMessage): Uint8Array {
  const of = (wanted: HealthState) => opinions.filter(([, state]) => state === wanted).map(([key]) => key)
  return pack({ version: VERSION, sequence, up: of('up'), down: of('down') })
}

/** Undefined when the bytes are not such a message. Never throws. */
export function decodeOpinions(bytes: Uint8Array): OpinionMessage | undefined {
  try {
    const result = schema.safeParse(unpack(bytes))
    if (!result.success) return undefined
    const { sequence, up, down } = result.data
    const opinions: OpinionMessage['opinions'] = []
    for (const key of up) opinions.push([key, 'up'])
    for (const key of down) opinions.push([key, 'down'])
    return { sequence, opinions }
  } catch {
    return undefined
  }
}
