/**
 * Messages in the stream from one director to another, big endian:
 *
 * ```
 *  0           3       4
 * +-----------+-------+----------------------+
 * | length    | topic | length bytes         |
 * +-----------+-------+----------------------+
 * ```
 *
 * Topic 0 with no bytes is a sign of life. A frame longer than the reader's limit ends the stream.
 * Version rule: the stream's protocol name carries the version.
 */
export const FRAME_HEADER_LENGTH = 4

export function encodeFrame(topic: number, message: Uint8Array): Uint8Array {
  const frame = new Uint8Array(FRAME_HEADER_LENGTH + message.length)
  frame[0] = message.length >>> 16
  frame[1] = message.length >>> 8
  frame[2] = message.length
  frame[3] = topic
  frame.set(message, FRAME_HEADER_LENGTH)
  return frame
}

/** Puts the frames of a stream together again; holds at most one unfinished frame. */
export class FrameReader {
  readonly #limit: number
  readonly #partial: Uint8Array
  #filled = 0

  /** @param limit longest message accepted, bytes */
  constructor(limit: number) {
    this.#limit = limit
    this.#partial = new Uint8Array(FRAME_HEADER_LENGTH + limit)
  }

  /**
   * Takes the next bytes of the stream.
   * @param onFrame gets each message; it may keep the memory
   * @returns false when a frame is too long: the stream can only be ended
   */
  push(chunk: Uint8Array, onFrame: (topic: number, message: Uint8Array) => void): boolean {
    let at = 0
    while (at < chunk.length) {
      if (this.#filled === 0 && chunk.length - at >= FRAME_HEADER_LENGTH) {
        const length = lengthAt(chunk, at)
        if (length > this.#limit) return false
        const end = at + FRAME_HEADER_LENGTH + length
        if (end <= chunk.length) {
          onFrame(chunk[at + 3], chunk.subarray(at + FRAME_HEADER_LENGTH, end))
          at = end
          continue
        }
      }
      at += this.#fill(chunk, at, FRAME_HEADER_LENGTH)
      if (this.#filled < FRAME_HEADER_LENGTH) break
      const length = lengthAt(this.#partial, 0)
      if (length > this.#limit) return false
      at += this.#fill(chunk, at, FRAME_HEADER_LENGTH + length)
      if (this.#filled < FRAME_HEADER_LENGTH + length) break
      this.#filled = 0
      onFrame(this.#partial[3], this.#partial.slice(FRAME_HEADER_LENGTH, FRAME_HEADER_LENGTH + length))
    }
    return true
  }

  /** Copies until `wanted` bytes are there or the chunk is used up; returns the bytes taken. */
  #fill(chunk: Uint8Array, at: number, wanted: number): number {
    const take = Math.max(0, Math.min(wanted - this.#filled, chunk.length - at))
    this.#partial.set(chunk.subarray(at, at + take), this.#filled)
    this.#filled += take
    return take
  }
}

function lengthAt(bytes: Uint8Array, offset: number): number {
  return (bytes[offset] << 16) | (bytes[offset + 1] << 8) | bytes[offset + 2]
}
