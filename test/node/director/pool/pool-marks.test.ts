/** The pool's mark rules: their order, who hears of them, what stays. */
import { test } from 'tap'
import type { MarkRule } from '../../../../forwarder/service.ts'
import { describeMark } from '../../../../node/director/pool/mark-changes.ts'
import { PoolOfDirectors } from './pool-of-directors.ts'

const WEB: MarkRule = { mark: 7, protocol: 'tcp', destination: '10.3.0.0/24', firstPort: 80, lastPort: 90 }
const REST: MarkRule = { mark: 8, source: '10.0.0.0/8' }
const INSIDE: MarkRule = { mark: 9, link: 'inside' }

test('rules that are added at different directors are in force at all of them, in their order', async (t) => {
  const pool = new PoolOfDirectors(['a', 'b', 'c'])
  const a = await pool.start('a')
  const b = await pool.start('b')
  await pool.advance(100)
  await a.configuration.addMark({ rule: REST })
  await pool.advance(100)
  await b.configuration.addMark({ rule: WEB, at: 1 })
  await pool.advance(100)
  await a.configuration.addMark({ rule: INSIDE, at: 3 })
  const c = await pool.start('c')
  await pool.settle()
  for (const { name, configuration, marks } of [a, b, c]) {
    t.strictSame(configuration.marks(), [WEB, REST, INSIDE], name)
    t.strictSame(marks.at(-1), [WEB, REST, INSIDE], `${name} was told`)
  }
  await c.configuration.removeMark(REST)
  await pool.settle()
  t.strictSame(a.marks.at(-1), [WEB, INSIDE])
})

test('rules are there after a restart, and clearing the services leaves them', async (t) => {
  const pool = new PoolOfDirectors(['a'])
  const a = await pool.start('a')
  await a.configuration.addMark({ rule: WEB })
  await a.configuration.clear()
  await pool.stop('a')
  const again = await pool.start('a', a.store)
  t.strictSame(again.configuration.marks(), [WEB])
  t.strictSame(again.marks, [[WEB]], 'what is loaded is told')
})

test('a change that cannot be made changes nothing', async (t) => {
  const { configuration, marks } = await new PoolOfDirectors(['a']).start('a')
  await configuration.addMark({ rule: WEB })
  const exists = {
    code: 'MARK_EXISTS',
    message: /^the rule "7 --protocol tcp .* --port 80-90" is there already, in place 1/,
  }
  await t.rejects(configuration.addMark({ rule: { ...WEB } }), exists)
  await t.rejects(configuration.addMark({ rule: REST, at: 3 }), {
    message: 'place 3: expected 1 to 2, one more than there are rules',
  })
  await t.rejects(configuration.removeMark({ ...WEB, mark: 6 }), {
    code: 'MARK_MISSING',
    message: /^there is no rule "6 /,
  })
  t.strictSame([configuration.marks(), marks.length], [[WEB], 1])
})

test('no more rules are taken than a new connection can be held against', async (t) => {
  const { configuration } = await new PoolOfDirectors(['a']).start('a')
  for (let mark = 1; mark <= 256; mark++) await configuration.addMark({ rule: { mark } })
  await t.rejects(configuration.addMark({ rule: { mark: 257 } }), { code: 'INPUT_INVALID', message: /256 mark rules/ })
})

test('a rule is described as it would be typed', async (t) => {
  t.equal(describeMark({ mark: 1 }), '1')
  t.equal(describeMark({ ...WEB, lastPort: undefined }), '7 --protocol tcp --destination 10.3.0.0/24 --port 80')
  t.equal(describeMark({ ...REST, link: 'eth0' }), '8 --source 10.0.0.0/8 --interface eth0')
})
