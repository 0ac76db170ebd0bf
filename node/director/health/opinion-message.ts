/**
 * What directors tell each other of the servers' health: MessagePack on the transport's topic 'health'.
 *
 * ```
 * { version   1
 *   sequence  integer        later messages of a director have greater ones; begins at its wall clock in milliseconds
 *   up        array of text  "10.0.0.1:80" or "[2001:db8::1]:80" of servers that the sender finds live
 *   down      array of text  and of those it finds dead
 *   known     integer        in the last message of a round: of so many servers the sender has an opinion }
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
const schema = z.object({
  version: z.literal(VERSION),
  sequence: z.int().min(0),
  up: keys,
  down: keys,
  known: z.int().min(0).optional(),
})

export interface OpinionMessage {
  sequence: number
  opinions: [key: string, state: HealthState][]
  /** With this message the sender has told all that it knows, of so many servers; undefined: there is more to come. */
  known?: number
}

/** At most SERVERS_PER_MESSAGE opinions. */
export function encodeOpinions({ sequence, opinions, known }: OpinionMessage): Uint8Array {
  const of = (wanted: HealthState) => opinions.filter(([, state]) => state === wanted).map(([key]) => key)
  const message = { version: VERSION, sequence, up: of('up'), down: of('down') }
  return pack(known === undefined ? message : { ...message, known })
}

/** Undefined when the bytes are not such a message. Never throws. */
export function decodeOpinions(bytes: Uint8Array): OpinionMessage | undefined {
  try {
    const result = schema.safeParse(unpack(bytes))
    if (!result.success) return undefined
    const { sequence, up, down, known } = result.data
    const opinions: OpinionMessage['opinions'] = []
    for (const key of up) opinions.push([key, 'up'])
    for (const key of down) opinions.push([key, 'down'])
    return known === undefined ? { sequence, opinions } : { sequence, opinions, known }
  } catch {
    return undefined
  }
}
