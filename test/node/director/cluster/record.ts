/** Connection records for tests, numbered. */
import { RECORD, RECORD_LENGTH, RECORD_UPSERT } from '../../../../protocol/wire/connection-record.ts'

/** A record of IPv4 connection number `n`: client 10.x.y.z. */
export function makeRecord(n: number, version: number, kind: number = RECORD_UPSERT): Uint8Array {
  const record = new Uint8Array(RECORD_LENGTH)
  const view = new DataView(record.buffer)
  record[RECORD.kind] = kind
  record[RECORD.protocol] = 6
  record[RECORD.state] = 1
  record[RECORD.method] = 1
  view.setUint16(RECORD.version, version)
  view.setUint32(RECORD.timeoutMs, 900_000)
  view.setUint16(RECORD.clientPort, 1024 + (n % 60_000))
  view.setUint16(RECORD.virtualPort, 80)
  view.setUint16(RECORD.serverPort, 8000)
  setMapped(view, RECORD.clientAddress, 0x0a000000 + Math.floor(n / 60_000))
  setMapped(view, RECORD.virtualAddress, 0xc0000201)
  setMapped(view, RECORD.serverAddress, 0xac100003)
  return record
}

function setMapped(view: DataView, offset: number, address: number): void {
  view.setUint32(offset + 8, 0xffff)
  view.setUint32(offset + 12, address)
}
