/** A SIP user agent server for tests, `sip-server NAME PORT ADDRESS...`: answers every request with 200, and says its name. */
import { createSocket } from 'node:dgram'
import { once } from 'node:events'

const [name, port, ...addresses] = process.argv.slice(2)

for (const address of addresses) {
  const socket = createSocket('udp4')
  socket.on('message', (request, sender) => {
    const [, ...headers] = request.toString().split('\r\n')
    // RFC 3261 section 8.2.6.2: these a response has from its request.
    const copied = headers.filter((header) => /^(Via|From|To|Call-ID|CSeq):/i.test(header))
    const response = ['SIP/2.0 200 OK', ...copied, `Server: ${name}`, 'Content-Length: 0', '', '']
    socket.send(response.join('\r\n'), sender.port, sender.address)
  })
  socket.bind(Number(port), address)
  await once(socket, 'listening')
}
process.stdout.write('ready\n')
