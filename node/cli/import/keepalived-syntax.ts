/**
 * The syntax of keepalived.conf: lines of words, some of which open a block. Whatever the words mean is not known here.
 *
 * ```
 * # or ! to the end of the line: a comment
 * virtual_server 10.0.0.100 80 {     words, then a block, whose brace may be on the next line
 *     lb_algo rr                     words
 *     quorum_up "/bin/x y"           in quotes, of either kind, a word may have spaces; \ takes the next character as it is
 *     include more.conf \            at the end of a line: it goes on in the next one
 *     weight ${WEIGHT}               these braces belong to the word
 * }
 * $NAME= lb_algo rr \               the rest of the line, braces too, is what the name stands for: passed over
 * ```
 * Source: keepalived.conf(5) of keepalived 2.2.7.
 */
import { DirectorError } from '../../../protocol/errors.ts'
import type { Omissions } from './omissions.ts'

export interface Statement {
  /** Where its first word is, from 1. */
  readonly line: number
  /** At least one. */
  readonly words: readonly string[]
  readonly block: readonly Statement[] | undefined
}

const LENGTH_MAX = 8 * 1024 * 1024
const DEPTH_MAX = 16
const WORDS_MAX = 1024
/** C's: what else Unicode has as a space belongs to a word, and shows up with it. */
const SPACE = /[ \t\n\v\f\r]/
const CONTINUATION = /\\[ \t\r]*(?:\n|$)/y
const LINE_END = /\r?(?:\n|$)/y
/** ${NAME}, or ${_RANDOM 1 9}. */
const PARAMETER = /\$\{\w{1,64}(?:[ \t]{1,8}\d{1,10}){0,2}\}/y
const DEFINITION = /^\$\w+=/

type Mark = '{' | '}' | 'end of line'
interface Token {
  readonly line: number
  readonly word?: string
  readonly mark?: Mark
}

interface OpenStatement {
  readonly line: number
  readonly words: string[]
  block: OpenStatement[] | undefined
}

/** @throws DirectorError CONFIG_INVALID beyond the bounds; whatever else is odd is an omission */
export function parseKeepalived(text: string, file: string, omissions: Omissions): readonly Statement[] {
  const refuse = (line: number, what: string) => new DirectorError('CONFIG_INVALID', `${file}:${line}: ${what}`)
  if (text.length > LENGTH_MAX) throw refuse(1, `longer than ${LENGTH_MAX} characters: this is no keepalived.conf`)
  const top: OpenStatement[] = []
  const open: { statements: OpenStatement[]; line: number }[] = [{ statements: top, line: 1 }]
  let current: OpenStatement | undefined
  /** What a brace on the next line would belong to. */
  let latest: OpenStatement | undefined
  let isLineStart = true
  let isDefinition = false
  for (const { line, word, mark } of tokensOf(text, omissions)) {
    if (mark === 'end of line') isDefinition = false
    if (isDefinition) continue
    isDefinition = isLineStart && word !== undefined && DEFINITION.test(word)
    isLineStart = mark === 'end of line'
    const { statements } = open[open.length - 1]
    if (word !== undefined) {
      if (!current) {
        current = { line, words: [], block: undefined }
        statements.push(current)
      }
      if (current.words.length >= WORDS_MAX) throw refuse(line, `more than ${WORDS_MAX} words in one line`)
      current.words.push(word)
    } else if (mark === 'end of line') {
      latest = current ?? latest
      current = undefined
    } else if (mark === '{') {
      const owner = current ?? latest
      if (open.length > DEPTH_MAX) throw refuse(line, `blocks more than ${DEPTH_MAX} deep`)
      const block: OpenStatement[] = []
      if (owner && !owner.block) owner.block = block
      else omissions.add(line, ['{'], 'nothing is before this brace: its block is passed over')
      open.push({ statements: block, line })
      current = undefined
      latest = undefined
    } else {
      if (open.length > 1) open.pop()
      else omissions.add(line, ['}'], 'there is no block that this could close')
      current = undefined
      latest = undefined
    }
  }
  for (const { line } of open.slice(1)) omissions.add(line, ['{'], 'this block is never closed: it ends with the file')
  return top
}

function* tokensOf(text: string, omissions: Omissions): Generator<Token> {
  let line = 1
  for (let at = 0; at < text.length; ) {
    const character = text[at]
    if (character === '\n') {
      yield { line, mark: 'end of line' }
      line++
      at++
    } else if (SPACE.test(character)) at++
    else if (character === '#' || character === '!') at = endOfLine(text, at)
    else if (character === '{' || character === '}') {
      yield { line, mark: character }
      at++
    } else if (character === '\\' && isAt(CONTINUATION, text, at)) {
      at = endOfLine(text, at) + 1
      line++
    } else {
      const { word, end, openQuote } = readWord(text, at)
      // Of the word, which may be a password, nothing is said.
      if (openQuote !== '') omissions.add(line, [openQuote], 'the quotes are not closed in this line')
      yield { line, word }
      at = end
    }
  }
  yield { line, mark: 'end of line' }
}

function endOfLine(text: string, at: number): number {
  const end = text.indexOf('\n', at)
  return end < 0 ? text.length : end
}

/** A word ends where nothing that belongs to it follows; quotes end with their line at the latest. */
function readWord(text: string, start: number): { word: string; end: number; openQuote: string } {
  let word = ''
  let quote = ''
  let at = start
  for (; at < text.length && text[at] !== '\n'; at++) {
    const character = text[at]
    if (character === '\\' && !isAt(LINE_END, text, at + 1)) word += text[++at]
    else if (quote !== '') {
      if (character === quote) quote = ''
      else word += character
    } else if (character === '"' || character === "'") quote = character
    else if (character === '$' && isAt(PARAMETER, text, at)) {
      word += text.slice(at, PARAMETER.lastIndex)
      at = PARAMETER.lastIndex - 1
    } else if (SPACE.test(character) || /[{}#!\\]/.test(character)) break
    else word += character
  }
  return { word, end: at, openQuote: quote }
}

/** @param pattern sticky */
function isAt(pattern: RegExp, text: string, at: number): boolean {
  pattern.lastIndex = at
  return pattern.test(text)
}

/** The number that is a word's digits and nothing else. */
export function wholeNumber(word: string | undefined): number | undefined {
  return word !== undefined && /^\d{1,10}$/.test(word) ? Number(word) : undefined
}
