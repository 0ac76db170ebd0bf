/** Bytes of LevelDB's files from front to back. Every method throws RangeError where there are too few, or no number. */
const VARINT_BYTES_MAX = 10

export class ByteReader {
  readonly #bytes: Uint8Array
  #at = 0

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes
  }

  get left(): number {
    return this.#bytes.length - this.#at
  }

  take(length: number): Uint8Array {
    const at = this.#pass(length)
    return this.#bytes.subarray(at, at + length)
  }

  /** Copies what take() would give: without making anything, as byte() and fixed(), of which a large store has many. */
  takeInto(target: Uint8Array, at: number, length: number): void {
    const from = this.#pass(length)
    for (let index = 0; index < length; index++) target[at + index] = this.#bytes[from + index]
  }

  byte(): number {
    return this.#bytes[this.#pass(1)]
  }

  /** Seven bits a byte, the lowest first; all but the last byte have their highest bit set. */
  varint(): number {
    let value = 0
    for (let index = 0; index < VARINT_BYTES_MAX; index++) {
      const byte = this.byte()
      value += (byte & 0x7f) * 2 ** (7 * index)
      if (byte < 0x80) return value
    }
    throw new RangeError('a number has no end')
  }

  /** Bytes behind their length. */
  string(): Uint8Array {
    return this.take(this.varint())
  }

  /** Little endian; precise up to 2^53. */
  fixed(length: number): number {
    const at = this.#pass(length)
    let value = 0
    for (let index = at + length - 1; index >= at; index--) value = value * 256 + this.#bytes[index]
    return value
  }

  /** @returns where what is passed begins */
  #pass(length: number): number {
    if (length > this.left) throw new RangeError('the bytes end too early')
    this.#at += length
    return this.#at - length
  }
}
