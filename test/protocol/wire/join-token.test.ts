/** Tokens by which directors join: read back as they were signed, and refused for each thing that can be wrong with them. */
import { test } from 'tap'
import { parsePoolKey, parsePrivatePoolKey } from '../../../protocol/pool-key.ts'
import {
  encodeJoinToken,
  JOIN_TOKEN_BYTES_MAX,
  type JoinToken,
  joinTokenBytes,
  joinTokenText,
  readJoinToken,
} from '../../../protocol/wire/join-token.ts'
import { createTestPoolKey } from '../../support/join-tokens.ts'

const key = createTestPoolKey()
const keys = [createTestPoolKey().publicKey, key.publicKey]
const token: JoinToken = {
  peer: '12D3KooWGq5mCaVqd4yvbYeWk3AGxhxXwmbHkLW2pqvJ5RAkLDzN',
  name: 'd3',
  address: '[2001:db8::13]:7946',
  issuedMs: 1_760_000_000_000,
  expiresMs: 1_760_086_400_000,
}
const bytes = key.sign(token)

test('a token says what was signed, as bytes and as text', async (t) => {
  t.same(readJoinToken(bytes, keys), token)
  const text = joinTokenText(bytes)
  t.match(text, /^ldt_[\w-]+$/)
  t.same(joinTokenBytes(text), bytes)
  t.ok(bytes.length < 200, `${bytes.length} bytes`)
})

const changed = (at: number, value: number) => bytes.map((byte, index) => (index === at ? value : byte))
const wrong: [string, Uint8Array, string][] = [
  ['nothing', new Uint8Array(), 'length'],
  ['one that is cut off at its head', bytes.subarray(0, 60), 'length'],
  ['one that is longer than any', new Uint8Array(JOIN_TOKEN_BYTES_MAX + 1).fill(1), 'length'],
  ['one of another version', changed(0, 2), 'version'],
  ['one whose text is longer than the token', changed(13, 255), 'body'],
  ['one that is cut off at its end', bytes.subarray(0, -1), 'body'],
  ['one with something behind it', Buffer.concat([bytes, bytes.subarray(0, 1)]), 'body'],
  ['one for a name that is none', key.sign({ ...token, name: 'D 3' }), 'body'],
  ['one for an address without a port', key.sign({ ...token, address: '10.0.0.1' }), 'body'],
  ['one that was over before it was issued', key.sign({ ...token, expiresMs: token.issuedMs }), 'body'],
  ['one that another key has signed', createTestPoolKey().sign(token), 'signature'],
  ['one that was made to last longer', changed(7, 255), 'signature'],
  ['one whose signature is another', changed(bytes.length - 1, bytes[bytes.length - 1] ^ 1), 'signature'],
]
for (const [what, token, reason] of wrong) {
  test(`${what} is refused: ${reason}`, async (t) => t.equal(readJoinToken(token, keys), reason))
}

test('a text is a token in one form only', async (t) => {
  const text = joinTokenText(bytes)
  for (const other of ['', 'ldt_', text.slice(4), `${text}=`, ` ${text}`, text.replace('_', '-')])
    t.not(joinTokenText(joinTokenBytes(other) ?? new Uint8Array()), text, other)
  t.equal(joinTokenBytes(`ldt_${'A'.repeat(10_000)}`), undefined)
})

test("a pool's key is read back in both halves, and nothing else is taken for one", async (t) => {
  t.equal(parsePoolKey(key.text)?.equals(key.publicKey), true)
  for (const text of ['', 'abc', key.text.slice(1), `${key.text}\n`, key.text.replace('=', '')])
    t.equal(parsePoolKey(text), undefined, text)
  t.equal(parsePrivatePoolKey('-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n'), undefined)
  t.same(readJoinToken(encodeJoinToken(token, key.privateKey), [key.publicKey]), token)
})
