/** The level store: the compliance suite, and stores that are locked, damaged or full. */
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Test, test } from 'tap'
import { LevelStore } from '../../../../node/director/store/level-store.ts'
import { storeCompliance } from '../../../compliance/store.ts'

const module = new URL('../../../../node/director/store/level-store.ts', import.meta.url).href
const folderOf = (t: Test) => join(t.testdir(), 'store')

storeCompliance('level', (t) => new LevelStore(folderOf(t)))

test('a store in a folder that is missing makes it for its owner alone', async (t) => {
  const folder = join(t.testdir(), 'a', 'b')
  const store = new LevelStore(folder)
  await store.open()
  await store.close()
  t.equal(statSync(folder).mode & 0o777, 0o700)
})

test('a store that another process holds is STORE_LOCKED, with the process', async (t) => {
  const folder = folderOf(t)
  const script = `const { LevelStore } = await import(${JSON.stringify(module)})
    await new LevelStore(${JSON.stringify(folder)}).open(); console.log('open'); setInterval(() => {}, 1000)`
  const holder = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  t.teardown(() => holder.kill('SIGKILL'))
  await once(holder.stdout, 'data')
  const store = new LevelStore(folder)
  await t.rejects(store.open(), { code: 'STORE_LOCKED', message: new RegExp(`process ${holder.pid} .*: stop it`) })

  holder.kill('SIGKILL')
  await once(holder, 'exit')
  await store.open()
  await store.close()
})

const isFile = (pattern: RegExp) => (name: string) => pattern.test(name)
function overwrite(folder: string, pattern: RegExp, change: (bytes: Buffer) => Buffer): void {
  for (const name of readdirSync(folder).filter(isFile(pattern))) {
    writeFileSync(join(folder, name), change(readFileSync(join(folder, name))))
  }
}
function remove(folder: string, pattern: RegExp): void {
  for (const name of readdirSync(folder).filter(isFile(pattern))) rmSync(join(folder, name))
}
const flip = (at: number) => (bytes: Buffer) => {
  bytes[at < 0 ? bytes.length + at : at] ^= 0x20
  return bytes
}

const damages: [string, (folder: string) => void][] = [
  ['with a CURRENT file of garbage', (folder) => writeFileSync(join(folder, 'CURRENT'), 'garbage')],
  ['without its CURRENT file', (folder) => remove(folder, /^CURRENT/)],
  ['with a manifest cut short', (folder) => overwrite(folder, /^MANIFEST/, (bytes) => bytes.subarray(0, 5))],
  ['without its manifest', (folder) => remove(folder, /^MANIFEST/)],
  ['without a table', (folder) => remove(folder, /ldb$/)],
  ['with a table of garbage', (folder) => overwrite(folder, /ldb$/, () => Buffer.alloc(3000, 7))],
  ['with one bit flipped in a value of a table', (folder) => overwrite(folder, /ldb$/, flip(40))],
  ['with one bit flipped in a record of the log', (folder) => overwrite(folder, /log$/, flip(20))],
  ['with a log of garbage', (folder) => overwrite(folder, /log$/, () => Buffer.alloc(100, 0xa5))],
]

/** A store with one value in a table and two in the log. */
async function filled(folder: string): Promise<LevelStore> {
  const store = new LevelStore(folder)
  await store.open()
  await store.put(
    'in the table',
    Uint8Array.from({ length: 100 }, (_, i) => (i * 89) & 0xff),
  )
  await store.close()
  await store.open()
  await store.put('in the log', Uint8Array.of(1, 2, 3))
  await store.put('in the log too', Uint8Array.of(4, 5, 6))
  await store.close()
  return store
}

for (const [name, damage] of damages) {
  test(`a store ${name} is STORE_CORRUPT with its folder, as often as it is tried`, async (t) => {
    const folder = folderOf(t)
    const store = await filled(folder)
    damage(folder)
    for (let attempt = 0; attempt < 2; attempt++) {
      await t.rejects(store.open(), { code: 'STORE_CORRUPT', message: new RegExp(`^${folder}: `) })
    }
    await t.rejects(store.get('in the table'), { code: 'STORE_FAILED' }, 'and is not half open')
  })
}

test('a store whose last write was cut off by a loss of power opens with everything before it', async (t) => {
  const folder = folderOf(t)
  const store = await filled(folder)
  const log = join(folder, readdirSync(folder).find(isFile(/log$/))!)
  truncateSync(log, statSync(log).size - 2)
  await store.open()
  t.teardown(() => store.close())
  t.same([...(await store.get('in the log'))!], [1, 2, 3])
  t.equal(await store.get('in the log too'), undefined)
})

test('a store where no folder can be is STORE_FAILED', async (t) => {
  const file = join(t.testdir({ file: 'text' }), 'file')
  await t.rejects(new LevelStore(file).open(), { code: 'STORE_FAILED', message: new RegExp(`^${file}: `) })
  await t.rejects(new LevelStore(join(file, 'below')).open(), { code: 'STORE_FAILED' })
  await t.rejects(new LevelStore('/proc/none/store').open(), { code: 'STORE_FAILED' })
})

const canMount = spawnSync('unshare', ['-m', 'true']).status === 0
test('a full or read-only disk is STORE_FAILED', {
  skip: !canMount && 'needs a mount namespace of its own',
}, async (t) => {
  const mount = join(t.testdir(), 'mount')
  mkdirSync(mount)
  const script = `const { LevelStore } = await import(${JSON.stringify(module)})
    const { execFileSync } = await import('node:child_process')
    const answer = (error) => console.log(error.code + ' ' + error.message)
    const store = new LevelStore(${JSON.stringify(join(mount, 'store'))})
    await store.open()
    await store.put('large', crypto.getRandomValues(new Uint8Array(60000)))
    await store.put('larger', new Uint8Array(1e6)).catch(answer)
    await store.close()
    execFileSync('mount', ['-o', 'remount,ro', ${JSON.stringify(mount)}])
    await store.open().catch(answer)
    await new LevelStore(${JSON.stringify(join(mount, 'other'))}).open().catch(answer)`
  const command = 'mount -t tmpfs -o size=512k tmpfs "$1" && exec "$2" --input-type=module -e "$3"'
  const { stdout } = spawnSync('unshare', ['-m', 'sh', '-c', command, 'sh', mount, process.execPath, script], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const lines = stdout.trim().split('\n')
  t.equal(lines.length, 3)
  t.match(lines[0], /^STORE_FAILED .*No space left/)
  t.match(lines[1], /^STORE_FAILED .*Read-only/)
  t.match(lines[2], /^STORE_FAILED .*cannot be made/)
})
