/**
 * What is different between two configurations, one line for each difference, for people: "+" is new, "-" is gone, "~" is another.
 * It may be long, and goes in steps.
 */
import { isDeepStrictEqual } from 'node:util'
import { type MarkRule, serverKey, serviceKey } from '../../../forwarder/service.ts'
import { describeMark } from './mark-changes.ts'
import { serverValues, serviceValues } from './pool-document.ts'
import type { PoolDraft, PoolState } from './pool-draft.ts'
import type { PoolServer, PoolService } from './pool-entry.ts'
import { allSettings, type SettingValues } from './setting-changes.ts'

/** undefined: a step of the comparison of which nothing came. */
type Line = string | undefined

export function* difference(before: PoolState, after: PoolState): Generator<Line> {
  for (const service of before.services()) {
    yield* after.service(service) ? [undefined] : serviceDifference(service, undefined)
  }
  for (const service of after.services()) yield* serviceDifference(before.service(service), service)
  yield* settingsDifference(before.settings(), after.settings())
  yield* marksDifference(before.marks(), after.marks())
}

export function* draftDifference(before: PoolState, draft: PoolDraft): Generator<Line> {
  for (const { address, after } of draft.services()) yield* serviceDifference(before.service(address), after)
  if (draft.settings) yield* settingsDifference(before.settings(), draft.settings)
  if (draft.marks) yield* marksDifference(before.marks(), draft.marks)
}

export function* serviceDifference(before: PoolService | undefined, after: PoolService | undefined): Generator<Line> {
  yield undefined
  if (before === after) return
  if (before && !after) {
    const { length } = before.servers
    yield `- ${serviceKey(before)} ${words(serviceValues(before))}, ${length} server${length === 1 ? '' : 's'}`
  }
  if (!after) return
  const name = serviceKey(after)
  if (!before) yield `+ ${name} ${words(serviceValues(after))}`
  else yield* valueDifference(`~ ${name}`, serviceValues(before), serviceValues(after))
  yield* serversDifference(name, before?.servers ?? [], after.servers)
}

export function* settingsDifference(before: SettingValues, after: SettingValues): Generator<Line> {
  yield* valueDifference('~ setting', allSettings(before), allSettings(after))
}

export function* marksDifference(before: readonly MarkRule[], after: readonly MarkRule[]): Generator<Line> {
  const rulesBefore = before.map(describeMark)
  const rulesAfter = after.map(describeMark)
  yield* listDifference('mark', rulesBefore, rulesAfter)
}

function* serversDifference(
  name: string,
  before: readonly PoolServer[],
  after: readonly PoolServer[],
): Generator<Line> {
  const known = new Map(before.map((server) => [serverKey(server), server]))
  const kept = new Set(after.map(serverKey))
  for (const key of known.keys()) if (!kept.has(key)) yield `- ${name} server ${key}`
  for (const server of after) {
    const key = serverKey(server)
    const old = known.get(key)
    yield undefined
    if (!old) yield `+ ${name} server ${key} ${words(serverValues(server))}`
    else yield* valueDifference(`~ ${name} server ${key}`, serverValues(old), serverValues(server))
  }
  if (isReordered([...known.keys()], [...kept])) yield `~ ${name} order of the servers: ${[...kept].join(' ')}`
}

function* listDifference(what: string, before: readonly string[], after: readonly string[]): Generator<Line> {
  for (const each of before) if (!after.includes(each)) yield `- ${what} ${each}`
  for (const [index, each] of after.entries()) {
    if (!before.includes(each)) yield `+ ${what} ${each}, in place ${index + 1}`
  }
  if (isReordered(before, after)) yield `~ order of the ${what}s: ${after.join('; ')}`
}

/** Whether those that are in both are in another order. */
function isReordered(before: readonly string[], after: readonly string[]): boolean {
  const [wasThere, isThere] = [new Set(before), new Set(after)]
  return !isDeepStrictEqual(
    before.filter((each) => isThere.has(each)),
    after.filter((each) => wasThere.has(each)),
  )
}

type Values = Readonly<Record<string, unknown>>

function* valueDifference(where: string, before: Values, after: Values): Generator<Line> {
  for (const name of new Set([...Object.keys(before), ...Object.keys(after)])) {
    if (isDeepStrictEqual(before[name], after[name])) continue
    yield `${where} ${name} ${text(before[name])} -> ${text(after[name])}`
  }
}

function words(values: Values): string {
  return Object.entries(values)
    .map(([name, value]) => `${name} ${text(value)}`)
    .join(' ')
}

function text(value: unknown): string {
  if (value === undefined) return 'none'
  return typeof value === 'object' ? JSON.stringify(value) : String(value)
}
