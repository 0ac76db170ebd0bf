/** The level store: the compliance suite, and stores that are locked, damaged or full. */
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Test, test } from 'tap'
import { LevelStore } from '../../../../node/director/store/level-store.ts'
import { storeCompliance } from '../../../compliance/store.ts'
import { seededRandom } from '../../../random.ts'
import { memoryFolder } from '../../../support/memory-folder.ts'
import { watchedDatabase } from '../../../support/watched-writes.ts'

const module = new URL('../../../../node/director/store/level-store.ts', import.meta.url).href
const folderOf = (t: Test) => join(memoryFolder(t), 'store')

storeCompliance('level', (t) => new LevelStore(folderOf(t)))

test('every write waits for the disk, that which takes a refused one back too', async (t) => {
  const written: unknown[] = []
  let fails = false
  const store = new LevelStore(folderOf(t), undefined, (folder) =>
    watchedDatabase(folder, async (write, options) => {
      written.push(options)
      if (fails) throw new Error('the disk is full')
      await write()
    }),
  )
  await store.open()
  await store.put('a', Uint8Array.of(1))
  await store.delete('a')
  await store.batch([{ type: 'put', key: 'b', value: Uint8Array.of(2) }])
  fails = true
  await t.rejects(store.put('b', Uint8Array.of(3)), { code: 'STORE_FAILED' })
  fails = false
  await store.put('c', Uint8Array.of(4))
  await store.close()
  t.same(written, Array(6).fill({ sync: true }))
})

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
  ['without its log', (folder) => remove(folder, /log$/)],
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
test('a full disk refuses changes whole, says so once, and takes changes again when there is room', {
  skip: !canMount && 'needs a mount namespace of its own',
}, async (t) => {
  const mount = join(t.testdir(), 'mount')
  mkdirSync(mount)
  const script = `const { LevelStore } = await import(${JSON.stringify(module)})
    const { execFileSync } = await import('node:child_process')
    const said = (error) => error.code + ' ' + error.message
    const lines = []
    const failing = (promise) => promise.then(() => lines.push('done'), (error) => lines.push(said(error)))
    const trouble = []
    const mount = (options) => execFileSync('mount', ['-o', 'remount,' + options, ${JSON.stringify(mount)}])
    const store = new LevelStore(${JSON.stringify(join(mount, 'store'))}, (error) => trouble.push(error ? said(error) : 'well'))
    const keys = async () => (await Array.fromAsync(store.iterate(''))).map(([key, value]) => key + ' ' + value.length)
    await store.open()
    await store.put('large', crypto.getRandomValues(new Uint8Array(60000)))
    await failing(store.batch([
      { type: 'put', key: 'small', value: new Uint8Array(1) },
      { type: 'put', key: 'larger', value: new Uint8Array(1e6) },
      { type: 'delete', key: 'large' },
    ]))
    await failing(store.put('another', new Uint8Array(1)))
    await failing(new LevelStore(${JSON.stringify(join(mount, 'other'))}).open())
    const whileFull = await keys()
    mount('size=4m')
    await failing(store.put('another', new Uint8Array(2)))
    const after = await keys()
    await store.close()
    await store.open()
    const reopened = await keys()
    await store.close()
    mount('ro')
    await failing(store.open())
    await failing(new LevelStore(${JSON.stringify(join(mount, 'none'))}).open())
    console.log(JSON.stringify({ lines, trouble, whileFull, after, reopened }))`
  const command = 'mount -t tmpfs -o size=512k tmpfs "$1" && exec "$2" --input-type=module -e "$3"'
  const { stdout } = spawnSync('unshare', ['-m', 'sh', '-c', command, 'sh', mount, process.execPath, script], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const { lines, trouble, whileFull, after, reopened } = JSON.parse(stdout)
  t.match(lines, [
    /^STORE_FAILED .*cannot be written: .*no space left/i,
    /^STORE_FAILED .*cannot be written: .*no space left/i,
    /^STORE_FAILED .*cannot be opened: .*no space left/i,
    'done',
    /^STORE_FAILED .*cannot be opened: .*read-only/i,
    /^STORE_FAILED .*cannot be made: .*read-only/i,
  ])
  t.equal(lines.length, 6)
  t.same(whileFull, ['large 60000'], 'what is kept can be read all the time')
  t.same([after, reopened], Array(2).fill(['another 2', 'large 60000']), 'nothing of what was refused comes up later')
  t.match(trouble, [/^STORE_FAILED/, 'well'])
  t.equal(trouble.length, 2)
})

test('a process that is killed while it writes leaves everything that was acknowledged', async (t) => {
  const { below } = seededRandom(11)
  const script = `const { LevelStore } = await import(${JSON.stringify(module)})
    const store = new LevelStore(process.argv[1])
    await store.open()
    for (let number = 0; number < 200; number++) {
      const bytes = (number * 7919) % 70000
      await store.batch([
        { type: 'put', key: 'newest', value: Uint8Array.of(number & 255) },
        { type: 'put', key: 'value/' + number, value: new Uint8Array(bytes).fill(number) },
      ])
      process.stdout.write('.')
    }
    setInterval(() => {}, 1000)`
  const killed = async (folder: string, after: number) => {
    const writer = spawn(process.execPath, ['--input-type=module', '-e', script, folder], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    t.teardown(() => writer.kill('SIGKILL'))
    let acknowledged = 0
    writer.stdout.on('data', (chunk: Buffer) => {
      acknowledged += chunk.length
      if (acknowledged >= after) writer.kill('SIGKILL')
    })
    await once(writer, 'close')
    return acknowledged
  }
  const top = memoryFolder(t)
  await Promise.all(
    Array.from({ length: 4 }, async (_, index) => {
      const folder = join(top, String(index))
      const acknowledged = await killed(folder, 1 + below(100))
      const store = new LevelStore(folder)
      await store.open()
      const values = (await Array.fromAsync(store.iterate('value/'))).map(([, value]) => value)
      t.ok(values.length >= acknowledged, `${values.length} of ${acknowledged}`)
      t.equal((await store.get('newest'))?.[0], (values.length - 1) & 255, 'a change is there whole or not at all')
      await store.close()
    }),
  )
})
