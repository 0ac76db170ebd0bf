/** What an import could not carry over, by line. */

export interface Omission {
  /** From 1. */
  readonly line: number
  readonly message: string
}

/** Longer words of a file are cut where they are repeated to people. */
const WORDS_LENGTH = 80

export class Omissions {
  readonly #list: Omission[] = []

  /** @param words as they are in the file; no secrets */
  add(line: number, words: readonly string[], why: string): void {
    const text = words.join(' ')
    const shown = text.length > WORDS_LENGTH ? `${text.slice(0, WORDS_LENGTH)}...` : text
    this.#list.push({ line, message: `${shown}: ${why}` })
  }

  /** In the order of the lines. */
  get list(): readonly Omission[] {
    return this.#list.toSorted((a, b) => a.line - b.line)
  }
}
