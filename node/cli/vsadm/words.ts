/**
 * Cuts a command line into options as popt does, the library that ipvsadm reads its command line with: options and
 * arguments in any order, short options in one word (`-Lnt ADDRESS`), an argument in the same word (`-w5`, `-w=5`,
 * `--weight=5`) or the next, `--` before words that are no options. Source: popt(3).
 */
import type { Spelling } from './grammar.ts'

export interface Option {
  readonly spelling: Spelling
  readonly argument: string | undefined
  /** The word it stood in, as typed; for messages. */
  readonly word: string
}

export type Step =
  | { readonly kind: 'option'; readonly option: Option }
  | { readonly kind: 'error'; readonly word: string; readonly reason: string }

/**
 * Yields options until the words are used up or one is wrong; words that are no options are left in `leftover`.
 * `spellings` is asked anew for each option, since what one means can depend on those before it.
 */
export function* readOptions(
  words: readonly string[],
  leftover: string[],
  spellings: () => readonly Spelling[],
): Generator<Step, void> {
  let next = 0
  while (next < words.length) {
    const word = words[next++]
    if (word === '--') {
      leftover.push(...words.slice(next))
      return
    }
    if (!word.startsWith('-') || word === '-') leftover.push(word)
    else if (word.startsWith('--')) {
      const equals = word.indexOf('=')
      const name = equals < 0 ? word.slice(2) : word.slice(2, equals)
      const spelling = spellings().find((each) => each.long === name)
      if (!spelling) return yield { kind: 'error', word, reason: 'unknown option' }
      if (spelling.argument === 'none' && equals >= 0)
        return yield { kind: 'error', word, reason: 'option does not take an argument' }
      const step = withArgument(spelling, word, equals < 0 ? undefined : word.slice(equals + 1))
      yield step
      if (step.kind === 'error') return
    } else {
      for (let position = 1; position < word.length; position++) {
        const spelling = spellings().find((each) => each.short === word[position])
        if (!spelling) return yield { kind: 'error', word, reason: 'unknown option' }
        if (spelling.argument === 'none') {
          if (word[position + 1] === '=')
            return yield { kind: 'error', word, reason: 'option does not take an argument' }
          yield { kind: 'option', option: { spelling, argument: undefined, word } }
          continue
        }
        const rest = word.slice(position + 1)
        const step = withArgument(spelling, word, rest ? rest.replace(/^=/, '') : undefined)
        yield step
        if (step.kind === 'error') return
        break
      }
    }
  }

  function withArgument(spelling: Spelling, word: string, attached: string | undefined): Step {
    let argument = attached
    if (argument === undefined && spelling.argument !== 'none') {
      const candidate = words[next]
      // An argument that must be there is the next word, whatever it looks like: `-w -1` is a wrong weight.
      if (spelling.argument === 'required' && candidate === undefined)
        return { kind: 'error', word, reason: 'missing argument' }
      if (candidate !== undefined && (spelling.argument === 'required' || !candidate.startsWith('-'))) {
        argument = candidate
        next++
      }
    }
    return { kind: 'option', option: { spelling, argument, word } }
  }
}
