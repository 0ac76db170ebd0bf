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
): Promise<Pick<Measurements, 'engineNs' | 'engineNsIPv6' | 'bytesPerConnection' | 'newConnectionsPerSecond'>> {
  const established = async (isIPv6: boolean): Promise<EngineNanoseconds> => {
    const nanoseconds: Record<string, Record<number, number>> = {}
    for (const method of METHODS) {
      nanoseconds[method] = {}
      for (const count of connections) {
        progress(`engine, ${isIPv6 ? 'IPv6' : 'IPv4'}, ${method}, ${count} connections`)
        const measurement = { kind: 'established', method, isIPv6, connections: count, rounds } as const
        nanoseconds[method][count] = await measureEngine(measurement)
      }
    }
    return nanoseconds as EngineNanoseconds
  }
  const engineNs = await established(false)
  const engineNsIPv6 = await established(true)
  progress('new connections')
  return {
    engineNs,
    engineNsIPv6,
    bytesPerConnection: Math.round(ConnectionMemory.allocate(TABLE_SIZE).byteLength / TABLE_SIZE),
    newConnectionsPerSecond: await measureEngine({ kind: 'new', rounds: Math.ceil(rounds / 4) }),
  }
}
