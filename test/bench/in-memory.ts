/** All that is measured of the engine and its table, without a network. */
import { ConnectionMemory } from '../../forwarder/table/connection-layout.ts'
import { measureEngine } from './engine-thread.ts'
import { CONNECTIONS, type EngineNanoseconds, METHODS, type Measurements } from './report.ts'

const TABLE_SIZE = 2 ** 20

/** @param rounds of 1,024 packets each measurement takes */
export async function measureInMemory(
  rounds: number,
  progress: (what: string) => void,
  connections: readonly number[] = CONNECTIONS,
): Promise<Pick<Measurements, 'engineNs' | 'bytesPerConnection' | 'newConnectionsPerSecond'>> {
  const engineNs: Record<string, Record<number, number>> = {}
  for (const method of METHODS) {
    engineNs[method] = {}
    for (const count of connections) {
      progress(`engine, ${method}, ${count} connections`)
      engineNs[method][count] = await measureEngine({ kind: 'established', method, connections: count, rounds })
    }
  }
  progress('new connections')
  return {
    engineNs: engineNs as EngineNanoseconds,
    bytesPerConnection: Math.round(ConnectionMemory.allocate(TABLE_SIZE).byteLength / TABLE_SIZE),
    newConnectionsPerSecond: await measureEngine({ kind: 'new', rounds: Math.ceil(rounds / 4) }),
  }
}
