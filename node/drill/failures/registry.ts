/** The failures that a drill can make, in the order in which `director drill all` rehearses them. */
import type { Failure } from '../failure.ts'
import { crash } from './crash.ts'
import { flap } from './flap.ts'
import { freeze } from './freeze.ts'
import { handover } from './handover.ts'
import { join } from './join.ts'
import { partition } from './partition.ts'
import { rollingRestart } from './rolling-restart.ts'
import { serverDeath } from './server-death.ts'

export const failures: readonly Failure[] = [
  crash,
  handover,
  serverDeath,
  freeze,
  flap,
  partition,
  rollingRestart,
  join,
]

export const FAILURE_NAMES: readonly string[] = failures.map(({ name }) => name)

export function failureNamed(name: string): Failure | undefined {
  return failures.find((failure) => failure.name === name)
}
