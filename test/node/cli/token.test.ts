/** director token: the pool's key, tokens that it signs, and what a director makes of its own. */
import { readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Test, test } from 'tap'
import { runDirectorCommand } from '../../../node/cli/director/program.ts'
import { readOwnToken } from '../../../node/director/cluster/admission.ts'
import { peerIdOfPublicKey } from '../../../node/director/cluster/identity.ts'
import { parsePoolKey } from '../../../protocol/pool-key.ts'
import { createTestPoolKey } from '../../support/join-tokens.ts'

const peer = peerIdOfPublicKey(Buffer.alloc(32, 'd'))

async function run(...words: string[]): Promise<{ rc: number; said: string }> {
  let said = ''
  const sink = { write: (text: string) => (said += text) }
  const rc = await runDirectorCommand(['token', ...words], sink, sink)
  return { rc, said: said.trimEnd() }
}

async function makeKey(t: Test) {
  const folder = t.testdir()
  const file = join(folder, 'pool.key')
  const { said } = await run('key', '--out', file)
  return { folder, file, publicText: said }
}

test('a key is made once, for its owner alone, and its public half can be printed again', async (t) => {
  const { file, publicText } = await makeKey(t)
  t.equal(statSync(file).mode & 0o777, 0o600)
  t.same(await run('public-key', '--key', file), { rc: 0, said: publicText })
  const before = readFileSync(file, 'utf8')
  t.match(await run('key', '--out', file), { rc: 2, said: /EEXIST.*\(INPUT_INVALID\)$/ })
  t.equal(readFileSync(file, 'utf8'), before)
})

test('a token says whom it is for, and is taken by that director alone', async (t) => {
  const { file, publicText } = await makeKey(t)
  const address = '10.1.0.13:7946'
  const words = ['create', '--key', file, '--peer', peer, '--name', 'd3', '--address', address, '--expires', '30m']
  const { rc, said: token } = await run(...words)
  t.equal(rc, 0)
  t.match(await run('show', token), { rc: 0, said: new RegExp(`^d3 at ${address}, peer id ${peer}, issued 2`) })
  const keys = [parsePoolKey(publicText) ?? createTestPoolKey().publicKey]
  const own = readOwnToken(token, { name: 'd3', id: peer }, keys)
  t.match(own.token, { peer, name: 'd3', address })
  t.equal(own.token.expiresMs - own.token.issuedMs, 30 * 60_000)
  const refused = (message: RegExp) => ({ code: 'CONFIG_INVALID', message })
  t.throws(() => readOwnToken(token, { name: 'd4', id: peer }, keys), refused(/is for the name d3, and this .* d4$/))
  t.throws(
    () => readOwnToken(token, { name: 'd3', id: 'x' }, keys),
    refused(/is for the director 12D.*, and this one is x$/),
  )
  t.throws(
    () => readOwnToken(token, { name: 'd3', id: peer }, [createTestPoolKey().publicKey]),
    refused(/is signed by none of cluster.poolKeys/),
  )
})

test('a key that is none, or that others may read, is refused, and none is repeated', async (t) => {
  const { folder, file } = await makeKey(t)
  const pem = readFileSync(file, 'utf8')
  const other = join(folder, 'other.key')
  writeFileSync(other, 'no key', { mode: 0o600 })
  t.match(await run('public-key', '--key', other), { rc: 1, said: /other\.key: there is no pool's key in it/ })
  writeFileSync(`${other}.open`, pem, { mode: 0o644 })
  t.match(await run('public-key', '--key', `${other}.open`), { rc: 1, said: /chmod 600/ })
  for (const given of [pem, pem.split('\n')[1]]) {
    const { rc, said } = await run('public-key', '--key', given)
    t.equal(rc, 1)
    t.match(said, /expected the name of a file/)
    t.notOk(said.includes(pem.split('\n')[1]))
  }
  t.match(await run('public-key', '--key', join(folder, 'none')), { rc: 1, said: /\(CONFIG_UNREADABLE\)$/ })
})
