/** Rows of check results (+ success, - failure) and what they make of a server. */
import { test } from 'tap'
import { afterCheck, UNCHECKED } from '../../../../node/director/health/rise-fall.ts'

const [rise, fall] = [2, 3]
const rows: [string, string, string][] = [
  ['nothing is known before the first check', '', 'unknown'],
  ['the first success makes a server live', '+', 'up'],
  ['failures fewer than fall leave a new server unknown', '--', 'unknown'],
  ['fall failures make a new server dead', '---', 'down'],
  ['a success among failures makes a new server live', '--+', 'up'],
  ['failures fewer than fall leave a live server live', '+--', 'up'],
  ['fall failures in a row make a live server dead', '+---', 'down'],
  ['failures that are not in a row do not', '+--+--+--', 'up'],
  ['successes fewer than rise leave a dead server dead', '---+', 'down'],
  ['rise successes in a row make a dead server live', '---++', 'up'],
  ['successes that are not in a row do not', '---+-+-+', 'down'],
  ['after a change the count begins anew', '---++--', 'up'],
]
for (const [what, results, state] of rows) {
  test(what, async (t) => {
    let now = UNCHECKED
    for (const result of results) now = afterCheck(now, result === '+', rise, fall)
    t.equal(now.state, state)
  })
}

test('with rise and fall 1 every result counts at once', async (t) => {
  const up = afterCheck(UNCHECKED, true, 1, 1)
  const down = afterCheck(up, false, 1, 1)
  t.same([up.state, down.state, afterCheck(down, true, 1, 1).state], ['up', 'down', 'up'])
})
