/** A director's start on a disk that takes nothing: what it begins with, what it refuses, and what becomes of it when there is room. */
import { spawnSync } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'tap'

const module = (path: string) => JSON.stringify(new URL(`../../../../${path}`, import.meta.url).href)
const canMount = spawnSync('unshare', ['-m', 'true']).status === 0

const cases = [
  ['full', '', `fill()`, `empty()`],
  ['read-only', '', `remount('ro')`, `remount('rw')`],
  ['full, with a damaged store', `damage()`, `fill()`, `empty()`],
] as const

for (const [what, before, block, free] of cases) {
  test(`a start on a disk that is ${what} begins with what is sound, and changes are taken when there is room`, {
    skip: !canMount && 'needs a mount namespace of its own',
  }, async (t) => {
    const mount = join(t.testdir(), 'mount')
    mkdirSync(mount)
    const script = `const { openStore } = await import(${module('node/director/store/salvage.ts')})
      const { loadIdentity, IDENTITY_KEY } = await import(${module('node/director/identity.ts')})
      const { appendFileSync, rmSync } = await import('node:fs')
      const { execFileSync } = await import('node:child_process')
      const { join } = await import('node:path')
      const mount = ${JSON.stringify(mount)}
      const folder = join(mount, 'store')
      const remount = (options) => execFileSync('mount', ['-o', 'remount,' + options, mount])
      const fill = () => { try { for (;;) appendFileSync(join(mount, 'other'), Buffer.alloc(4096)) } catch {} }
      const empty = () => rmSync(join(mount, 'other'))
      const damage = () => rmSync(join(folder, 'CURRENT'))
      const trouble = []
      const said = (error) => error ? error.code + ' ' + error.message : 'well'
      const options = { mustHave: IDENTITY_KEY, onSalvage: () => trouble.push('salvaged'), onTrouble: (error) => trouble.push(said(error)) }
      const keys = async (store) => (await Array.fromAsync(store.iterate(''))).map(([key]) => key)
      let store = await openStore(folder, options)
      const identity = await loadIdentity(store)
      await store.put('pool/one', Uint8Array.of(1))
      await store.close()
      ${before}
      ${block}
      store = await openStore(folder, options)
      const isSame = Buffer.compare(await loadIdentity(store), identity) === 0
      const whileBlocked = await keys(store)
      const refused = await store.put('pool/two', Uint8Array.of(2)).then(() => 'done', said)
      ${free}
      await store.batch([{ type: 'delete', key: 'pool/one' }, { type: 'put', key: 'pool/three', value: Uint8Array.of(3) }])
      const after = await keys(store)
      await store.close()
      store = await openStore(folder, options)
      const reopened = await keys(store)
      await store.close()
      console.log(JSON.stringify({ isSame, whileBlocked, refused, after, reopened, trouble }))`
    const command = 'mount -t tmpfs -o size=512k,mode=700 tmpfs "$1" && exec "$2" --input-type=module -e "$3"'
    const { stdout } = spawnSync('unshare', ['-m', 'sh', '-c', command, 'sh', mount, process.execPath, script], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    const { isSame, whileBlocked, refused, after, reopened, trouble } = JSON.parse(stdout)
    t.ok(isSame)
    t.same(whileBlocked, ['identity/private-key', 'pool/one'])
    t.match(refused, /^STORE_FAILED .*(space left|read-only)/i)
    t.same([after, reopened], Array(2).fill(['identity/private-key', 'pool/three']))
    t.match(trouble[0], /^STORE_FAILED/)
    t.same(trouble.slice(1), before === '' ? ['well'] : ['salvaged', 'well'])
  })
}
