/**
 * The client of the recordings. A line of JSON on stdin is one connection to make, or some to close; a line of JSON on stdout is
 * the answer: the name of the server that it got, the code of the error, or null.
 */
import { createSocket, type Socket as DatagramSocket } from 'node:dgram'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { createInterface } from 'node:readline'

export type ClientRequest =
  | { readonly do: 'udp' | 'tcp'; readonly from: Endpoint; readonly to: Endpoint }
  /** The connections by their numbers, the first TCP connection of this client being 0. */
  | { readonly do: 'close'; readonly connections: readonly number[] }

interface Endpoint {
  readonly address: string
  readonly port: number
}

const sockets = new Map<string, Promise<DatagramSocket>>()
const connections: Socket[] = []

for await (const line of createInterface(process.stdin)) {
  const request: ClientRequest = JSON.parse(line)
  process.stdout.write(`${JSON.stringify(await carryOut(request))}\n`)
}
process.exit()

async function carryOut(request: ClientRequest): Promise<string | null> {
  if (request.do === 'close') {
    await Promise.all(request.connections.map((number) => close(connections[number])))
    return null
  }
  const { from, to } = request
  return await (request.do === 'udp' ? askByDatagram(from, to) : holdConnection(from, to)).catch(
    (error: NodeJS.ErrnoException) => `ERR:${error.code}`,
  )
}

async function askByDatagram(from: Endpoint, to: Endpoint): Promise<string> {
  const key = `${from.address}:${from.port} ${to.address}:${to.port}`
  if (!sockets.has(key)) sockets.set(key, openSocket(from, to))
  const socket = await sockets.get(key)!
  const answered = once(socket, 'message')
  socket.send('who')
  const [answer] = (await answered) as [Buffer]
  return answer.toString()
}

async function openSocket(from: Endpoint, to: Endpoint): Promise<DatagramSocket> {
  const socket = createSocket('udp4')
  socket.bind(from.port, from.address)
  await once(socket, 'listening')
  socket.connect(to.port, to.address)
  await once(socket, 'connect')
  return socket
}

async function holdConnection(from: Endpoint, to: Endpoint): Promise<string> {
  const connection = connect({ host: to.address, port: to.port, localAddress: from.address, localPort: from.port })
  connections.push(connection)
  const [greeting] = (await once(connection, 'data')) as [Buffer]
  return greeting.toString()
}

async function close(connection: Socket): Promise<void> {
  const closed = once(connection, 'close')
  connection.end()
  await closed
}
