/** Simulated pools under faults, from seed 101 on. */
import { test } from 'tap'
import { keepEveryPromise, SEEDS_AT_ONCE } from './seeds.ts'

test(`${SEEDS_AT_ONCE} pools keep every promise`, (t) => keepEveryPromise(t, 101))
