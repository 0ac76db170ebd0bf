/** A multicast socket of forwarder/sys in the event loop of Node. */
import { createSocket, type Socket } from 'node:dgram'
import { once } from 'node:events'

/** Takes over the descriptor. */
export async function adoptSocket(descriptor: number, family: 4 | 6): Promise<Socket> {
  const socket = createSocket(family === 4 ? 'udp4' : 'udp6')
  const listening = once(socket, 'listening')
  socket.bind({ fd: descriptor })
  await listening
  return socket
}
