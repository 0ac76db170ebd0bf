/**
 * The name of a connection, for maps that span a moment of loss: its protocol and both its ends.
 */
import { RECORD } from '../../../../protocol/wire/connection-record.ts'

const PORTS_LENGTH = 4
const ADDRESSES_LENGTH = 32
const scratch = Buffer.alloc(1 + PORTS_LENGTH + ADDRESSES_LENGTH)

/** @param offset of a record of RECORD_LENGTH bytes */
export function connectionKey(bytes: Uint8Array, offset: number): string {
  scratch[0] = bytes[offset + RECORD.protocol]
  for (let i = 0; i < PORTS_LENGTH; i++) scratch[1 + i] = bytes[offset + RECORD.clientPort + i]
  for (let i = 0; i < ADDRESSES_LENGTH; i++) scratch[1 + PORTS_LENGTH + i] = bytes[offset + RECORD.clientAddress + i]
  return scratch.toString('latin1')
}

/** Writes the fields that the key is made of into a record of RECORD_LENGTH bytes. */
export function writeConnectionKey(key: string, bytes: Uint8Array, offset: number): void {
  scratch.write(key, 'latin1')
  bytes[offset + RECORD.protocol] = scratch[0]
  for (let i = 0; i < PORTS_LENGTH; i++) bytes[offset + RECORD.clientPort + i] = scratch[1 + i]
  for (let i = 0; i < ADDRESSES_LENGTH; i++) bytes[offset + RECORD.clientAddress + i] = scratch[1 + PORTS_LENGTH + i]
}
