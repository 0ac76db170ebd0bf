/**
 * A SIP user agent client for tests, `sip-client ADDRESS PORT OWN_PORT METHOD CALL_ID...`: sends a request of each call by turns from one
 * port, again and again until it is answered (RFC 3261 section 17.1.2), and prints which server answered each.
 */
import { createSocket } from 'node:dgram'
import { once } from 'node:events'

const T1_MS = 500

const [address, port, ownPort, method, ...callIds] = process.argv.slice(2)
const socket = createSocket('udp4')
socket.bind(Number(ownPort))
await once(socket, 'listening')

const servers = new Map<string, string | undefined>()
const answered = Promise.withResolvers<void>()
socket.on('message', (bytes) => {
  const text = bytes.toString()
  const callId = /^Call-ID: (.*)$/m.exec(text)?.[1].trim()
  if (!callId || !text.includes(` ${method}\r\n`)) return
  servers.set(callId, /^Server: (.*)$/m.exec(text)?.[1].trim())
  if (servers.size === callIds.length) answered.resolve()
})
const ask = () => {
  for (const callId of callIds) if (!servers.has(callId)) socket.send(request(callId), Number(port), address)
}
ask()
const timer = setInterval(ask, T1_MS)
await answered.promise
clearInterval(timer)
socket.close()
process.stdout.write(JSON.stringify(callIds.map((callId) => servers.get(callId))))

function request(callId: string): string {
  return [
    `${method} sip:bob@${address} SIP/2.0`,
    `Via: SIP/2.0/UDP client;branch=z9hG4bK${callId.length}${method}`,
    'Max-Forwards: 70',
    `From: <sip:alice@client>;tag=${callId.length}`,
    `To: <sip:bob@${address}>`,
    `Call-ID: ${callId}`,
    `CSeq: 1 ${method}`,
    'Content-Length: 0',
    '',
    '',
  ].join('\r\n')
}
