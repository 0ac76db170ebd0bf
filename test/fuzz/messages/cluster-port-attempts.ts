/** What is tried at a director's cluster port, layer by layer: how each attempt is made, and what the director must have counted after it. */
import { connect } from 'node:net'
import type { MultiaddrConnection } from '@libp2p/interface'
import { encodeFrame } from '../../../protocol/wire/stream-frame.ts'
import type { Random } from '../../random.ts'
import {
  closed,
  connectTo,
  GOSSIP,
  type Intruder,
  MULTISTREAM,
  negotiation,
  nextBytes,
} from '../../support/cluster-intruder.ts'
import { mutated, oneOf, randomBytes } from './wire.ts'

export interface Target {
  readonly endpoint: string
  /** Whom the director knows as d3. */
  readonly peer: Intruder
  readonly stranger: Intruder
  /** What the peer once sent for a handshake, piece by piece. */
  readonly transcript: readonly Uint8Array[]
  /** Is told of sound gossip of the peer, before it is sent. */
  readonly onSound: (data: Uint8Array) => void
}

/** What the director counts; not given: what cannot be foreseen. */
export interface Counted {
  readonly failedHandshakes?: number
  readonly refusedStrangers?: number
  readonly malformedMessages?: number
}

export interface Attempt {
  readonly messages: number
  readonly counted?: Counted
  /** To be ended when that has been counted. */
  readonly connection?: MultiaddrConnection
}

const DATA = 0
const WINDOW_UPDATE = 1
const PING = 2
const SYN = 1
const TOPIC = 'linux-director/1/config'
const greeting = negotiation(MULTISTREAM, '/noise')

export const attempts = { port, handshake, replay, stranger, seal, frames, streams, gossip, messages }

/** Of one address libp2p takes 128 connections a second; further ones it refuses unread. */
function someAddress(random: Random): string {
  return `127.${1 + random.below(254)}.${random.below(256)}.${1 + random.below(254)}`
}

/** Before any handshake. */
async function port(target: Target, random: Random): Promise<Attempt> {
  const count = 20
  const [host, port] = target.endpoint.split(':')
  const ask = async () => {
    const socket = connect({ port: Number(port), host, localAddress: someAddress(random) })
    // What is refused may end before it was all sent.
    socket.on('error', () => {})
    socket.resume().end(rubbish(target, random))
    await new Promise((resolve) => socket.once('close', resolve))
  }
  await Promise.all(Array.from({ length: count }, ask))
  return { messages: count, counted: { failedHandshakes: count } }
}

function rubbish({ transcript }: Target, random: Random): Uint8Array {
  switch (random.below(7)) {
    case 0:
      return randomBytes(random, random.below(500))
    case 1:
      return greeting.subarray(0, random.below(greeting.length + 1))
    case 2:
      return mutated(random, Buffer.concat([greeting, transcript[1]]))
    case 3:
      return new Uint8Array(random.below(70_000)).fill(0xff)
    case 4:
      return negotiation(
        ...Array.from({ length: random.below(400) }, () => oneOf(random, ['ls', '', '/none', MULTISTREAM])),
      )
    case 5:
      return Buffer.from('GET / HTTP/1.1\r\nHost: director\r\n\r\n')
    default:
      return Buffer.concat(transcript)
  }
}

/** One of his messages is not what it should be. */
async function handshake({ endpoint, peer }: Target, random: Random): Promise<Attempt> {
  const count = 10
  for (let n = 0; n < count; n++) {
    const connection = await connectTo(endpoint, someAddress(random))
    const wrong = 1 + random.below(2)
    const { send } = connection
    let sent = 0
    connection.send = (data) => {
      if (sent++ !== wrong) return send.call(connection, data)
      const bytes = data.subarray()
      send.call(connection, oneOf(random, [mutated(random, bytes), randomBytes(random, random.below(300))]))
      void connection.close()
      return true
    }
    await peer.secure(connection).catch(() => {})
    await closed(connection)
  }
  return { messages: count, counted: { failedHandshakes: count } }
}

/** A sound handshake, once more. */
async function replay({ endpoint, transcript }: Target, random: Random): Promise<Attempt> {
  const connection = await connectTo(endpoint, someAddress(random))
  for (const piece of transcript) {
    connection.send(piece)
    await nextBytes(connection)
  }
  await closed(connection)
  return { messages: transcript.length, counted: { failedHandshakes: 1 } }
}

async function stranger(target: Target, random: Random): Promise<Attempt> {
  const connection = await connectTo(target.endpoint, someAddress(random))
  await target.stranger.secure(connection)
  await closed(connection)
  return { messages: 1, counted: { refusedStrangers: 1 } }
}

/** What noise has sealed, changed on its way, or once more. */
async function seal({ endpoint, peer }: Target, random: Random): Promise<Attempt> {
  const connection = await connectTo(endpoint, someAddress(random))
  const secured = await peer.secure(connection)
  // Right behind the handshake it may count as a part of that.
  const isEarly = random.oneIn(4)
  if (!isEarly) await nextBytes(secured)
  const { send } = connection
  connection.send = (data) => {
    const bytes = Buffer.from(data.subarray())
    if (random.oneIn(2)) send.call(connection, bytes)
    else bytes[2 + random.below(bytes.length - 2)] ^= 1 + random.below(255)
    return send.call(connection, bytes)
  }
  secured.send(frame(PING, 0, 0, 0))
  secured.send(frame(WINDOW_UPDATE, 0, 1, 7))
  await closed(connection)
  return { messages: 2, ...(!isEarly && { counted: { malformedMessages: 1 } }) }
}

