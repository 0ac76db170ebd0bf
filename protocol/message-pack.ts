/**
 * MessagePack as all messages and stored values have it: plain values, each of which stands alone. Extensions are refused before anything is
 * decoded: a few bytes of msgpackr's stand for a value that takes minutes to walk or gigabytes to write, or for one that is read for ever.
 *
 * Source: https://github.com/msgpack/msgpack/blob/master/spec.md, "Formats".
 */
import { Packr } from 'msgpackr/pack'

/** Raw bytes are copied: a few of them would keep all of the message they came in. */
const packr = new Packr({ useRecords: false, structuredClone: false, copyBuffers: true })

/** @throws RangeError for what is nested too deeply */
export function pack(value: unknown): Uint8Array {
  return packr.pack(value)
}

/** @throws Error for what is not one value and nothing else */
export function unpack(bytes: Uint8Array): unknown {
  if (endOfValue(bytes, 0) < bytes.length) throw new RangeError('bytes behind a MessagePack value')
  return packr.unpack(bytes)
}

/**
 * Values one after the other.
 * @param take false: the rest is not read
 * @throws Error at the first that is none
 */
export function unpackEach(bytes: Uint8Array, take: (value: unknown) => boolean): void {
  let start = 0
  while (start < bytes.length) {
    const end = endOfValue(bytes, start)
    if (!take(packr.unpack(bytes.subarray(start, end)))) return
    start = end
  }
}

/** @throws RangeError for what is cut short, or no plain value */
function endOfValue(bytes: Uint8Array, start: number): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  let at = start
  // A list or a map just adds to what is still to come, so nothing is kept of how deeply they are nested.
  for (let missing = 1; missing > 0; missing--) {
    const token = view.getUint8(at++)
    if (token < 0x80 || token >= 0xe0) continue
    if (token < 0x90) missing += 2 * (token - 0x80)
    else if (token < 0xa0) missing += token - 0x90
    else if (token < 0xc0) at += token - 0xa0
    else
      switch (token) {
        // nil, false, true
        case 0xc0:
        case 0xc2:
        case 0xc3:
          break
        // uint and int of 8, 16, 32 and 64 bits, float of 32 and 64
        case 0xcc:
        case 0xd0:
          at += 1
          break
        case 0xcd:
        case 0xd1:
          at += 2
          break
        case 0xca:
        case 0xce:
        case 0xd2:
          at += 4
          break
        case 0xcb:
        case 0xcf:
        case 0xd3:
          at += 8
          break
        // bin and str
        case 0xc4:
        case 0xd9:
          at += 1 + view.getUint8(at)
          break
        case 0xc5:
        case 0xda:
          at += 2 + view.getUint16(at)
          break
        case 0xc6:
        case 0xdb:
          at += 4 + view.getUint32(at)
          break
        // array and map
        case 0xdc:
          missing += view.getUint16(at)
          at += 2
          break
        case 0xdd:
          missing += view.getUint32(at)
          at += 4
          break
        case 0xde:
          missing += 2 * view.getUint16(at)
          at += 2
          break
        case 0xdf:
          missing += 2 * view.getUint32(at)
          at += 4
          break
        // The one extension that pack() writes: undefined.
        case 0xd4:
          if (view.getUint16(at) !== 0) throw new RangeError('a MessagePack extension')
          at += 2
          break
        default:
          throw new RangeError(`a MessagePack value of the format 0x${token.toString(16)}`)
      }
  }
  if (at > bytes.length) throw new RangeError('a MessagePack value that is cut short')
  return at
}
