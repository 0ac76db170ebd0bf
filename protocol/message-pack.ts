/**
 * MessagePack as all messages and stored values have it: plain values, each of which stands alone. Extensions for shared references are
 * refused: with them a few hundred bytes could stand for a value that takes minutes to walk.
 */
import { Packr } from 'msgpackr/pack'

const packr = new Packr({ useRecords: false, structuredClone: false })

/** @throws RangeError for what is nested too deeply */
export function pack(value: unknown): Uint8Array {
  return packr.pack(value)
}

/** @throws Error for what is not one value and nothing else */
export function unpack(bytes: Uint8Array): unknown {
  return packr.unpack(bytes)
}

/**
 * Values one after the other.
 * @param take false: the rest is not read
 * @throws Error at the first that is none
 */
export function unpackEach(bytes: Uint8Array, take: (value: unknown) => boolean): void {
  packr.unpackMultiple(bytes, take)
}
