/** The trailer of signed VRRP messages, against bytes set by hand, and its key files. */
import { createHmac } from 'node:crypto'
import { test } from 'tap'
import {
  type Advertisement,
  decodeAdvertisement,
  encodeAdvertisement,
  MOST_SIGNED_IPV6_ADDRESSES,
  type VrrpChecksum,
} from '../../../protocol/packet/vrrp.ts'
import {
  createVrrpKey,
  isVrrpTrailer,
  parseVrrpKeys,
  signVrrpMessage,
  verifyVrrpMessage,
} from '../../../protocol/packet/vrrp-trailer.ts'
import { createAgentKey } from '../../../protocol/wire/agent-key.ts'

const digits = ['0f'.repeat(32), 'A1'.repeat(32)]
const [key, otherKey] = digits.map((text) => createVrrpKey(Buffer.from(text, 'hex')))
/** 0x0102030405 tenths of a millisecond; 2023-11-14. */
const STAMP = { run: '00112233445566ff', sequence: 0x0102030405, sentAtMs: 1_700_000_000_123 }

const bytes = (hex: string) => Uint8Array.from(Buffer.from(hex, 'hex'))
const hex = (data: Uint8Array) => Buffer.from(data).toString('hex')

interface Sent {
  readonly advertisement: Advertisement
  readonly source: string
  readonly destination: string
  /** Those of the packet, as they are in it. */
  readonly addresses: string
  readonly family: string
}
const OVER_IPV4: Sent = {
  advertisement: { version: 3, vrid: 51, priority: 100, intervalMs: 500, addresses: ['10.0.0.100'] },
  source: '10.0.0.2',
  destination: '224.0.0.18',
  addresses: '0a000002e0000012',
  family: 'IPv4',
}
const OVER_IPV6: Sent = {
  advertisement: { ...OVER_IPV4.advertisement, addresses: ['2001:db8:1::100'] },
  source: 'fe80::2',
  destination: 'ff02::12',
  addresses: `fe80${'0'.repeat(27)}2ff02${'0'.repeat(26)}12`,
  family: 'IPv6',
}
const VERSION_2: Sent = {
  ...OVER_IPV4,
  advertisement: { ...OVER_IPV4.advertisement, version: 2, intervalMs: 1000 },
}
const sent: readonly [what: string, sent: Sent][] = [
  ['version 3 over IPv4', OVER_IPV4],
  ['version 3 over IPv6', OVER_IPV6],
  ['version 2', VERSION_2],
]

function messageOf({ advertisement, source, destination }: Sent, checksum: VrrpChecksum = 'pseudo-header'): Uint8Array {
  return encodeAdvertisement(advertisement, source, destination, checksum)
}

function signed(one: Sent): Uint8Array {
  return signVrrpMessage(messageOf(one), one.source, one.destination, key, STAMP)
}

function verify(message: Uint8Array, { source, destination }: Pick<Sent, 'source' | 'destination'> = OVER_IPV4) {
  return verifyVrrpMessage(message, source, destination, (id) => [key, otherKey].find((one) => one.id === id))
}

function decode(message: Uint8Array, { source, destination }: Sent) {
  return decodeAdvertisement({ source, destination, hopLimit: 255, message }, source.replace('2', '9'))
}

