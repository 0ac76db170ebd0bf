/**
 * The server that the drill's sessions talk to, a program of its own: `session-server NAME PORT`. It sends every intact
 * message back with its name in it, and resets a connection that sends anything else.
 */
import { createServer, type Socket } from 'node:net'
import { encodeServerName, isIntact, MESSAGE_BYTES, turnIntoReply } from './session-message.ts'

const [nameArgument, portArgument] = process.argv.slice(2)
const name = encodeServerName(nameArgument)

const server = createServer({ noDelay: true }, serve)
server.on('error', (error) => {
  process.stderr.write(`session server ${nameArgument}: ${error.message}\n`)
  process.exit(1)
})
// Both families.
server.listen({ port: Number(portArgument), host: '::', ipv6Only: false, backlog: 4096 })

function serve(socket: Socket): void {
  let rest: Buffer | undefined
  socket.on('error', () => socket.destroy())
  socket.on('drain', () => socket.resume())
  socket.on('data', (chunk: Buffer) => {
    const data = rest ? Buffer.concat([rest, chunk]) : chunk
    const whole = data.length - (data.length % MESSAGE_BYTES)
    for (let offset = 0; offset < whole; offset += MESSAGE_BYTES) {
      if (!isIntact(data, offset)) {
        socket.resetAndDestroy()
        return
      }
      turnIntoReply(data, offset, name)
    }
    rest = whole < data.length ? Buffer.from(data.subarray(whole)) : undefined
    // A client that does not read is not read from either.
    if (whole > 0 && !socket.write(data.subarray(0, whole))) socket.pause()
  })
}
