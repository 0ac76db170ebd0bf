/** The thread of the TLS gate. It has no part in what a director must do in time, and waits behind whoever has. */
import { parentPort, workerData } from 'node:worker_threads'
import { monotonicMs } from '../../../forwarder/clock.ts'
import { putThreadBehind } from '../../processor-share.ts'
import type { FromTlsGate, TlsGateInput, ToTlsGate } from './control-tls.ts'
import { RefusalLog } from './refusal-log.ts'
import { TlsGate } from './tls-gate.ts'

const { belief, listen, path, refused } = workerData as TlsGateInput
const port = parentPort
if (!port) throw new Error('to be run as a worker thread')
const post = (message: FromTlsGate) => port.postMessage(message)

putThreadBehind()
const tell = (address: string, reason: string) => post({ kind: 'refused', address, reason })
const gate = new TlsGate(belief, new RefusalLog(tell, monotonicMs, new Uint32Array(refused)))
port.on('message', (message: ToTlsGate) => {
  if (message.kind === 'stop') {
    void gate.stop().then(() => port.close())
    return
  }
  gate.reload(message.belief)
  post({ kind: 'reloaded' })
})
try {
  await gate.start(listen, path)
  post({ kind: 'listens', port: gate.port as number })
} catch (error) {
  post({ kind: 'busy', message: (error as Error).message })
  port.close()
}
