/** The hash that names calls: the vectors are those of other implementations of MurmurHash3_x86_128. */
import { test } from 'tap'
import { hashCall } from '../../../forwarder/table/call-hash.ts'

function hash(text: string): string {
  const words = new Int32Array(4)
  const bytes = Buffer.from(`${text}and more`, 'latin1')
  hashCall(bytes, text.length, words)
  return Array.from(words, (word) => (word >>> 0).toString(16).padStart(8, '0')).join('')
}

test('texts have the hashes that are known of them', async (t) => {
  t.equal(hash(''), '00000000000000000000000000000000')
  t.equal(hash('The quick brown fox jumps over the lazy dog'), '2f1583c3ecee2c675d7bf66ce5e91d2c')
})

test('each byte and the length count, in all four words', async (t) => {
  const text = 'f81d4fae-7dec-11d0-a765-00a0c91e6bf6@foo.bar.com'
  const alike: string[] = []
  for (let length = 0; length < text.length; length++) {
    const shorter = text.slice(0, length)
    const changed = `${shorter}!${text.slice(length + 1)}`
    for (const other of [shorter, changed]) {
      for (let word = 0; word < 32; word += 8) {
        if (hash(other).slice(word, word + 8) === hash(text).slice(word, word + 8)) alike.push(other)
      }
    }
  }
  t.same(alike, [])
})
