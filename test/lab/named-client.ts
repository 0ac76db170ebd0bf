/**
 * The client of the recordings. A line of JSON on stdin is a ClientRequest; a line of JSON on stdout is the answer: the name of the
 * server that it got, the code of the error, or null.
 */
import { createSocket, type Socket as DatagramSocket } from 'node:dgram'
import { once } from 'node:events'
import { connect, isIPv6, type Socket } from 'node:net'
import { createInterface } from 'node:readline'

export type ClientRequest =
  | { readonly do: 'udp'; readonly from: Endpoint; readonly to: Endpoint; readonly payload?: string }
  /** Opens a connection and leaves it open. */
  | { readonly do: 'tcp'; readonly from: Endpoint; readonly to: Endpoint }
  /** As tcp, but without waiting to be answered. */
  | { readonly do: 'knock'; readonly from: Endpoint; readonly to: Endpoint }
  /** So many bytes over a connection, which is then closed. */
  | { readonly do: 'send'; readonly from: Endpoint; readonly to: Endpoint; readonly bytes: number }
  /** Connections are named by their numbers, the first TCP connection of this client being 0. */
  | { readonly do: 'close' | 'reset'; readonly connections: readonly number[] }
  /** Gives up one that is not answered yet: nothing is sent of it any more. */
  | { readonly do: 'leave'; readonly connection: number }
  /** Says something on an open connection, and `ask` waits for the answer. */
  | { readonly do: 'say' | 'ask'; readonly connection: number }

export interface Endpoint {
  readonly address: string
  readonly port: number
}

const CHUNK_BYTES = 1 << 20

const sockets = new Map<string, Promise<DatagramSocket>>()
const connections: Socket[] = []

for await (const line of createInterface(process.stdin)) {
  const answer = await carryOut(JSON.parse(line)).catch((error: NodeJS.ErrnoException) => `ERR:${error.code}`)
  process.stdout.write(`${JSON.stringify(answer)}\n`)
}
// Nothing of them is left over to whoever takes the same ports next.
for (const connection of connections) connection.resetAndDestroy()
process.exit()

async function carryOut(request: ClientRequest): Promise<string | null> {
  switch (request.do) {
    case 'udp':
      return await askByDatagram(request)
    case 'tcp':
      return await nextWord(open(request))
    case 'ask':
      connections[request.connection].write('ping\n')
      return await nextWord(connections[request.connection])
    case 'say':
      connections[request.connection].write('ping\n')
      return null
    case 'knock':
      open(request).on('error', () => {})
      return null
    case 'send':
      await send(open(request), request.bytes)
      return null
    case 'close':
      await Promise.all(request.connections.map((number) => close(connections[number])))
      return null
    case 'leave':
      connections[request.connection].destroy()
      return null
    case 'reset':
      for (const number of request.connections) connections[number].resetAndDestroy()
      return null
  }
}

async function askByDatagram({ from, to, payload = 'who' }: ClientRequest & { do: 'udp' }): Promise<string> {
  const key = `${from.address}:${from.port} ${to.address}:${to.port}`
  if (!sockets.has(key)) sockets.set(key, openSocket(from, to))
  const socket = await sockets.get(key)!
  const answered = once(socket, 'message')
  socket.send(payload)
  const [answer] = (await answered) as [Buffer]
  return answer.toString()
}

async function openSocket(from: Endpoint, to: Endpoint): Promise<DatagramSocket> {
  const socket = createSocket(isIPv6(from.address) ? 'udp6' : 'udp4')
  socket.bind(from.port, from.address)
  await once(socket, 'listening')
  socket.connect(to.port, to.address)
  await once(socket, 'connect')
  return socket
}

function open({ from, to }: { from: Endpoint; to: Endpoint }): Socket {
  const connection = connect({ host: to.address, port: to.port, localAddress: from.address, localPort: from.port })
  connections.push(connection)
  return connection
}

async function nextWord(connection: Socket): Promise<string> {
  if (connection.destroyed) throw Object.assign(new Error('it is closed'), { code: 'EPIPE' })
  const [word] = (await once(connection, 'data')) as [Buffer]
  return word.toString().split('\n')[0]
}

async function send(connection: Socket, bytes: number): Promise<void> {
  const chunk = Buffer.alloc(CHUNK_BYTES)
  for (let sent = 0; sent < bytes; sent += chunk.length) {
    if (!connection.write(chunk.subarray(0, bytes - sent))) await once(connection, 'drain')
  }
  connection.resume()
  await close(connection)
}

async function close(connection: Socket): Promise<void> {
  const closed = once(connection, 'close')
  connection.end()
  await closed
}
