/**
 * keepalived's VRRP instances as the `vips` of a director's own configuration file: each director has priorities of its own, so
 * they do not belong to the pool.
 *
 * Source: keepalived.conf(5) of keepalived 2.2.7, "vrrp_instance".
 */
import { isIP, isIPv6 } from 'node:net'
import { directorConfigSchema } from '../../director/config.ts'
import type { Statement } from './keepalived-syntax.ts'
import type { Omissions } from './omissions.ts'

export interface Vip {
  vrid: number
  priority: number
  advertisementIntervalMs: number
  preempt: boolean
  addresses: string[]
}

export function importVrrpInstances(statements: readonly Statement[], omissions: Omissions): Vip[] {
  const vips: Vip[] = []
  for (const statement of statements) {
    if (statement.words[0] !== 'vrrp_instance') continue
    for (const vip of vipsOf(statement, omissions)) {
      const { error } = directorConfigSchema.shape.vips.safeParse([...vips, vip])
      if (!error) vips.push(vip)
      else {
        const [{ path, message }] = error.issues
        omissions.add(statement.line, statement.words, `${path.slice(1).join('.')}: ${message}`)
      }
    }
  }
  return vips
}

/** One for each family of addresses. */
function vipsOf({ block = [] }: Statement, omissions: Omissions): Vip[] {
  const vip = { vrid: 0, priority: 100, advertisementIntervalMs: 1000, preempt: true }
  const addresses: string[] = []
  for (const { line, words, block: inner = [] } of block) {
    const [keyword, value = ''] = words
    const omit = (why: string) => omissions.add(line, words, why)
    switch (keyword) {
      case 'state':
        break
      case 'virtual_router_id':
        vip.vrid = Number(value)
        break
      case 'priority':
        vip.priority = Number(value)
        break
      case 'advert_int':
        vip.advertisementIntervalMs = Math.round(Number(value) * 100) * 10
        break
      case 'nopreempt':
        vip.preempt = false
        break
      case 'interface':
        omit('a director has one interface for all groups: write it to `interfaces.outside` of its own file')
        break
      case 'virtual_ipaddress_excluded':
        omit('advertised like the others here')
        addresses.push(...addressesOf(inner, omissions))
        break
      case 'virtual_ipaddress':
        addresses.push(...addressesOf(inner, omissions))
        break
      case 'authentication':
        // What is in it is a secret.
        omit('VRRPv3 has no authentication (RFC 9568 section 9)')
        break
      default:
        omit('has no counterpart here')
    }
  }
  const families = [addresses.filter((address) => !isIPv6(address)), addresses.filter(isIPv6)]
  return families.filter(({ length }) => length > 0).map((each) => ({ ...vip, addresses: each }))
}

function addressesOf(statements: readonly Statement[], omissions: Omissions): string[] {
  return statements.flatMap(({ line, words }) => {
    const [prefix, ...options] = words
    const [address] = prefix.split('/')
    if (isIP(address) === 0) {
      omissions.add(line, words, 'expected an address')
      return []
    }
    if (options.length > 0) {
      omissions.add(
        line,
        words,
        'of the address alone: it is on no interface here, so that nothing else can be said of it',
      )
    }
    return [address]
  })
}
