/**
 * The real server of the datagrams: a socket that nobody reads. The kernel finds it for each datagram and counts, and that is
 * all that a datagram costs here.
 */
import { AF_INET, bindSocket, openSocket, SOCK_DGRAM } from '../../../forwarder/sys/socket.ts'
import { SERVER_UDP_PORT } from './topology.ts'

const descriptor = openSocket(AF_INET, SOCK_DGRAM, 0, 'sink')
/** struct sockaddr_in: family u16 | port u16, big endian | address u32 | 8 bytes unused */
const address = new DataView(new ArrayBuffer(16))
address.setUint16(0, AF_INET, true)
address.setUint16(2, SERVER_UDP_PORT)
bindSocket(descriptor, new Uint8Array(address.buffer), 'sink')
console.log('ready')
setInterval(() => {}, 1 << 30)
