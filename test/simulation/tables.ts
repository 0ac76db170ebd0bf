/** Directors' connection tables as the simulation compares them: read from the tables themselves, through what replication reads by. */
import { FLAG_HALF_OPEN, NO_CONNECTION } from '../../forwarder/table/connection-layout.ts'
import { formatIPv4, parseIPv4, readInt32, readUint16 } from '../../protocol/packet/bytes.ts'
import { PROTOCOL_TCP } from '../../protocol/packet/ipv4.ts'
import { RECORD, RECORD_LENGTH } from '../../protocol/wire/connection-record.ts'
import type { Conversation } from './conversation.ts'
import type { SimulatedDirector } from './simulated-director.ts'

export interface Entry {
  /** "CLIENT:PORT > VIRTUAL:PORT" */
  readonly name: string
  readonly state: number
  readonly server: string
  readonly version: number
  readonly leftMs: number
}

/** The last four bytes of an IPv4 address in mapped form. */
const IPV4_PART = 12

/** The connections that anybody was told of, by name. */
export function readTable({ forwarder }: SimulatedDirector): Map<string, Entry> {
  const { reader } = forwarder
  const bytes = new Uint8Array(reader.capacity * RECORD_LENGTH)
  const count = reader.encodeRange(0, reader.capacity, bytes, 0)
  const entries = Array.from({ length: count }, (_, index) => readEntry(bytes, index * RECORD_LENGTH))
  return new Map(entries.map((entry) => [entry.name, entry]))
}

/** Whether the director's table leads the conversation to the server that it is with, as of its ESTABLISHED or later. */
export function leadsToServer(
  { forwarder }: SimulatedDirector,
  { clientAddress, clientPort, service, server }: Conversation,
): boolean {
  const { table, engine } = forwarder
  const ports = (clientPort << 16) | service.port
  const index = table.findByClient(PROTOCOL_TCP, parseIPv4(clientAddress), parseIPv4(service.address), ports)
  if (index === NO_CONNECTION || server === undefined || (table.flags(index) & FLAG_HALF_OPEN) !== 0) return false
  return engine.services.serverBySlot[table.server(index)]?.address === parseIPv4(server)
}

export function entryName(clientAddress: string, clientPort: number, virtual: string, virtualPort: number): string {
  return `${clientAddress}:${clientPort} > ${virtual}:${virtualPort}`
}

function readEntry(bytes: Uint8Array, at: number): Entry {
  const address = (field: number) => formatIPv4(readInt32(bytes, at + field + IPV4_PART))
  const port = (field: number) => readUint16(bytes, at + field)
  return {
    name: entryName(
      address(RECORD.clientAddress),
      port(RECORD.clientPort),
      address(RECORD.virtualAddress),
      port(RECORD.virtualPort),
    ),
    state: bytes[at + RECORD.state],
    server: address(RECORD.serverAddress),
    version: port(RECORD.version),
    leftMs: readInt32(bytes, at + RECORD.timeoutMs) >>> 0,
  }
}

/** Ends with less than this left may come at different times: a record tells what was left when it was sent. */
const SURE_TO_LAST_MS = 20_000

/** In words, what one table says otherwise than the other; undefined: nothing. */
export function difference(one: SimulatedDirector, other: SimulatedDirector): string | undefined {
  const [mine, theirs] = [readTable(one), readTable(other)]
  for (const [a, b, from, to] of [
    [mine, theirs, one, other],
    [theirs, mine, other, one],
  ] as const) {
    for (const entry of a.values()) {
      const twin = b.get(entry.name)
      if (twin && twin.server === entry.server && twin.state === entry.state && twin.version === entry.version) continue
      if (!twin && entry.leftMs < SURE_TO_LAST_MS) continue
      return `${from.name} has ${text(entry)}, ${to.name} has ${twin ? text(twin) : 'nothing'}`
    }
  }
  return undefined
}

function text({ name, server, state, version, leftMs }: Entry): string {
  return `${name} at ${server} in state ${state} (version ${version}, ${leftMs} ms left)`
}
