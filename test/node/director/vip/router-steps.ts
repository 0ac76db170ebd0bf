/** What a virtual router is told, and when, with what it is to do about it. */
import { test } from 'tap'
import {
  type RouterAction,
  type RouterInput,
  VirtualRouter,
  type VirtualRouterOptions,
} from '../../../../node/director/vip/virtual-router.ts'

/** 100 ms intervals and priority 128: the skew is 50 ms, silence of 350 ms means that nobody is active. */
export const ORDINARY: VirtualRouterOptions = {
  address: '10.0.0.2',
  priority: 128,
  intervalMs: 100,
  preempt: true,
  preemptDelayMs: 0,
  version: 3,
  isGrouped: false,
}

export const start: RouterInput = { kind: 'start' }
export const stop: RouterInput = { kind: 'stop' }
export const timer: RouterInput = { kind: 'timer' }
export const synced: RouterInput = { kind: 'sync', inSync: true }
export const unsynced: RouterInput = { kind: 'sync', inSync: false }
export const fault: RouterInput = { kind: 'fault', reason: 'eth0 is down' }
export const cleared: RouterInput = { kind: 'cleared' }
export function heard(from: string, priority: number, intervalMs = 100): RouterInput {
  return { kind: 'advertisement', from, priority, intervalMs }
}

export const contested: RouterInput = { kind: 'contested', reason: 'd3 is reached' }
export const activate: RouterInput = { kind: 'activate' }
export const priority = (value: number): RouterInput => ({ kind: 'priority', priority: value })

export type Step = readonly [atMs: number, input: RouterInput, actions: string]
export type Case = readonly [sentence: string, steps: readonly Step[], options?: Partial<VirtualRouterOptions>]

/** In sync, started at 0, active since 350. */
export const toActive: readonly Step[] = [
  [0, synced, ''],
  [0, start, 'become backup, arm 350'],
  [350, timer, 'become active, advertise 128, arm 450'],
]

export function testEach(cases: readonly Case[]): void {
  for (const [sentence, steps, options] of cases) {
    test(sentence, async (t) => {
      const router = new VirtualRouter({ ...ORDINARY, ...options })
      for (const [atMs, input, actions] of steps) {
        t.equal(summary(router.handle(input, atMs)), actions, `${atMs} ms: ${JSON.stringify(input)}`)
      }
    })
  }
}

function summary(actions: readonly RouterAction[]): string {
  return actions
    .map((action) => {
      if (action.kind === 'advertise') return `advertise ${action.priority}`
      if (action.kind === 'become') return `become ${action.state}`
      if (action.kind === 'arm') return `arm ${action.dueMs}`
      return action.kind
    })
    .join(', ')
}
