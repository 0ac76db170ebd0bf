/** FTP's lines about data connections: what they say, what is no such line, and reply 227 with another address. */
import { test } from 'tap'
import { formatIPv4 } from '../../../protocol/packet/bytes.ts'
import {
  hasWholeNumbers,
  parseFtpCommand,
  parsePassiveReply,
  rewritePassiveReply,
} from '../../../protocol/packet/ftp.ts'
import { seededRandom } from '../../random.ts'

const at = (address: string, port: number) => ({ kind: 'active', endpoint: { address, port } })
const passive = { kind: 'passive' }
const commands: [line: string, expected: unknown][] = [
  ['PORT 10,1,0,201,15,160', at('10.1.0.201', 4000)],
  ['port 200,1,0,201,0,20', at('200.1.0.201', 20)],
  ['PORT 10,1,0,201,15,160 ', at('10.1.0.201', 4000)],
  ['PORT 10,1,0,256,15,160', undefined],
  ['PORT 10,1,0,201,0,0', undefined],
  ['PORT 10,1,0,201,15', undefined],
  ['PORT', undefined],
  ['EPRT |1|10.1.0.201|4000|', at('10.1.0.201', 4000)],
  ['eprt !1!10.1.0.201!65535!', at('10.1.0.201', 65_535)],
  ['EPRT |1|10.1.0.201|65536|', undefined],
  ['EPRT |1|10.1.0.999|4000|', undefined],
  ['EPRT |1|10.1.0.201|4000!', undefined],
  ['EPRT |2|2001:DB8:0::1|4000|', at('2001:db8::1', 4000)],
  ['EPRT !2!fe80::9!1!', at('fe80::9', 1)],
  ['EPRT |2|10.1.0.201|4000|', undefined],
  ['EPRT |1|2001:db8::1|4000|', undefined],
  ['EPRT |2|2001:db8::1::|4000|', undefined],
  ['EPRT |2|fe80::1%eth0|4000|', undefined],
  ['EPRT |3|2001:db8::1|4000|', undefined],
  ['EPSV 2', passive],
  ['PASV', passive],
  ['pasv', passive],
  ['EPSV', passive],
  ['EPSV 1', passive],
  ['EPSV ALL', undefined],
  ['RETR PASV', undefined],
  ['PASVX', undefined],
  ['', undefined],
]
for (const [line, expected] of commands) {
  test(`command "${line}"`, async (t) => t.same(parseFtpCommand(line), expected))
}

test('a line of blanks up to a return costs no more than any other', async (t) => {
  // Of each place where the argument could begin and end: a regular expression would try them all, for minutes.
  t.equal(parseFtpCommand(`PASV${' '.repeat(200_000)}\rx`), undefined)
})

const replies: [line: string, expected: unknown][] = [
  ['227 Entering Passive Mode (10,2,0,11,156,64).', { address: '10.2.0.11', port: 40_000 }],
  ['227 =10,2,0,11,156,64', { address: '10.2.0.11', port: 40_000 }],
  ['227 Entering Passive Mode (10,2,0,11,156)', undefined],
  ['227 Entering Passive Mode', undefined],
  ['227-Entering Passive Mode (10,2,0,11,156,64).', undefined],
  ['229 Entering Extended Passive Mode (|||40000|)', { address: undefined, port: 40_000 }],
  ['229 Extended (!!!7!)', { address: undefined, port: 7 }],
  ['229 Entering Extended Passive Mode (|||0|)', undefined],
  ['229 Entering Extended Passive Mode (|||70000|)', undefined],
  ['200 PORT command successful (10,2,0,11,156,64)', undefined],
]
for (const [line, expected] of replies) {
  test(`reply "${line}"`, async (t) => t.same(parsePassiveReply(line), expected))
}

const rewritten: [sentence: string, line: string, address: string, expected: string][] = [
  [
    'an address as long',
    '227 Entering Passive Mode (10,2,0,11,156,64).',
    '10.3.0.10',
    '227 Entering Passive Mode (10,3,0,10,156,64).',
  ],
  [
    'a shorter address: blanks fill it up',
    '227 Entering Passive Mode (192,168,100,11,156,64).',
    '10.1.0.1',
    '227 Entering Passive Mode (10,1,0,1,156,64).      ',
  ],
  [
    'a longer address: the text gives way',
    '227 Entering Passive Mode (10,2,0,11,156,64).',
    '198.51.100.100',
    '227 Passive Mode (198,51,100,100,156,64).    ',
  ],
  [
    'a reply without brackets',
    '227 Passive mode OK 10,2,0,11,156,64',
    '198.51.100.100',
    '227 Passive 198,51,100,100,156,64   ',
  ],
  ['a reply without a text, where it just fits', '227 =10,20,30,11,156,64', '198.51.100.1', '227 198,51,100,1,156,64'],
  [
    'a reply without room: the client is sent another way',
    '227 =10,2,0,11,156,64',
    '198.51.100.100',
    '425 Use EPSV         ',
  ],
]
for (const [sentence, line, address, expected] of rewritten) {
  test(`${sentence}`, async (t) => t.equal(rewritePassiveReply(line, address), expected))
}

test('a beginning of a reply has its numbers whole when something else follows the last digit', async (t) => {
  for (const [beginning, isWhole] of [
    ['227 Entering Passive Mode', false],
    ['227 Entering Passive Mode (10,2,0,11,156', false],
    ['227 Entering Passive Mode (10,2,0,11,156,6', false],
    ['227 Entering Passive Mode (10,2,0,11,156,64)', true],
    ['227 10,2,0,11,156,64\r', true],
  ] as const) {
    t.equal(hasWholeNumbers(beginning), isWhole, beginning)
  }
})

test('whatever the addresses, a rewritten reply is as long as before and says the same port', async (t) => {
  const random = seededRandom(3)
  const address = () => (random.below(2 ** 32) >>> random.below(16)) | 0
  for (let round = 0; round < 2000; round++) {
    const from = address() >>> 0
    const dotted = [from >>> 24, (from >>> 16) & 255, (from >>> 8) & 255, from & 255]
    const line = `227 Entering Passive Mode (${dotted.join(',')},${random.below(256)},${1 + random.below(255)}).`
    const to = formatIPv4(address())
    const after = rewritePassiveReply(line, to)
    t.equal(after.length, line.length)
    t.same(parsePassiveReply(after), { address: to, port: parsePassiveReply(line)?.port })
  }
})