for (const [what, one] of sent) {
  test(`${what}: behind the message stand key id, run, sequence and time, and a signature over all and the addresses`, async (t) => {
    const message = messageOf(one)
    const head = `${Buffer.from('LDA1').toString('hex')}${key.id}00112233445566ff000102030405018bcfe5687b`
    const signature = createHmac('sha256', Buffer.from(digits[0], 'hex'))
      .update(`linux-director VRRP over ${one.family}`)
      .update(bytes(one.addresses + hex(message) + head))
      .digest('hex')
    t.equal(hex(signed(one)), hex(message) + head + signature)
    t.same(verify(signed(one), one), STAMP)
  })

  test(`${what}: who has no key reads a signed message as if the trailer were not there`, async (t) => {
    const { advertisement } = one
    t.match(decode(signed(one), one), { ok: true, advertisement, isSigned: true })
  })

  test(`${what}: a signed message of which any bit is another is refused`, async (t) => {
    const intact = signed(one)
    for (let bit = 0; bit < intact.length * 8; bit++) {
      const message = intact.slice()
      message[bit >> 3] ^= 1 << (bit & 7)
      const decoded = decode(message, one)
      if (decoded.ok && typeof verify(message, one) === 'object') t.fail(`bit ${bit}`)
    }
  })

  test(`${what}: a signed message that is cut off or has more behind it is refused by its length`, async (t) => {
    const intact = signed(one)
    const plain = intact.length - 64
    for (let length = 0; length < intact.length; length++) {
      const decoded = decode(intact.subarray(0, length), one)
      if (length === plain) t.match(decoded, { ok: true, isSigned: false }, 'without its trailer it is not signed')
      else t.same(decoded, { ok: false, reason: 'length' })
    }
    for (const more of [new Uint8Array(1), new Uint8Array(64), intact.subarray(plain)]) {
      t.same(decode(Buffer.concat([intact, more]), one), { ok: false, reason: 'length' })
    }
  })
}

const doubts: readonly [sentence: string, outcome: string, () => ReturnType<typeof verify>][] = [
  [
    'under a key that is not here',
    'key',
    () => verifyVrrpMessage(signed(OVER_IPV4), '10.0.0.2', '224.0.0.18', () => undefined),
  ],
  [
    'under a key that claims the id of another',
    'signature',
    () => verify(signVrrpMessage(messageOf(OVER_IPV4), '10.0.0.2', '224.0.0.18', { ...otherKey, id: key.id }, STAMP)),
  ],
  ['from another sender', 'signature', () => verify(signed(OVER_IPV4), { ...OVER_IPV4, source: '10.0.0.3' })],
  ['to another receiver', 'signature', () => verify(signed(OVER_IPV4), { ...OVER_IPV4, destination: '10.0.0.9' })],
]
for (const [sentence, outcome, attempt] of doubts) {
  test(`a message is not believed ${sentence}`, async (t) => {
    t.equal(attempt(), outcome)
  })
}

test('a trailer is known by its first word and its length', async (t) => {
  const trailer = signed(OVER_IPV4).slice(12)
  t.ok(isVrrpTrailer(trailer))
  t.notOk(isVrrpTrailer(trailer.subarray(1)))
  trailer[3]++
  t.notOk(isVrrpTrailer(trailer), 'another version')
})

test('as many addresses as signed IPv6 allows are one packet of 1280 bytes', async (t) => {
  const addresses = Array.from({ length: MOST_SIGNED_IPV6_ADDRESSES }, (_, index) => `2001:db8::${index + 1}`)
  const most = signed({ ...OVER_IPV6, advertisement: { ...OVER_IPV6.advertisement, addresses } })
  t.ok(most.length + 40 <= 1280 && most.length + 40 + 16 > 1280)
})

test('a key file has a key a line, and the id of a key is another one than among agents', async (t) => {
  t.same(parseVrrpKeys(`# the new one\n${digits[1]}\n\n${digits[0]}\n`, 'file'), [otherKey, key])
  t.not(key.id, createAgentKey(key.secret).id)
})

const wrongFiles: readonly [what: string, text: string, message: RegExp][] = [
  ['a key that is too short', digits[0].slice(2), /^file:1: expected a key of 64 hexadecimal digits/],
  ['an address behind a key', `${digits[0]} 10.0.0.1`, /^file:1: expected nothing behind the key/],
  ['a key twice', `${digits[1]}\n${digits[1].toLowerCase()}`, /^file:2: this key is there already/],
  ['nothing in it', '# none yet\n', /^file: has no key/],
]
for (const [what, text, message] of wrongFiles) {
  test(`a key file with ${what} is refused by its line`, async (t) => {
    t.throws(() => parseVrrpKeys(text, 'file'), { code: 'CONFIG_INVALID', message })
  })
}
