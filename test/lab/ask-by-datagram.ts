/**
 * A client of sink.ts's UDP side: `ask-by-datagram ADDRESS PORT`, with a JSON array of {port, payload} on stdin, payload in base64.
 * From each port its payload is sent, again every 200 ms, until something comes back. Prints the answers, in order, as JSON.
 */
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { isIPv6 } from 'node:net'
import { json } from 'node:stream/consumers'

/** What one asks at a time: more would only fill the queues of a busy machine. */
const AT_ONCE = 32

const [address, port] = process.argv.slice(2)
const questions = (await json(process.stdin)) as { port: number; payload: string }[]
const answers: string[] = []
let next = 0
await Promise.all(
  Array.from({ length: AT_ONCE }, async () => {
    while (next < questions.length) {
      const index = next++
      answers[index] = await ask(questions[index])
    }
  }),
)
process.stdout.write(JSON.stringify(answers))

async function ask(question: { port: number; payload: string }): Promise<string> {
  const socket = createSocket(isIPv6(address) ? 'udp6' : 'udp4')
  socket.bind(question.port)
  await once(socket, 'listening')
  const payload = Buffer.from(question.payload, 'base64')
  const send = () => socket.send(payload, Number(port), address, () => {})
  const again = setInterval(send, 200)
  send()
  const [answer] = (await once(socket, 'message')) as [Buffer]
  clearInterval(again)
  socket.close()
  return answer.toString('base64')
}
