/** What the kernel is advised about large tables, as /proc/PID/smaps tells it (proc(5), VmFlags). */
import { readFileSync } from 'node:fs'
import { test } from 'tap'
import { addressOf } from '../../../forwarder/sys/libc.ts'
import { adviseTable } from '../../../forwarder/sys/memory.ts'

const MEGABYTE = 2 ** 20

/** The flags of the mapping that an address of this process is in. */
function flagsAt(address: number): string[] {
  for (const mapping of readFileSync('/proc/self/smaps', 'utf8').split(/^(?=[0-9a-f]+-[0-9a-f]+ )/m)) {
    const [start, end] = mapping.split(/[- ]/, 2).map((word) => Number.parseInt(word, 16))
    if (address >= start && address < end) return /^VmFlags: (.*)$/m.exec(mapping)![1].trim().split(' ')
  }
  throw new Error(`nothing is mapped at ${address.toString(16)}`)
}

test('a large table has huge pages if there are any, and is not copied for children', async (t) => {
  const table = new SharedArrayBuffer(40 * MEGABYTE)
  const middle = addressOf(table) + 20 * MEGABYTE
  t.notOk(flagsAt(middle).includes('dc'))
  adviseTable(table)
  const flags = flagsAt(middle)
  t.ok(flags.includes('hg'), 'MADV_HUGEPAGE')
  t.ok(flags.includes('dc'), 'MADV_DONTFORK')
})

test('what may share a mapping with other memory is copied for children', async (t) => {
  const table = new SharedArrayBuffer(MEGABYTE)
  adviseTable(table)
  t.notOk(flagsAt(addressOf(table) + MEGABYTE / 2).includes('dc'))
})
