/**
 * One vrrp_instance of keepalived: what of it a group of virtual addresses can have, and which addresses it has on which
 * interface. What becomes of these, only all instances together say (keepalived-vips.ts).
 *
 * Source: keepalived.conf(5) of keepalived 2.2.7, "vrrp_instance".
 */
import { isIP, isIPv6 } from 'node:net'
import type { z } from 'zod'
import { canonicalAddress } from '../../../protocol/packet/ipv6-address.ts'
import { PRIORITY_OWNER, VRRP_GROUP_IPV4, VRRP_GROUP_IPV6, type VrrpVersion } from '../../../protocol/packet/vrrp.ts'
import type { vipsSchema } from '../../director/vip/vip-config.ts'
import { type Statement, wholeNumber } from './keepalived-syntax.ts'
import { NO_COUNTERPART, type Omissions } from './omissions.ts'

/** As it is written in the file. */
export type Vip = NonNullable<z.input<typeof vipsSchema>>[number]

export interface InstanceAddress {
  readonly text: string
  readonly isIPv6: boolean
  /** Not advertised. */
  readonly isExcluded: boolean
  /** The interface that it would be on, if any is named. */
  readonly network: string | undefined
  readonly statement: Statement
  /** That it stands in. */
  readonly block: Statement
}

export const OTHER_GROUP = `advertisements go to ${VRRP_GROUP_IPV4} and ${VRRP_GROUP_IPV6}: keepalived would not hear a director beside it, and both would hold the addresses`
const NOTIFIED = 'write a program for all states to `onStatus` of the group'
const STATE =
  'expected MASTER or BACKUP: it is taken for BACKUP. MASTER would mean priority 255 unless given, and `nopreempt` left out'
/** keepalived's, for those that do not start as master. */
const PRIORITY = 100
const WHY_NOT: Readonly<Record<string, string>> = {
  // What is in it is a secret.
  authentication:
    'advertisements carry no password here (RFC 9568 section 9). With version 2, keepalived drops those without, and a director those with one: take it out there before both run',
  use_vmac:
    'the virtual MAC is the one of RFC 9568 section 7.3: 00:00:5e:00:01 and the virtual_router_id, with IPv6 02 in place of 01',
  vmac_xmit_base: 'advertisements come from the virtual MAC, and to named peers from the interface’s own',
  mcast_src_ip: 'advertisements come from the first address of `interfaces.outside`',
  unicast_src_ip: 'advertisements come from the first address of `interfaces.outside`: its peers are to name that',
  track_script: 'write the script to `track.scripts` of the group',
  notify: NOTIFIED,
  notify_master: NOTIFIED,
  notify_backup: NOTIFIED,
  notify_fault: NOTIFIED,
  notify_stop: NOTIFIED,
  lvs_sync_daemon_interface: 'start it on each director: vsadm --start-daemon',
}

