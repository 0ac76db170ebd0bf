/** The names under which schedulers are found. */
import { test } from 'tap'
import { DEFAULT_SCHEDULER, schedulerByName, schedulers } from '../../scheduler/registry.ts'
import { modernSchedulerName } from '../../scheduler/scheduler-name.ts'

test('every scheduler is found by its own name, and no two share one', async (t) => {
  for (const scheduler of schedulers) t.equal(schedulerByName(scheduler.name), scheduler)
  t.equal(new Set(schedulers.map(({ name }) => name)).size, schedulers.length)
})

test('every name that ipvsadm knows is there, and twos, which the kernel knows besides', async (t) => {
  const names = ['rr', 'wrr', 'lc', 'wlc', 'lblc', 'lblcr', 'dh', 'sh', 'sed', 'nq', 'fo', 'ovf', 'mh', 'twos']
  t.strictSame(new Set(schedulers.map(({ name }) => name)), new Set(names))
})

test('the default is weighted least connection, as with ipvsadm', async (t) => t.equal(DEFAULT_SCHEDULER, 'wlc'))

test('none is no scheduler, but can be asked as one', async (t) => t.equal(schedulerByName('none')?.name, 'none'))

test('an unknown name finds nothing', async (t) => {
  for (const name of ['', 'WLC', 'nosuch', 'constructor', '__proto__']) t.equal(schedulerByName(name), undefined)
})

const spellings = [
  ['ip_vs_rr.o', 'rr'],
  ['ip_vs_wrr.o', 'wrr'],
  ['ip_vs_wlc.o', 'wlc'],
  ['ip_vs_lblc.o', 'lblc'],
  ['ip_vs_lblcr.o', 'lblcr'],
  ['ip_vs_dh.o', 'dh'],
  ['ip_vs_sh.o', 'sh'],
  ['wlc', 'wlc'],
  ['ip_vs_wlc', 'ip_vs_wlc'],
  ['xip_vs_wlc.o', 'xip_vs_wlc.o'],
] as const
for (const [spelling, name] of spellings) {
  test(`${spelling} is understood as ${name}`, async (t) => t.equal(modernSchedulerName(spelling), name))
}
