/** One line that tells how far a long piece of work is: written over in a terminal, and elsewhere a line for each change of phase. */
const SHOWN_COLUMNS = 160

export class ProgressLine {
  readonly #stream: NodeJS.WriteStream
  #phase = ''
  #drawn = false

  constructor(stream: NodeJS.WriteStream) {
    this.#stream = stream
  }

  /** What stands before the first " | " is the phase. */
  show(text: string): void {
    const phase = text.split(' | ', 1)[0]
    if (this.#stream.isTTY) {
      const columns = Math.min(this.#stream.columns ?? SHOWN_COLUMNS, SHOWN_COLUMNS)
      this.#stream.write(`\r\x1b[K${text.slice(0, columns - 1)}`)
      this.#drawn = true
    } else if (phase !== this.#phase) {
      this.#stream.write(`${text}\n`)
    }
    this.#phase = phase
  }

  /** Something to stay on the screen. */
  note(text: string): void {
    this.end()
    this.#stream.write(`${text}\n`)
  }

  end(): void {
    if (this.#drawn) this.#stream.write('\r\x1b[K')
    this.#drawn = false
  }
}
