/** The thread that writes in record-ring.test.ts: numbered records, the number at both ends of each. */
import { workerData } from 'node:worker_threads'
import { RecordRing } from '../../../forwarder/table/record-ring.ts'
import { RECORD_LENGTH } from '../../../protocol/wire/connection-record.ts'

const { shared, count } = workerData as { shared: SharedArrayBuffer; count: number }
const ring = new RecordRing(shared)
const view = new DataView(ring.bytes.buffer, ring.bytes.byteOffset)
for (let number = 0; number < count; number++) {
  const at = ring.reserve()
  if (at < 0) continue
  view.setUint32(at, number)
  view.setUint32(at + RECORD_LENGTH - 4, number)
  ring.commit()
  if (number % 64 === 0) ring.notify()
}
ring.notify()
