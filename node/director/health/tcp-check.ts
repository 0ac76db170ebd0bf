/**
 * One check of a real server: does it accept a TCP connection? Nothing is sent on it, and it is reset rather than closed, so
 * that a thousand checks a second leave no thousand sockets in TIME-WAIT.
 *
 * The check goes to the real server's own address and its service port. Behind DR and TUN the service listens on the VIP;
 * bind it to the wildcard address, or to both, so that it can be checked.
 */
import { connect } from 'node:net'

/** inconclusive: we could not even ask, which says nothing about the server. */
export type CheckResult =
  | { outcome: 'success' }
  | { outcome: 'failure'; reason: string }
  | { outcome: 'inconclusive'; reason: string }

export type Check = (address: string, port: number, timeoutMs: number, signal: AbortSignal) => Promise<CheckResult>

/** Trouble of this host's own: descriptors, memory, local ports. */
const OWN_TROUBLE = new Set(['EMFILE', 'ENFILE', 'ENOMEM', 'ENOBUFS', 'EADDRNOTAVAIL'])

/** Never rejects; an abort is inconclusive. */
export const checkTcp: Check = (address, port, timeoutMs, signal) =>
  new Promise((resolve) => {
    if (signal.aborted) return resolve({ outcome: 'inconclusive', reason: 'aborted' })
    const noAnswer = `no answer in ${timeoutMs} ms`
    const socket = connect({ host: address, port })
    // When this thread has stood still, answers that came in time may not have been looked at yet: they are before the next immediates.
    const timer = setTimeout(() => setImmediate(finish, { outcome: 'failure', reason: noAnswer }), timeoutMs)
    const abort = () => finish({ outcome: 'inconclusive', reason: 'aborted' })
    signal.addEventListener('abort', abort)
    socket.once('connect', () => finish({ outcome: 'success' }))
    // Stays on after the end: a reset that crosses ours must not become an uncaught error.
    socket.on('error', (error: NodeJS.ErrnoException) => {
      const reason = error.code ?? error.message
      finish({ outcome: OWN_TROUBLE.has(reason) ? 'inconclusive' : 'failure', reason })
    })

    function finish(result: CheckResult): void {
      clearTimeout(timer)
      signal.removeEventListener('abort', abort)
      if (result.outcome === 'success') socket.resetAndDestroy()
      else socket.destroy()
      resolve(result)
    }
  })
