/**
 * What a real server of the recordings is: `named-server NAME UDP_PORT TCP_PORT`. It answers every datagram, and greets every
 * connection, with its name; connections stay open until the client closes them.
 */
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { createServer } from 'node:net'

const [name, udpPort, tcpPort] = process.argv.slice(2)

const server = createServer((connection) => {
  connection.on('error', () => {})
  connection.write(name)
})
server.listen(Number(tcpPort), '0.0.0.0')
const socket = createSocket('udp4')
socket.on('message', (_datagram, { address, port }) => socket.send(name, port, address))
socket.bind(Number(udpPort), '0.0.0.0')
await Promise.all([once(server, 'listening'), once(socket, 'listening')])
process.stdout.write('ready\n')
