/** Writes each datagram to a group, as hexadecimal digits, one a line: `hear-multicast GROUP PORT OWN-ADDRESS`. */
import { createSocket } from 'node:dgram'

const [group, port, ownAddress] = process.argv.slice(2)
const socket = createSocket({ type: 'udp4', reuseAddr: true })
socket.on('message', (datagram) => process.stdout.write(`${datagram.toString('hex')}\n`))
socket.bind(Number(port), () => {
  socket.addMembership(group, ownAddress)
  process.stdout.write('ready\n')
})
