/** Directors of other versions: today's, with their messages changed on the way out. */
import type { Topic, Transport } from '../../node/director/cluster/transport.ts'
import { FORMAT_VERSION } from '../../protocol/wire/format-version.ts'

export type Accent = (message: Uint8Array) => Uint8Array

/** The topics whose messages begin with a version (protocol/wire/format-version.ts). */
const VERSIONED: readonly Topic[] = ['connections', 'presence', 'sync', 'digest']

export const LATER_VERSION = FORMAT_VERSION + 1
export const ANOTHER_SERIES = 16

/** A later version has something more behind every message. */
export const speaksLater: Accent = (message) => Uint8Array.of(LATER_VERSION, ...message.subarray(1), 0xaa, 0xbb, 0xcc)

/** One that knows nothing of what has been added since the first. */
export const speaksFirstVersion: Accent = (message) => message.with(0, 1)

/** One that nobody here can read. */
export const speaksAnotherSeries: Accent = (message) => message.with(0, ANOTHER_SERIES)

/** The transport, which says everything with an accent from now on. */
export function withAccent(transport: Transport, accent: Accent): Transport {
  const { broadcast, send } = transport
  const said = (topic: Topic, message: Uint8Array) => (VERSIONED.includes(topic) ? accent(message) : message)
  transport.broadcast = (topic, message) => broadcast.call(transport, topic, said(topic, message))
  transport.send = (peer, topic, message) => send.call(transport, peer, topic, said(topic, message))
  return transport
}
