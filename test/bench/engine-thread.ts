/** One measurement of engine-bench.ts in a thread of its own, which has rehearsed as the forwarding thread does. */
import { parentPort, Worker, workerData } from 'node:worker_threads'
import { rehearse } from '../../forwarder/rehearsal.ts'
import type { ForwardingMethod } from '../../forwarder/service.ts'
import { allocateFrameMemory } from '../../forwarder/sys/memory.ts'
import { engineNanoseconds, newConnectionsPerSecond } from './engine-bench.ts'

export type EngineMeasurement =
  | {
      readonly kind: 'established'
      readonly method: ForwardingMethod
      readonly isIPv6: boolean
      readonly connections: number
      readonly rounds: number
    }
  | { readonly kind: 'new'; readonly rounds: number }

const REHEARSAL_BYTES = 256 * 1024

export async function measureEngine(measurement: EngineMeasurement): Promise<number> {
  const worker = new Worker(new URL(import.meta.url), { workerData: measurement })
  return await new Promise((resolve, reject) => {
    worker.once('message', resolve)
    worker.once('error', reject)
  })
}

const measurement = workerData as EngineMeasurement | null
if (measurement !== null) {
  rehearse(allocateFrameMemory(REHEARSAL_BYTES), allocateFrameMemory(REHEARSAL_BYTES))
  parentPort?.postMessage(
    measurement.kind === 'new'
      ? newConnectionsPerSecond(measurement.rounds)
      : engineNanoseconds(measurement.method, measurement.isIPv6, measurement.connections, measurement.rounds),
  )
}