export class Instance {
  readonly name: string
  readonly statement: Statement
  readonly addresses: InstanceAddress[] = []
  readonly #omissions: Omissions
  readonly #group: Omit<Vip, 'addresses'> = {
    vrid: 0,
    priority: undefined,
    advertisementIntervalMs: 1000,
  }
  #interface: Statement | undefined
  /** The kernel interface of its virtual MAC, which is on the same network. */
  #virtualInterface: string | undefined
  #isMaster = false
  #version: VrrpVersion | undefined
  #interval: Statement | undefined
  readonly #preemption: Statement[] = []

  /** @param version that IPv4 has unless the instance says otherwise */
  constructor(statement: Statement, version: VrrpVersion, omissions: Omissions) {
    this.name = statement.words[1] ?? ''
    this.statement = statement
    this.#omissions = omissions
    for (const each of statement.block ?? []) this.#read(each)
    for (const each of statement.block ?? []) {
      const [keyword] = each.words
      if (keyword === 'virtual_ipaddress' || keyword === 'virtual_ipaddress_excluded') this.#readAddresses(each)
    }
    this.#setPriority()
    for (const each of this.#preemption) this.#setPreemption(each)
    if (this.isIPv6) this.#version = 3
    else this.#version ??= version
    this.#setInterval()
  }

  /** Of the addresses that it advertises. */
  get isIPv6(): boolean {
    const first = this.addresses.find(({ isExcluded }) => !isExcluded) ?? this.addresses[0]
    return first?.isIPv6 ?? false
  }

  /** Where it names the interface on which it speaks VRRP. */
  get interface(): { readonly name: string; readonly statement: Statement } | undefined {
    const statement = this.#interface
    return statement && { name: statement.words[1] ?? '', statement }
  }

  /** @param addresses of one family, one at least */
  group(addresses: readonly InstanceAddress[]): Vip {
    const isOld = this.#version === 2 && !addresses[0].isIPv6
    return { ...this.#group, ...(isOld && { version: 2 as const }), addresses: addresses.map(({ text }) => text) }
  }

  #omit({ line, words }: Statement, why: string): void {
    this.#omissions.add(line, words, why)
  }

  #read(statement: Statement): void {
    const group = this.#group
    const { words, block = [] } = statement
    const [keyword, value = ''] = words
    switch (keyword) {
      case 'virtual_ipaddress':
      case 'virtual_ipaddress_excluded':
        break
      case 'state':
        this.#isMaster ||= value === 'MASTER'
        if (value !== 'MASTER' && value !== 'BACKUP') this.#omit(statement, STATE)
        break
      case 'interface':
        this.#interface = statement
        break
      case 'version':
        if (value === '2' || value === '3') this.#version = value === '2' ? 2 : 3
        else this.#omit(statement, 'expected 2 or 3')
        break
      case 'virtual_router_id':
        group.vrid = wholeNumber(value) ?? Number.NaN
        break
      case 'priority':
        group.priority = wholeNumber(value) ?? Number.NaN
        break
      case 'advert_int':
        this.#interval = statement
        break
      case 'preempt':
      case 'nopreempt':
      case 'preempt_delay':
        this.#preemption.push(statement)
        break
      case 'use_vmac':
        if (words.some((word) => word.includes(':'))) this.#omit(statement, WHY_NOT.use_vmac)
        else group.virtualMac = true
        this.#virtualInterface = words.slice(1).find((word) => !word.includes(':'))
        break
      case 'unicast_peer':
        this.#readPeers(block)
        break
      case 'track_interface':
        group.track = { interfaces: [...(group.track?.interfaces ?? []), ...this.#trackedOf(block)] }
        break
      case 'mcast_dst_ip':
        if (!isVrrpGroup(value)) this.#omit(statement, OTHER_GROUP)
        break
      default:
        this.#omit(statement, Object.hasOwn(WHY_NOT, keyword) ? WHY_NOT[keyword] : NO_COUNTERPART)
    }
  }

  #readPeers(statements: readonly Statement[]): void {
    const peers = statements.flatMap((statement) => {
      if (statement.words.length > 1) this.#omit(statement, 'only the address is taken: any hop limit is')
      return this.#addressOf(statement) ?? []
    })
    // Of an empty block keepalived makes the group.
    if (peers.length > 0) this.#group.unicastPeers = [...(this.#group.unicastPeers ?? []), ...peers]
  }

  #readAddresses(block: Statement): void {
    for (const statement of block.block ?? []) {
      const text = this.#addressOf(statement)
      if (text === undefined) continue
      const { words } = statement
      const device = words.includes('dev') ? words[words.indexOf('dev') + 1] : undefined
      const isOwn = device === undefined || device === this.#virtualInterface
      const network = isOwn ? this.interface?.name : device
      const isExcluded = block.words[0] === 'virtual_ipaddress_excluded'
      this.addresses.push({ text, isIPv6: isIPv6(text), isExcluded, network, statement, block })
    }
  }

  #addressOf(statement: Statement): string | undefined {
    const [address] = statement.words[0].split('/')
    if (isIP(address) !== 0 && !address.includes('%')) return canonicalAddress(address)
    this.#omit(statement, 'expected an address')
    return undefined
  }

  /** "eth1", or "eth1 weight -20". */
  #trackedOf(statements: readonly Statement[]): { name: string; weight: number }[] {
    return statements.flatMap((statement) => {
      const [name, keyword, weight = '', ...more] = statement.words
      const isWeighed = keyword === 'weight' && /^-?\d{1,3}$/.test(weight) && more.length === 0
      if (!name.includes('$') && (keyword === undefined || isWeighed)) return [{ name, weight: Number(weight) }]
      this.#omit(statement, 'expected an interface, and at most weight with a number')
      return []
    })
  }

  /** Where it is said under a condition, which is not followed, one is missing. */
  #setPriority(): void {
    if (this.#group.priority !== undefined) return
    this.#group.priority = this.#isMaster ? PRIORITY_OWNER : PRIORITY
    if (this.#isMaster) this.#omit(this.statement, 'has `state MASTER` and no `priority`: it is 255, as in keepalived')
  }

  #setPreemption(statement: Statement): void {
    const [keyword, value = ''] = statement.words
    if (keyword === 'preempt') delete this.#group.preempt
    else if (this.#isMaster || this.#group.priority === PRIORITY_OWNER) {
      this.#omit(statement, 'keepalived does not heed it with `state MASTER` or priority 255, so it is left out')
    } else if (keyword === 'nopreempt') this.#group.preempt = false
    else this.#group.preemptDelayMs = Math.round(seconds(value) * 1000)
  }

  /** Version 2 counts in whole seconds: keepalived rounds to them, and to one at least. */
  #setInterval(): void {
    if (!this.#interval) return
    const wanted = seconds(this.#interval.words[1] ?? '')
    if (this.#version === 3 || Number.isNaN(wanted)) {
      this.#group.advertisementIntervalMs = Math.round(wanted * 100) * 10
      return
    }
    const rounded = Math.max(1, Math.round(wanted))
    this.#group.advertisementIntervalMs = rounded * 1000
    if (rounded !== wanted)
      this.#omit(this.#interval, `version 2 of VRRP has whole seconds: ${rounded}, as in keepalived`)
  }
}

/** Whether advertisements go there anyway. */
export function isVrrpGroup(address: string): boolean {
  return address === VRRP_GROUP_IPV4 || address === VRRP_GROUP_IPV6
}

/** With fractions; NaN for what is no such number. */
function seconds(word: string): number {
  return /^\d{0,9}\.?\d{1,9}$/.test(word) ? Number(word) : Number.NaN
}