/** As hashicorp/yamux/spec.md has it. */
function frame(
  type: number,
  flags: number,
  stream: number,
  length: number,
  body: Uint8Array = new Uint8Array(),
): Uint8Array {
  const header = Buffer.alloc(12)
  header[1] = type
  header.writeUInt16BE(flags, 2)
  header.writeUInt32BE(stream, 4)
  header.writeUInt32BE(length, 8)
  return Buffer.concat([header, body])
}

/** Through noise, in the place of yamux. */
async function frames({ endpoint, peer }: Target, random: Random): Promise<Attempt> {
  const connection = await connectTo(endpoint, someAddress(random))
  const secured = await peer.secure(connection)
  const sound = frame(DATA, SYN, 1, greeting.length, greeting)
  const wrong = [
    Uint8Array.of(1 + random.below(255), ...sound.subarray(1)),
    frame(PING + random.below(250), SYN, 1, 0),
    frame(oneOf(random, [DATA, WINDOW_UPDATE]), 0, 0, 0),
    frame(DATA, SYN, 1, 2 ** 24 + 1 + random.below(2 ** 31)),
    frame(WINDOW_UPDATE, SYN, 2 + 2 * random.below(100), 0),
    frame(DATA, SYN, 1, 300_000, new Uint8Array(300_000)),
  ]
  if (random.oneIn(2)) {
    secured.send(oneOf(random, wrong))
    await closed(connection)
    return { messages: 1, counted: { malformedMessages: 1 } }
  }
  const count = 10
  const anything = [...wrong, sound, frame(PING, SYN, 0, random.below(2 ** 31)), frame(WINDOW_UPDATE, SYN, 3, 2 ** 31)]
  for (let n = 0; n < count && connection.status === 'open'; n++)
    secured.send(
      random.oneIn(4) ? randomBytes(random, random.below(300)) : mutated(random, oneOf(random, anything), anything),
    )
  await connection.close()
  return { messages: count }
}

/** On streams of yamux, for whatever protocol. */
async function streams({ endpoint, peer }: Target, random: Random): Promise<Attempt> {
  const count = 10
  const connection = await connectTo(endpoint, someAddress(random))
  const muxer = peer.multiplex(await peer.secure(connection))
  const known = [GOSSIP, '/linux-director/messages/1', '/ipfs/id/1.0.0']
  for (let n = 0; n < count; n++) {
    const stream = await muxer.createStream()
    const sound = negotiation(MULTISTREAM, oneOf(random, known))
    stream.send(
      random.oneIn(2) ? mutated(random, sound) : Buffer.concat([sound, randomBytes(random, random.below(300))]),
    )
    if (random.oneIn(2)) void stream.close().catch(() => {})
  }
  await connection.close()
  return { messages: count }
}

/** A peer's gossip: frames that are no RPC, and messages that nobody should believe. */
async function gossip({ endpoint, peer, stranger, onSound }: Target, random: Random): Promise<Attempt> {
  const count = 40
  const connection = await connectTo(endpoint, someAddress(random))
  const muxer = peer.multiplex(await peer.secure(connection))
  const stream = await peer.open(muxer, GOSSIP)
  const say = (rpc: Uint8Array, length = rpc.length) => void stream.send(Buffer.concat([varint(length), rpc]))
  const seqno = () => randomBytes(random, 8)
  const data = randomBytes(random, 40)
  const sound = await peer.gossip(TOPIC, data, seqno())
  onSound(data)
  say(sound)
  const counted = { malformedMessages: 0, refusedStrangers: 0 }
  for (let n = 2; n < count; n++) {
    const attempt = oneOf(random, ['replay', 'cut', 'forged', 'other', 'stranger', 'topic', 'nothing'] as const)
    if (attempt === 'replay') say(sound)
    else if (attempt === 'cut') say(sound.subarray(0, 1 + random.below(sound.length - 1)))
    else if (attempt === 'forged') say(await peer.gossip(TOPIC, data, seqno(), stranger))
    else if (attempt === 'other') say(await stranger.gossip(TOPIC, data, seqno(), peer))
    else if (attempt === 'stranger') say(await stranger.gossip(TOPIC, data, seqno()))
    else if (attempt === 'topic') say(await peer.gossip('another', data, seqno()))
    else say(new Uint8Array())
    if (['cut', 'forged', 'other'].includes(attempt)) counted.malformedMessages++
    if (attempt === 'stranger') counted.refusedStrangers++
  }
  if (random.oneIn(2)) say(randomBytes(random, 20), 70_000 + random.below(2 ** 40))
  else void stream.send(new Uint8Array(20).fill(0xff))
  counted.malformedMessages++
  return { messages: count, counted, connection }
}

/** A peer's frames on the stream of messages. */
async function messages({ endpoint, peer }: Target, random: Random): Promise<Attempt> {
  const count = 20
  const connection = await connectTo(endpoint, someAddress(random))
  const muxer = peer.multiplex(await peer.secure(connection))
  const stream = await peer.open(muxer, '/linux-director/messages/1')
  const unknown = () => oneOf(random, [5, 9 + random.below(247)])
  for (let n = 1; n < count; n++) stream.send(encodeFrame(unknown(), randomBytes(random, random.below(300))))
  stream.send(Uint8Array.of(1 + random.below(255), 0, random.below(256), unknown()))
  return { messages: count, counted: { malformedMessages: count }, connection }
}

/** As protobuf writes numbers. */
function varint(value: number): Uint8Array {
  const bytes: number[] = []
  for (; value > 127; value = Math.floor(value / 128)) bytes.push((value % 128) | 128)
  return Uint8Array.of(...bytes, value)
}
