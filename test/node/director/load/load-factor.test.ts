/** From reports to weights, in numbers. */
import { test } from 'tap'
import {
  loadedWeights,
  loadFactor,
  reportedLoad,
  smoothLoad,
  steadyFactor,
} from '../../../../node/director/load/load-factor.ts'

const idle = { cpu: 0, memory: 0, loadPerCore: 0 }
const loads: [string, Parameters<typeof reportedLoad>[0], number][] = [
  ['an idle server has load 0', idle, 0],
  ['the busy share of its cores is a load', { ...idle, cpu: 0.7 }, 0.7],
  ['80 % of memory in use are no load', { ...idle, memory: 0.8 }, 0],
  ['90 % of memory in use are half a load', { ...idle, memory: 0.9 }, 0.5],
  ['no memory left is a full load', { ...idle, memory: 1 }, 1],
  ['more to run than cores to run it is a full load', { ...idle, loadPerCore: 7 }, 1],
  ['the worst counts', { cpu: 0.2, memory: 0.86, loadPerCore: 0.1 }, 0.3],
]
for (const [what, report, load] of loads) {
  test(what, async (t) => t.ok(Math.abs(reportedLoad(report) - load) < 1e-12))
}

test('a new value has the weight 0.2 after a second, however many reports came in it', async (t) => {
  t.ok(Math.abs(smoothLoad(0, 1, 1000) - 0.2) < 1e-12)
  let load = 0
  for (let report = 0; report < 10; report++) load = smoothLoad(load, 1, 100)
  t.ok(Math.abs(load - 0.2) < 1e-12)
})

test('two reports at one instant do not count twice', async (t) => {
  t.equal(smoothLoad(0.3, 1, 0), 0.3)
})

test('the factor is 1 up to a load of a half, then falls in a straight line to 0.1', async (t) => {
  t.equal(loadFactor(0), 1)
  t.equal(loadFactor(0.5), 1)
  t.ok(Math.abs(loadFactor(0.75) - 0.55) < 1e-12)
  t.ok(Math.abs(loadFactor(1) - 0.1) < 1e-12)
})

test('a factor in use stays until the one asked for is nearly a step away', async (t) => {
  t.equal(steadyFactor(1, 0.97), 1)
  t.equal(steadyFactor(1, 0.96), 0.95)
  t.equal(steadyFactor(0.5, 0.53), 0.5)
  t.equal(steadyFactor(0.5, 0.47), 0.5)
  t.equal(steadyFactor(0.5, 0.21), 0.2)
})

test('from every step the factor can reach the floor and 1', async (t) => {
  for (let step = 2; step < 20; step++) {
    t.equal(steadyFactor(step / 20, 1), 1)
    if (step > 2) t.equal(steadyFactor(step / 20, 0.1), 0.1)
  }
})

const weights: [string, [number, number][], number[]][] = [
  [
    'without load the configured weights are used as they are',
    [
      [3, 1],
      [1, 1],
    ],
    [3, 1],
  ],
  [
    'under load all weights grow by 20, so that parts of them are whole numbers',
    [
      [3, 1],
      [1, 0.55],
    ],
    [60, 11],
  ],
  [
    'weight 0 stays 0',
    [
      [0, 0.5],
      [1, 0.5],
    ],
    [0, 10],
  ],
  ['no server at all has no weights', [], []],
]
for (const [what, servers, expected] of weights) {
  test(what, async (t) => t.same(loadedWeights(servers.map(([weight, factor]) => ({ weight, factor }))), expected))
}

test('the heaviest weights there are do not overflow, and the lightest does not vanish beside them', async (t) => {
  const highest = 2 ** 31 - 1
  t.same(
    loadedWeights([
      { weight: highest, factor: 1 },
      { weight: highest, factor: 0.5 },
      { weight: 1, factor: 0.1 },
    ]),
    [highest, 2 ** 30, 1],
  )
})
