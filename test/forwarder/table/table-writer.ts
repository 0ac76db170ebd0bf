/** The thread that writes in connection-reader.test.ts: makes and ends connections until it is told to stop. */
import { parentPort, workerData } from 'node:worker_threads'
import {
  type ConnectionIndex,
  FLAG_REPLICATED,
  NO_CONNECTION,
  STATE,
  STATE_WORDS,
} from '../../../forwarder/table/connection-layout.ts'
import { ConnectionTable } from '../../../forwarder/table/connection-table.ts'
import { ServerDirectory } from '../../../forwarder/table/server-directory.ts'
import { seededRandom } from '../../random.ts'
import { keyOf } from '../../support/connection-keys.ts'
import { clientOf, SERVERS, serverOf, VIRTUAL, VIRTUAL_PORT } from './churn.ts'

const { tableMemory, directoryMemory, stop } = workerData as {
  tableMemory: SharedArrayBuffer
  directoryMemory: SharedArrayBuffer
  stop: SharedArrayBuffer
}
const stopped = new Int32Array(stop)
const directory = new ServerDirectory(directoryMemory)
const slots = Array.from({ length: SERVERS }, (_, number) =>
  directory.addServer(
    { protocol: 6, virtualAddress: VIRTUAL, virtualPort: VIRTUAL_PORT, address: serverOf(number), port: 1 },
    0,
  ),
)
const table = new ConnectionTable(tableMemory, directory, 1, 0)
const random = seededRandom(1)
const living: ConnectionIndex[] = []
let isReady = false
while (Atomics.load(stopped, 0) === 0) {
  const number = 1 + random.below(60_000)
  const ports = (number << 16) | VIRTUAL_PORT
  const isKnown = table.findByClient(6, clientOf(number), VIRTUAL, ports) !== NO_CONNECTION
  if (!isKnown && living.length < 1000) {
    const slot = slots[number % SERVERS]
    const index = table.insert(keyOf(6, clientOf(number), VIRTUAL, ports), slot, number, FLAG_REPLICATED)
    table.memory.states[index * STATE_WORDS + STATE.versionSynced] = 1 << 16
    table.setExpires(index, 100)
    table.file(index)
    living.push(index)
  }
  if (living.length > 900) {
    const place = random.below(living.length)
    table.remove(living[place])
    living[place] = living[living.length - 1]
    living.pop()
    if (!isReady) parentPort?.postMessage('ready')
    isReady = true
  }
}
