/**
 * What a real server of the recordings is: `named-server OPTIONS`, a NamedServerOptions in JSON. It answers every datagram with its
 * name, greets every connection with it and answers whatever is said there with it; connections stay open until the client closes
 * them. On the port for the web it serves one page with its name, and on the sink's port it swallows what it gets.
 */
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { createServer, isIPv6, type Socket } from 'node:net'

export interface NamedServerOptions {
  readonly name: string
  readonly udpPort: number
  readonly tcpPort: number
  readonly webPort?: number
  readonly sinkPort?: number
  /** Each by itself, so that datagrams are answered from the address that they were sent to. */
  readonly addresses: readonly string[]
}

const { name, udpPort, tcpPort, webPort, sinkPort, addresses }: NamedServerOptions = JSON.parse(process.argv[2])

const line = `${name}\n`
const headers = ['HTTP/1.1 200 OK', 'Content-Type: text/plain', `Content-Length: ${line.length}`, 'Connection: close']
const page = `${headers.join('\r\n')}\r\n\r\n${line}`

await Promise.all(
  addresses.flatMap((address) => [
    answerDatagrams(address),
    listen(tcpPort, address, (connection) => {
      connection.write(line)
      connection.on('data', () => connection.write(line))
    }),
    listen(webPort, address, (connection) => connection.once('data', () => connection.end(page))),
    listen(sinkPort, address, (connection) => connection.resume()),
  ]),
)
process.stdout.write('ready\n')

async function answerDatagrams(address: string): Promise<void> {
  const socket = createSocket(isIPv6(address) ? 'udp6' : 'udp4')
  socket.on('message', (_datagram, { address, port }) => socket.send(name, port, address))
  socket.bind(udpPort, address)
  await once(socket, 'listening')
}

async function listen(port: number | undefined, address: string, serve: (connection: Socket) => void): Promise<void> {
  if (port === undefined) return
  const server = createServer((connection) => {
    connection.on('error', () => {})
    serve(connection)
  })
  server.listen(port, address)
  await once(server, 'listening')
}
