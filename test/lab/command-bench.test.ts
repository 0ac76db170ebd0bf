/** The benchmark of vsadm's start and of a restored document runs, on counts that say nothing about speed. */
import { test } from 'tap'
import { measureCommands } from '../bench/command-bench.ts'

const needsRoot = process.getuid?.() === 0 ? false : 'network namespaces need root'

test('vsadm is measured against a pool in a lab', { skip: needsRoot, timeout: 170_000 }, async (t) => {
  const { start, restore } = await measureCommands(1, 3, 2)
  t.equal(start.differenceMs, start.vsadmMs - start.nodeMs)
  t.match(restore, { services: 3, servers: 6 })
  for (const measured of Object.values(restore)) t.ok(measured > 0)
})
