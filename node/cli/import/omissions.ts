/** What an import could not carry over, by line. */

export interface Omission {
  /** From 1. */
  readonly line: number
  readonly message: string
}

export const NO_COUNTERPART = 'has no counterpart here'

/** Longer words of a file are cut where they are repeated to people. */
const WORDS_LENGTH = 80
/** What is behind these is not repeated: it is a password, or what a name stands for, which may be one. */
const SECRET = /^(auth_pass|password|\$\w+=)/

export class Omissions {
  readonly #list: Omission[] = []
  readonly #told = new Set<string>()

  /**
   * The same is told once: a line of a group of virtual servers is met for each of them.
   * @param words as they are in the file
   */
  add(line: number, words: readonly string[], why: string): void {
    // A file may have what a terminal would obey.
    const text = withoutSecrets(words)
      .join(' ')
      .replaceAll(/\p{Cc}/gu, '?')
    const shown = text.length > WORDS_LENGTH ? `${text.slice(0, WORDS_LENGTH)}...` : text
    const message = `${shown}: ${why}`
    const key = `${line} ${message}`
    if (!this.#told.has(key)) this.#list.push({ line, message })
    this.#told.add(key)
  }

  /** In the order of the lines. */
  get list(): readonly Omission[] {
    return this.#list.toSorted((a, b) => a.line - b.line)
  }
}

function withoutSecrets(words: readonly string[]): string[] {
  const at = words.findIndex((word) => SECRET.test(word))
  return at < 0 ? [...words] : [...words.slice(0, at), SECRET.exec(words[at])?.[0] ?? '', '...']
}
