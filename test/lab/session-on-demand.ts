/**
 * A client of the session server: `session-on-demand ADDRESS PORT`. For each line on stdin it sends one message over the one
 * connection that it has, and writes the name of the server that answered, or why the connection has ended.
 */
import { once } from 'node:events'
import { connect } from 'node:net'
import { createInterface } from 'node:readline'
import { answers, MESSAGE_BYTES, serverNameIn, writeRequest } from '../../node/drill/session-message.ts'

const [address, port] = process.argv.slice(2)
const SESSION = 1
const socket = connect({ host: address, port: Number(port), noDelay: true })
socket.on('error', (error) => {
  process.stdout.write(`${error.message}\n`)
  process.exit(0)
})
await once(socket, 'connect')
let number = 0
for await (const _ of createInterface(process.stdin)) {
  const message = Buffer.alloc(MESSAGE_BYTES)
  writeRequest(message, SESSION, number)
  socket.write(message)
  let reply = Buffer.alloc(0)
  while (reply.length < MESSAGE_BYTES) reply = Buffer.concat([reply, ...(await once(socket, 'data'))])
  process.stdout.write(answers(reply, 0, SESSION, number++) ? `${serverNameIn(reply, 0)}\n` : 'a wrong answer\n')
}
socket.destroy()
