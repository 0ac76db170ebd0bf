/** Which peers have told their configuration, and have the same. */
import { test } from 'tap'
import { Agreement } from '../../../../node/director/pool/agreement.ts'

test('a peer differs from the first digest that is another to the first that is the same', async (t) => {
  let nowMs = 1000
  const agreement = new Agreement(() => nowMs)
  t.equal(agreement.differsMs('d2'), undefined)
  agreement.compared('d2', false)
  nowMs = 6000
  agreement.compared('d2', false)
  t.equal(agreement.differsMs('d2'), 5000)
  agreement.compared('d2', true)
  t.equal(agreement.differsMs('d2'), 0)
  nowMs = 9000
  agreement.compared('d2', false)
  nowMs = 9500
  t.equal(agreement.differsMs('d2'), 500)
  agreement.forget('d2')
  t.equal(agreement.differsMs('d2'), undefined)
})

test('who has the same as a peer has all that it had', async (t) => {
  let nowMs = 1000
  const agreement = new Agreement(() => nowMs)
  t.strictSame([agreement.agreedAtMs, agreement.toldAtMs], [Number.NEGATIVE_INFINITY, Number.NEGATIVE_INFINITY])
  agreement.compared('d2', false)
  t.equal(agreement.toldAtMs, Number.NEGATIVE_INFINITY)
  agreement.toldAll()
  t.strictSame([agreement.agreedAtMs, agreement.toldAtMs], [Number.NEGATIVE_INFINITY, 1000])
  nowMs = 2000
  agreement.compared('d3', true)
  t.strictSame([agreement.agreedAtMs, agreement.toldAtMs], [2000, 2000])
})
