/**
 * What every Store must do, whatever keeps its bytes. Hand it a factory for a fresh, closed store.
 */
import { type Test, test } from 'tap'
import type { Store } from '../../node/director/store/store.ts'

const bytes = (...values: number[]) => Uint8Array.from(values)

async function entries(store: Store, prefix: string): Promise<[string, number[]][]> {
  const found: [string, number[]][] = []
  for await (const [key, value] of store.iterate(prefix)) found.push([key, [...value]])
  return found
}

export function storeCompliance(name: string, makeStore: (t: Test) => Store): void {
  const opened = async (t: Test) => {
    const store = makeStore(t)
    await store.open()
    t.teardown(() => store.close())
    return store
  }

  test(`${name}: a store`, async (t) => {
    t.test('gives back what was put, and undefined for what was not', async (t) => {
      const store = await opened(t)
      await store.put('a', bytes(1, 2, 3))
      await store.put('empty', bytes())
      t.same([...(await store.get('a'))!], [1, 2, 3])
      t.equal((await store.get('empty'))?.length, 0)
      t.equal(await store.get('b'), undefined)
    })

    t.test('overwrites, and deletes without asking whether there was anything', async (t) => {
      const store = await opened(t)
      await store.put('a', bytes(1))
      await store.put('a', bytes(2))
      t.same([...(await store.get('a'))!], [2])
      await store.delete('a')
      await store.delete('never there')
      t.equal(await store.get('a'), undefined)
    })

    t.test('keeps its own copy of the bytes', async (t) => {
      const store = await opened(t)
      const value = bytes(1, 1)
      await store.put('a', value)
      value[0] = 9
      const first = await store.get('a')
      t.same([...first!], [1, 1], 'a change after put() is not seen')
      first![0] = 9
      t.same([...(await store.get('a'))!], [1, 1], 'nor is a change of what get() gave')
    })

    t.test('takes a batch in its order', async (t) => {
      const store = await opened(t)
      await store.put('old', bytes(0))
      await store.batch([
        { type: 'put', key: 'a', value: bytes(1) },
        { type: 'put', key: 'a', value: bytes(2) },
        { type: 'put', key: 'gone', value: bytes(3) },
        { type: 'delete', key: 'gone' },
        { type: 'delete', key: 'old' },
      ])
      await store.batch([])
      t.same(await entries(store, ''), [['a', [2]]])
    })

    t.test('walks a prefix in the order of the bytes of the keys', async (t) => {
      const store = await opened(t)
      const inOrder = ['s/', 's/1', 's/10', 's/2', 's/é', 's/\uffff', 's/😀']
      for (const key of [...inOrder.toReversed(), 'r/1', 's', 't', 'T']) await store.put(key, bytes(key.length))
      const walked = (await entries(store, 's/')).map(([key]) => key)
      t.same(walked, inOrder)
      t.same(await entries(store, 'nothing'), [])
    })

    t.test('shows a walk the entries as they were when it began', async (t) => {
      const store = await opened(t)
      for (const key of ['a', 'b', 'c']) await store.put(key, bytes(1))
      const seen: string[] = []
      for await (const [key, value] of store.iterate('')) {
        seen.push(`${key}${value[0]}`)
        await store.put('c', bytes(2))
        await store.delete('b')
        await store.put('d', bytes(2))
      }
      t.same(seen, ['a1', 'b1', 'c1'])
    })

    t.test('lets a walk be left early', async (t) => {
      const store = await opened(t)
      for (const key of ['a', 'b']) await store.put(key, bytes(1))
      for await (const [key] of store.iterate('')) {
        t.equal(key, 'a')
        break
      }
      t.equal((await entries(store, '')).length, 2)
    })

    t.test('has everything again when it is closed and opened', async (t) => {
      const store = await opened(t)
      await store.put('a', bytes(7))
      await store.close()
      await store.open()
      t.same(await entries(store, ''), [['a', [7]]])
    })

    t.test('refuses work while it is closed, and a second open', async (t) => {
      const store = makeStore(t)
      const closed = { code: 'STORE_FAILED' }
      await t.rejects(store.get('a'), closed)
      await t.rejects(store.put('a', bytes()), closed)
      await t.rejects(store.delete('a'), closed)
      await t.rejects(store.batch([]), closed)
      await t.rejects(entries(store, ''), closed)
      await store.open()
      await t.rejects(store.open(), { code: 'STORE_LOCKED' })
      await store.put('a', bytes(1))
      await store.close()
      await t.rejects(store.put('a', bytes()), closed)
    })
  })
}
