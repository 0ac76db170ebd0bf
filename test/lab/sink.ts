/**
 * What the lab's real servers run besides their own programs, for tests: `sink NAME PORT`.
 *
 * TCP: an HTTP server that answers every request with the SHA-256 of its body. UDP: "who" is answered with the server's name, an
 * empty datagram with nothing, every other with itself. Both over IPv4 and IPv6.
 */
import { createHash } from 'node:crypto'
import { createSocket } from 'node:dgram'
import { createServer } from 'node:http'
import { pipeline } from 'node:stream/promises'

const [name, port] = process.argv.slice(2)

createServer(async (request, response) => {
  const hash = createHash('sha256')
  await pipeline(request, hash)
  response.end(hash.digest('hex'))
}).listen({ port: Number(port), host: '::', ipv6Only: false })

const socket = createSocket({ type: 'udp6', ipv6Only: false })
socket.on('message', (datagram, { address, port }) => {
  if (datagram.length > 0) socket.send(datagram.toString() === 'who' ? name : datagram, port, address)
})
socket.bind(Number(port), '::', () => {
  socket.setRecvBufferSize(8 << 20)
  process.stdout.write('ready\n')
})
