/** Which peers have the same configuration. */
import { test } from 'tap'
import { Agreement } from '../../../../node/director/pool/agreement.ts'

test('a peer differs from the first digest that is another to the first that is the same', async (t) => {
  let nowMs = 1000
  const agreement = new Agreement(() => nowMs)
  t.equal(agreement.differsMs('d2'), undefined)
  agreement.compared('d2', false)
  t.notOk(agreement.hasAgreed)
  nowMs = 6000
  agreement.compared('d2', false)
  t.equal(agreement.differsMs('d2'), 5000)
  agreement.compared('d2', true)
  t.equal(agreement.differsMs('d2'), 0)
  t.ok(agreement.hasAgreed)
  nowMs = 9000
  agreement.compared('d2', false)
  t.equal(agreement.differsMs('d2'), 0)
  t.ok(agreement.hasAgreed, 'a change is under way')
  nowMs = 9500
  t.equal(agreement.differsMs('d2'), 500)
})

test('what was agreed with a peer counts until the last one is gone', async (t) => {
  const agreement = new Agreement(() => 0)
  agreement.compared('d2', true)
  agreement.compared('d3', false)
  agreement.forget('d2')
  t.ok(agreement.hasAgreed)
  t.equal(agreement.differsMs('d2'), undefined)
  agreement.forget('d3')
  t.notOk(agreement.hasAgreed)
})
