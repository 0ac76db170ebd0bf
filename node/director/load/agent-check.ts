/**
 * One question to a HAProxy agent: a TCP connection, what is to be sent, and the first line that comes back.
 *
 * The protocol has no authentication: whoever answers at this address and port speaks for the server.
 */
import { connect } from 'node:net'

/** The first line, without its end; undefined: there was none, or not the whole of it. */
export type AskAgent = (address: string, signal: AbortSignal) => Promise<string | undefined>

/** HAProxy's buffer has as much. */
const LINE_BYTES_MAX = 16 * 1024

export interface AgentCheckOptions {
  readonly port: number
  /** For all of it. */
  readonly timeoutMs: number
  /** Before anything is read. */
  readonly send: string
}

/** Never rejects. */
export function createAskAgent({ port, timeoutMs, send }: AgentCheckOptions): AskAgent {
  return (address, signal) =>
    new Promise((resolve) => {
      if (signal.aborted) return resolve(undefined)
      const socket = connect({ host: address, port })
      let heard = ''
      // When this thread has stood still, what came in time may not have been looked at yet: it is before the next immediates.
      const timer = setTimeout(() => setImmediate(finish), timeoutMs)
      const finish = (line?: string) => {
        clearTimeout(timer)
        signal.removeEventListener('abort', onAbort)
        socket.destroy()
        resolve(line)
      }
      const onAbort = () => finish()
      signal.addEventListener('abort', onAbort)
      socket.once('connect', () => {
        if (send !== '') socket.write(send)
      })
      socket.setEncoding('latin1').on('data', (text: string) => {
        heard += text
        const end = heard.search(/[\r\n]/)
        if (end >= 0) finish(heard.slice(0, end))
        else if (heard.length > LINE_BYTES_MAX) finish()
      })
      socket.once('end', onAbort)
      // Stays on after the end: a reset that comes late must not become an uncaught error.
      socket.on('error', onAbort)
    })
}
