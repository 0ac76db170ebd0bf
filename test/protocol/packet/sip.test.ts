/** Which Call-ID a SIP message has, by what the kernel finds in the same bytes. */
import { test } from 'tap'
import { CALL_ID_LENGTH_MAX, findCallId } from '../../../protocol/packet/sip.ts'
import { seededRandom, seeds } from '../../random.ts'

const FIRST = 'INVITE sip:bob@example.com SIP/2.0\r\n'
const REST = '\r\nCSeq: 1 INVITE\r\n\r\n'
const longest = 'c'.repeat(CALL_ID_LENGTH_MAX)

function callId(message: string): string | undefined {
  const bytes = Buffer.from(`before${message}Call-ID: behind@it\r\n`, 'latin1')
  const found = { start: 0, length: 0 }
  if (!findCallId(bytes, 6, 6 + message.length, found)) return undefined
  return bytes.toString('latin1', found.start, found.start + found.length)
}

const cases: [sentence: string, message: string, callId: string | undefined][] = [
  [
    'a local part and a host',
    `${FIRST}Call-ID: a84b4c76e66710@pc33.atlanta.com${REST}`,
    'a84b4c76e66710@pc33.atlanta.com',
  ],
  [
    'a single word',
    `${FIRST}Call-ID: f81d4fae-7dec-11d0-a765-00a0c91e6bf6${REST}`,
    'f81d4fae-7dec-11d0-a765-00a0c91e6bf6',
  ],
  ['every sign that a word may have', `${FIRST}Call-ID: -.!%*_+\`()<>:\\"/[]?{}~${REST}`, '-.!%*_+`()<>:\\"/[]?{}~'],
  ['its short name', `${FIRST}i: a@b${REST}`, 'a@b'],
  ['any case, and blanks before and behind the colon', `${FIRST}cALL-iD \t:  a@b${REST}`, 'a@b'],
  ['no blank at all', `${FIRST}Call-ID:a@b${REST}`, 'a@b'],
  [
    'behind other headers, the last line of all',
    `${FIRST}Via: SIP/2.0/UDP a;branch=1\r\nIn-Reply-To: x\r\nCall-ID: a@b\r\n`,
    'a@b',
  ],
  ['lines that end with LF', 'INVITE sip:bob SIP/2.0\nCall-ID: a@b\nCSeq: 1 INVITE\n\n', 'a@b'],
  ['lines that end with CR', 'INVITE sip:bob SIP/2.0\rCall-ID: a@b\rCSeq: 1 INVITE\r\r', 'a@b'],
  ['a value on the next line, which begins with a blank', `${FIRST}Call-ID:\r\n a@b${REST}`, 'a@b'],
  ['the first of two', `${FIRST}Call-ID: a@b\r\nCall-ID: c@d${REST}`, 'a@b'],
  ['the next one, when the first has no value', `${FIRST}Call-ID: a@\r\nCall-ID: c@d${REST}`, 'c@d'],
  ['the longest one', `${FIRST}Call-ID: ${longest}${REST}`, longest],
  ['none in a longer one', `${FIRST}Call-ID: ${longest}c${REST}`, undefined],
  ['none in the first line', `Call-ID: a@b${REST}`, undefined],
  ['none in a line that goes on from the one before', `${FIRST}Subject: x\r\n Call-ID: a@b${REST}`, undefined],
  ['none where the line ends with something else', `${FIRST}Call-ID: a@b c${REST}`, undefined],
  ['none where the message ends with it', `${FIRST}Call-ID: a@b`, undefined],
  ['none without a colon', `${FIRST}Call-IDs: a@b\r\nCall-ID: c@d${REST}`, undefined],
  ['none where the message ends with the name', `${FIRST}Call-ID`, undefined],
  ['none where it ends with the short name', `${FIRST}i`, undefined],
  ['none in a message without', `${FIRST}Via: SIP/2.0/UDP a${REST}`, undefined],
  ['none in nothing', '', undefined],
]

for (const [sentence, message, found] of cases) {
  test(`Call-ID: ${sentence}`, async (t) => {
    t.equal(callId(message), found)
  })
}

for (const seed of seeds(1)) {
  test(`what is found is within the message, ends with its line and is no longer than it may be (SEED=${seed})`, async (t) => {
    const random = seededRandom(seed)
    const pieces = ['\r\n', '\n', '\r', ' ', '\t', 'Call-ID', 'i', ':', 'a', '@', 'b', 'x'.repeat(200), '\0', '\xff']
    let count = 0
    for (let round = 0; round < 100_000; round++) {
      let message = '\r\n'
      for (let piece = random.below(14); piece >= 0; piece--) message += pieces[random.below(pieces.length)]
      const found = callId(message)
      if (found === undefined) continue
      count++
      const isWhole = found.length > 0 && found.length <= CALL_ID_LENGTH_MAX && /^[^\s\0\xff]+$/.test(found)
      if (!isWhole || !new RegExp(`${found}[\r\n]`).test(message)) t.fail(JSON.stringify({ message, found }))
    }
    t.ok(count > 100, `${count} were found`)
  })
}
