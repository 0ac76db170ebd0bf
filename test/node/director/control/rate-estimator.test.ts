/** Rates as IPVS estimates them. */
import { test } from 'tap'
import { FRACTION_BITS, nextRate, perSecond } from '../../../../node/director/control/rate-estimator.ts'

/** What is shown after each of these counts. */
function shown(counts: readonly number[]): number[] {
  let rate = 0
  return counts.map((counted) => {
    rate = nextRate(rate, counted, FRACTION_BITS)
    return perSecond(rate, FRACTION_BITS)
  })
}

test('a rate goes a quarter of the way to what was counted, every two seconds', async (t) => {
  t.same(shown([200, 200, 200, 200]), [25, 44, 58, 68], '100 a second, from 25 % of it on')
  t.equal(shown([200, 200, 200, 200, ...Array(30).fill(0)]).at(-1), 0, 'and back to nothing')
})

test('half a connection a second is shown as none, as the kernel rounds', async (t) => {
  t.same(shown([4, 5]), [0, 1])
})
