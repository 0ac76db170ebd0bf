/**
 * Ends of segments that are beginnings of lines: FTP commands that a client sends in pieces, by hand for instance. A bounded
 * number of connections, a bounded length; the oldest is forgotten first.
 */
import { FTP_LINE_LENGTH } from '../../../protocol/packet/ftp.ts'
import type { ConnectionIndex } from '../../table/connection-layout.ts'

const MAX_LINES = 1024
/** Of a segment no more lines are read. Some clients send all that belongs to a transfer without waiting for replies. */
const MOST_OF_SEGMENT = 16

interface PartialLine {
  /** Sequence number of the byte that is to come next. */
  readonly next: number
  readonly text: string
}

export class PartialLines {
  readonly #lines = new Map<ConnectionIndex, PartialLine>()

  /**
   * The first whole lines of a segment, without their ends, the very first together with what came of it before.
   * @param sequence of the segment's first byte
   */
  take(index: ConnectionIndex, sequence: number, text: string): string[] {
    const before = this.#lines.get(index)
    const isContinued = before?.next === sequence
    const joined = isContinued ? before.text + text : text
    const whole = joined.lastIndexOf('\n') + 1
    const rest = joined.slice(whole)
    this.#lines.delete(index)
    if (rest !== '' && rest.length <= FTP_LINE_LENGTH) {
      this.#lines.set(index, { next: (sequence + text.length) | 0, text: rest })
      if (this.#lines.size > MAX_LINES) this.#lines.delete(this.#lines.keys().next().value as ConnectionIndex)
    }
    const lines = joined.slice(0, whole).split('\n', MOST_OF_SEGMENT)
    return lines.map((line) => (line.endsWith('\r') ? line.slice(0, -1) : line))
  }

  get size(): number {
    return this.#lines.size
  }
}
