/** The files of agents' keys. */
import { test } from 'tap'
import { createAgentKey, parseAgentKeys } from '../../../protocol/wire/agent-key.ts'

const digits = ['0f'.repeat(32), 'A1'.repeat(32)]
const secrets = digits.map((text) => Buffer.from(text, 'hex'))

test('a file of 64 hexadecimal digits is one key for any server', async (t) => {
  t.same(parseAgentKeys(`${digits[0]}\n`, 'file'), [createAgentKey(secrets[0])])
  t.same(createAgentKey(secrets[0]).addresses, [])
})

test('keys have lines, servers behind them, and notes between them', async (t) => {
  const text = `# web1\n${digits[0]}  10.0.0.1\t2001:DB8:0::1 10.0.0.1\r\n\n  # web2\n  ${digits[1]}`
  t.same(parseAgentKeys(text, 'file'), [
    createAgentKey(secrets[0], ['10.0.0.1', '2001:db8::1']),
    createAgentKey(secrets[1]),
  ])
})

test('an id is the same wherever it is made, differs from key to key, and is no part of the key', async (t) => {
  const [one, other] = secrets.map((secret) => createAgentKey(secret).id)
  t.equal(one, createAgentKey(Buffer.from(secrets[0]), ['10.0.0.1']).id)
  t.match(one, /^[0-9a-f]{16}$/)
  t.not(one, other)
  t.notOk(digits[0].includes(one))
})

const wrong: [string, string, RegExp][] = [
  ['a key that is too short', digits[0].slice(2), /^file:1: expected a key of 64 hexadecimal digits/],
  ['a key that is too long', `# web1\n${digits[0]}0`, /^file:2: expected a key of 64 hexadecimal digits/],
  ['a key behind its server', `10.0.0.1 ${digits[0]}`, /^file:1: expected a key/],
  ['a server by its name', `\n\n${digits[0]} web1`, /^file:3: expected behind the key the addresses/],
  ['an address that is known on one link only', `${digits[0]} fe80::1%eth0`, /^file:1: expected behind the key/],
  ['two keys in a line', digits.join(' '), /^file:1: expected behind the key/],
  ['a key twice', `${digits[1]}\n${digits[1].toLowerCase()} 10.0.0.1`, /^file:2: this key is there already/],
  ['nothing in it', '# none yet\n', /^file: has no key/],
]
for (const [what, text, message] of wrong) {
  test(`a file with ${what} is refused by its line, and no digit of a key is shown`, async (t) => {
    t.throws(() => parseAgentKeys(text, 'file'), { code: 'CONFIG_INVALID', message })
    try {
      parseAgentKeys(text, 'file')
    } catch (error) {
      t.notMatch((error as Error).message, /0f0f|a1a1/i)
    }
  })
}
