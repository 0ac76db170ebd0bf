/** Rates as IPVS estimates them. */
import { test } from 'tap'
import { FRACTION_BITS, RateEstimator } from '../../../../node/director/control/rate-estimator.ts'

test('a rate goes a quarter of the way to what was counted, every two seconds', (t) => {
  const estimator = new RateEstimator(1000, FRACTION_BITS)
  t.equal(estimator.perSecond, 0)
  const rates: number[] = []
  for (let total = 1200; total <= 1800; total += 200) {
    estimator.tick(total)
    rates.push(estimator.perSecond)
  }
  t.same(rates, [25, 44, 58, 68], '100 a second, from 25 % of it on')
  for (let i = 0; i < 30; i++) estimator.tick(1800)
  t.equal(estimator.perSecond, 0, 'and back to nothing')
  t.end()
})

test('half a connection a second is shown as none, as the kernel rounds', (t) => {
  const estimator = new RateEstimator(0, FRACTION_BITS)
  estimator.tick(4)
  t.equal(estimator.perSecond, 0)
  estimator.tick(9)
  t.equal(estimator.perSecond, 1)
  t.end()
})
