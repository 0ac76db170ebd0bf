/**
 * keepalived's VRRP instances as the `vips` of a director's own configuration file: each director has priorities of its own, so
 * they do not belong to the pool.
 *
 * Source: keepalived.conf(5) of keepalived 2.2.7, "vrrp_instance" and "vrrp_sync_group".
 */
import { isIP, isIPv6 } from 'node:net'
import type { z } from 'zod'
import { vipsSchema } from '../../director/vip/vip-config.ts'
import type { Statement } from './keepalived-syntax.ts'
import type { Omissions } from './omissions.ts'

/** As it is written in the file. */
export type Vip = NonNullable<z.input<typeof vipsSchema>>[number]

const WHY_NOT: Readonly<Record<string, string>> = {
  interface: 'a director has one interface for all groups: write it to `interfaces.outside` of its own file',
  // What is in it is a secret.
  authentication: 'advertisements carry no password here (RFC 9568 section 9)',
  use_vmac:
    'the virtual MAC is the one of RFC 9568 section 7.3: 00:00:5e:00:01 and the virtual_router_id, with IPv6 02 in place of 01',
  vmac_xmit_base: 'advertisements come from the virtual MAC, and to named peers from the interface’s own',
  track_script: 'write the script to `track.scripts` of the group',
}

export function importVrrpInstances(statements: readonly Statement[], omissions: Omissions): Vip[] {
  const vips: Vip[] = []
  const byInstance = new Map<string, Vip[]>()
  for (const statement of statements) {
    const [keyword, name = ''] = statement.words
    if (keyword !== 'vrrp_instance') continue
    for (const vip of vipsOf(statement, omissions)) {
      const fault = faultOf([...vips, vip])
      if (fault === undefined) {
        vips.push(vip)
        byInstance.set(name, [...(byInstance.get(name) ?? []), vip])
      } else omissions.add(statement.line, statement.words, fault)
    }
  }
  for (const statement of statements) {
    if (statement.words[0] === 'vrrp_sync_group') join(statement, vips, byInstance, omissions)
  }
  return vips
}

/** The instances of a sync group move together, if a sync group here can be like that. */
function join(
  { line, words, block = [] }: Statement,
  vips: readonly Vip[],
  byInstance: ReadonlyMap<string, readonly Vip[]>,
  omissions: Omissions,
): void {
  const [, syncGroup] = words
  const names = block.filter(({ words }) => words[0] === 'group').flatMap(({ block = [] }) => block)
  const members = names.flatMap(({ words }) => words).flatMap((name) => byInstance.get(name) ?? [])
  for (const vip of members) vip.syncGroup = syncGroup
  const fault = members.length === 0 ? 'none of its instances is here' : faultOf(vips)
  for (const { line, words } of block) if (words[0] !== 'group') omissions.add(line, words, 'has no counterpart here')
  if (fault === undefined) return
  for (const vip of members) delete vip.syncGroup
  omissions.add(line, words, fault)
}

function faultOf(vips: readonly Vip[]): string | undefined {
  const { error } = vipsSchema.safeParse(vips)
  return error && `${error.issues[0].path.slice(1).join('.')}: ${error.issues[0].message}`
}

/** One for each family of addresses. */
function vipsOf({ block = [] }: Statement, omissions: Omissions): Vip[] {
  const vip: Omit<Vip, 'addresses'> = { vrid: 0, priority: 100, advertisementIntervalMs: 1000 }
  const addresses: string[] = []
  for (const { line, words, block: inner = [] } of block) {
    const [keyword, value = ''] = words
    const omit = (why: string) => omissions.add(line, words, why)
    if (keyword === 'virtual_router_id') vip.vrid = Number(value)
    else if (keyword === 'priority') vip.priority = Number(value)
    else if (keyword === 'advert_int') vip.advertisementIntervalMs = Math.round(Number(value) * 100) * 10
    else if (keyword === 'version' && value === '2') vip.version = 2
    else if (keyword === 'nopreempt') vip.preempt = false
    else if (keyword === 'preempt_delay') vip.preemptDelayMs = Math.round(Number(value) * 1000)
    else if (keyword === 'use_vmac' && !words.some((word) => word.includes(':'))) vip.virtualMac = true
    else if (keyword === 'unicast_peer') vip.unicastPeers = addressesOf(inner, omissions)
    else if (keyword === 'track_interface') vip.track = { interfaces: trackedOf(inner, omissions) }
    else if (keyword === 'virtual_ipaddress') addresses.push(...addressesOf(inner, omissions))
    else if (keyword === 'virtual_ipaddress_excluded') {
      omit('advertised like the others here')
      addresses.push(...addressesOf(inner, omissions))
    } else if (!(keyword === 'state' || (keyword === 'version' && value === '3'))) {
      omit(Object.hasOwn(WHY_NOT, keyword) ? WHY_NOT[keyword] : 'has no counterpart here')
    }
  }
  // As keepalived takes an address that is named twice.
  const all = [...new Set(addresses)]
  const families = [all.filter((address) => !isIPv6(address)), all.filter((address) => isIPv6(address))]
  return families.filter(({ length }) => length > 0).map((each) => ({ ...vip, addresses: each }))
}

function addressesOf(statements: readonly Statement[], omissions: Omissions): string[] {
  return statements.flatMap(({ line, words: [prefix, ...options] }) => {
    const [address] = prefix.split('/')
    if (isIP(address) === 0) {
      omissions.add(line, [prefix, ...options], 'expected an address')
      return []
    }
    if (options.length > 0) {
      omissions.add(line, [prefix, ...options], 'only the address is taken: here it is on no interface')
    }
    return [address]
  })
}

/** "eth1", or "eth1 weight -20". */
function trackedOf(statements: readonly Statement[], omissions: Omissions): { name: string; weight: number }[] {
  return statements.flatMap(({ line, words }) => {
    const [name, keyword, weight = '', ...more] = words
    const isWeighed = keyword === 'weight' && /^-?\d+$/.test(weight) && more.length === 0
    if (keyword === undefined || isWeighed) return [{ name, weight: isWeighed ? Number(weight) : 0 }]
    omissions.add(line, words, 'expected an interface, and at most weight with a number')
    return []
  })
}
