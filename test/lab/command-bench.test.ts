/** The benchmark of vsadm's start and of a restored document runs, on counts that say nothing about speed, and counts as it says. */
import { test } from 'tap'
import { measureCommands, measureStart } from '../bench/command-bench.ts'

const needsRoot = process.getuid?.() === 0 ? false : 'network namespaces need root'

test('vsadm is measured against a pool in a lab', { skip: needsRoot, timeout: 170_000 }, async (t) => {
  const { start, restore } = await measureCommands(1, 3, 2)
  t.ok(start.vsadmMs > 0 && start.nodeMs > 0)
  t.match(restore, { services: 3, servers: 6 })
  for (const measured of Object.values(restore)) t.ok(measured > 0)
})

test('of the starts the first of each counts for nothing, and of the others what is in the middle', async (t) => {
  const vsadm = [900, 30, 50, 40].values()
  const node = [500, 21, 24, 23].values()
  const starts = { vsadm: () => vsadm.next().value ?? Number.NaN, node: () => node.next().value ?? Number.NaN }
  t.same(measureStart(3, starts), { vsadmMs: 40, nodeMs: 23, differenceMs: 17 })
})
