/**
 * ipvsadm's listing of connections, byte for byte. Source: recordings of ipvsadm 1.31.
 */
import type { ConnectionListing } from '../../director/control/answers.ts'
import type { Label } from './names.ts'

/** @param withEngine the columns of persistence engines, for the entries that have one */
export function formatConnections(
  connections: readonly ConnectionListing[],
  label: Label,
  withEngine: boolean,
): string {
  const title = [
    ['state', 11],
    ['source', 18],
    ['virtual', 18],
  ] as const
  const titles = withEngine ? `${'destination'.padEnd(18)} ${'pe name'.padEnd(16)} pe_data` : 'destination'
  const parts = ['IPVS connection entries\npro expire ', columns(title), ` ${titles}\n`]
  for (const { protocol, expiresMs, state, client, virtual, server, persistenceEngine } of connections) {
    const named = (endpoint: string) => label(...splitEndpoint(endpoint), protocol)
    parts.push(
      columns([
        [protocol.toUpperCase(), 3],
        [minutesAndSeconds(expiresMs), 6],
        [state, 11],
        [named(client), 18],
        [named(virtual), 18],
      ]),
      ' ',
      withEngine && persistenceEngine
        ? `${columns([
            [named(server), 16],
            [persistenceEngine.name, 18],
          ])} ${persistenceEngine.data}`
        : named(server),
      '\n',
    )
  }
  return parts.join('')
}

/** "10.0.0.1:80" or "[2001:db8::1]:80" as address and port. */
export function splitEndpoint(endpoint: string): [address: string, port: number] {
  const colon = endpoint.lastIndexOf(':')
  return [endpoint.slice(0, colon).replace(/^\[(.*)\]$/, '$1'), Number(endpoint.slice(colon + 1))]
}

function columns(fields: readonly (readonly [text: string, width: number])[]): string {
  return fields.map(([text, width]) => text.padEnd(width)).join(' ')
}

function minutesAndSeconds(milliseconds: number): string {
  const seconds = Math.max(0, Math.floor(milliseconds / 1000))
  return [Math.floor(seconds / 60), seconds % 60].map((number) => String(number).padStart(2, '0')).join(':')
}
