/**
 * The Call-ID of a SIP message (RFC 3261 section 20.8), which all messages of a call have in common.
 *
 * Found as the kernel finds it: the first header line named Call-ID, or i for short, in any case, whose value is `word` or
 * `word@word`. Lines may end with CR, LF or both (RFC 2543), and go on in a next one that begins with a blank. What stands behind
 * the value spoils it.
 *
 * Source: Linux net/netfilter/ipvs/ip_vs_pe_sip.c get_callid(); nf_conntrack_sip.c ct_sip_get_header(), callid_len().
 */

/** A longer one is none. */
export const CALL_ID_LENGTH_MAX = 255

/** Where in the bytes something stands. */
export interface Span {
  start: number
  length: number
}

const CR = 13
const LF = 10
const BLANK = 32
const TAB = 9
const COLON = 58
const AT = 64
const LETTER_I = 105
/** A capital letter and its small one differ in this bit. */
const CASE = 0x20

const NAME = Uint8Array.from('call-id', (letter) => letter.charCodeAt(0))

/** By byte: whether it may be in a `word`. */
const wordBytes = new Uint8Array(256)
for (const letter of '!"%()*+,-./:<>?[\\]_`{}~') wordBytes[letter.charCodeAt(0)] = 1
for (let byte = 0; byte < 128; byte++) if (/[0-9A-Za-z]/.test(String.fromCharCode(byte))) wordBytes[byte] = 1

/**
 * Looks for the Call-ID in the message from `start` up to `end`.
 * @param found is written over; it counts when the answer is true
 */
export function findCallId(bytes: Uint8Array, start: number, end: number, found: Span): boolean {
  for (let line = nextLine(bytes, start, end); line < end; line = nextLine(bytes, line, end)) {
    const name = nameLength(bytes, line, end)
    if (name === 0) continue
    let at = skipBlanks(bytes, line + name, end)
    if (at >= end || bytes[at] !== COLON) return false
    at = skipBlanks(bytes, at + 1, end)
    const length = valueLength(bytes, at, end)
    if (length === 0) continue
    found.start = at
    found.length = length
    return length <= CALL_ID_LENGTH_MAX && at + length < end && isLineEnd(bytes[at + length])
  }
  return false
}

/** Where the line after the one with `at` begins; `end`: there is none. */
function nextLine(bytes: Uint8Array, at: number, end: number): number {
  while (at < end && !isLineEnd(bytes[at])) at++
  return at < end ? afterLineEnd(bytes, at, end) : end
}

function afterLineEnd(bytes: Uint8Array, at: number, end: number): number {
  return bytes[at] === CR && at + 1 < end && bytes[at + 1] === LF ? at + 2 : at + 1
}

/** Of the header's name at the beginning of a line; 0: it is another one. */
function nameLength(bytes: Uint8Array, at: number, end: number): number {
  if (hasName(bytes, at, end)) return NAME.length
  const isShort = at + 1 < end && (bytes[at] | CASE) === LETTER_I && !isLetter(bytes[at + 1])
  return isShort ? 1 : 0
}

function hasName(bytes: Uint8Array, at: number, end: number): boolean {
  if (end - at < NAME.length) return false
  for (let i = 0; i < NAME.length; i++) {
    if ((isLetter(bytes[at + i]) ? bytes[at + i] | CASE : bytes[at + i]) !== NAME[i]) return false
  }
  return true
}

/** Over blanks, and over ends of lines that the next line goes on from. */
function skipBlanks(bytes: Uint8Array, at: number, end: number): number {
  while (at < end) {
    if (isBlank(bytes[at])) {
      at++
      continue
    }
    if (!isLineEnd(bytes[at])) break
    const next = afterLineEnd(bytes, at, end)
    if (next >= end || !isBlank(bytes[next])) break
    at = next
  }
  return at
}

/** 0 when there is none. */
function valueLength(bytes: Uint8Array, at: number, end: number): number {
  const local = wordLength(bytes, at, end)
  const then = at + local
  if (local === 0 || then >= end || bytes[then] !== AT) return local
  const domain = wordLength(bytes, then + 1, end)
  return domain === 0 ? 0 : local + 1 + domain
}

function wordLength(bytes: Uint8Array, at: number, end: number): number {
  let length = 0
  while (at + length < end && wordBytes[bytes[at + length]] === 1) length++
  return length
}

function isLineEnd(byte: number): boolean {
  return byte === CR || byte === LF
}

function isBlank(byte: number): boolean {
  return byte === BLANK || byte === TAB
}

function isLetter(byte: number): boolean {
  const small = byte | CASE
  return small >= 97 && small <= 122
}
