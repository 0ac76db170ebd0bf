/**
 * The groups of virtual addresses in a director's configuration file: `vips`. What the fields do: docs/operations.md, "Groups of
 * virtual addresses".
 */
import { z } from 'zod'
import { isIPv6Text } from '../../../protocol/packet/ipv6-address.ts'
import { MOST_IPV6_ADDRESSES, MOST_SIGNED_IPV6_ADDRESSES, PRIORITY_OWNER } from '../../../protocol/packet/vrrp.ts'
import { hostAddress, interfaceName } from '../address-schema.ts'
import { isLinkLocal } from '../host/host-addresses.ts'

/** Of each kind, in a group. */
const MOST_TRACKED = 16

/** Run without a shell. */
const command = z
  .array(z.string().max(4096))
  .min(1)
  .max(32)
  .refine(([program = '']) => program.startsWith('/'), 'expected the absolute path of a program first')
/** Above 0: added while it is well. Below: taken away while it is not. 0: when it is not, that is a fault. */
const weight = z.int().min(-253).max(253).default(0)
const trackedInterface = z.strictObject({ name: interfaceName, weight })
const trackedScript = z.strictObject({
  /** Well: exit status 0. */
  command,
  weight,
  intervalMs: z.int().min(100).max(3_600_000).default(1000),
  /** Then it is killed, and has failed. */
  timeoutMs: z.int().min(10).max(60_000).default(1000),
  /** Successes in a row that make it well, failures in a row that make it ill. */
  rise: z.int().min(1).max(100).default(1),
  fall: z.int().min(1).max(100).default(1),
})

const vip = z
  .strictObject({
    /** Virtual router identifier, RFC 9568 section 5.2.3: the two families have numbers of their own. */
    vrid: z.int().min(1).max(255),
    /** 255 owns the address; higher wins. */
    priority: z.int().min(1).max(255).default(100),
    /** Of VRRP; 2 is for old peers, of IPv4. */
    version: z.literal([2, 3]).default(3),
    /** Version 3 counts in centiseconds: a multiple of 10. Version 2 in seconds. 50, or 1000 in version 2, unless given. */
    advertisementIntervalMs: z.int().min(10).max(40_000).multipleOf(10, 'expected a multiple of 10').optional(),
    preempt: z.boolean().default(true),
    /** How long a director that could preempt leaves the addresses where they are. */
    preemptDelayMs: z.int().min(0).max(86_400_000).default(0),
    /** Who is sent to and believed, by address, in place of the group: where multicast does not get through. */
    unicastPeers: z.array(hostAddress).min(1).max(63).optional(),
    /** Clients see the virtual router MAC (RFC 9568 section 7.3) and not that of the director's interface. */
    virtualMac: z.boolean().default(false),
    /** Advertisements are signed, and those that are not are not believed. */
    authentication: z
      .strictObject({
        /** Of keys that all directors of the pool have; the first one signs (protocol/packet/vrrp-trailer.ts). */
        keyFile: z.string().min(1),
        /** False: directors that do not sign are believed too, while the pool is being changed over. */
        required: z.boolean().default(true),
      })
      .optional(),
    /** What besides our own state the priority depends on. */
    track: z
      .strictObject({
        interfaces: z.array(trackedInterface).max(MOST_TRACKED).default([]),
        scripts: z.array(trackedScript).max(MOST_TRACKED).default([]),
      })
      .optional(),
    /** Groups with one name here are active on one director, all of them or none. */
    syncGroup: z.string().min(1).max(63).optional(),
    /** Told of each new state, with keepalived's words for it as arguments. */
    onStatus: command.optional(),
    /** All of one family. */
    addresses: z.array(hostAddress).min(1).max(255),
    /** NAT: the address that is the real servers' default gateway, on the inside; moves with the VIPs. */
    gateway: hostAddress.optional(),
  })
  .superRefine((group, context) => {
    const { addresses, gateway, version, advertisementIntervalMs = 1000, unicastPeers = [], track } = group
    // An empty list is refused by itself, and comes here all the same.
    const isIPv6 = isIPv6Text(addresses[0] ?? '')
    const expected = `expected an ${isIPv6 ? 'IPv6' : 'IPv4'} address, as the group's first one is: a virtual router is of one family (RFC 9568), so addresses of the other need a group of their own`
    const refuse = (path: (string | number)[], message: string) => context.addIssue({ code: 'custom', path, message })
    const stranger = addresses.findIndex((address) => isIPv6Text(address) !== isIPv6)
    if (stranger > 0) refuse(['addresses', stranger], expected)
    const foreigner = unicastPeers.findIndex((address) => isIPv6Text(address) !== isIPv6)
    if (foreigner >= 0) refuse(['unicastPeers', foreigner], expected)
    if (gateway !== undefined && isIPv6Text(gateway) !== isIPv6) refuse(['gateway'], expected)
    const most = group.authentication ? MOST_SIGNED_IPV6_ADDRESSES : MOST_IPV6_ADDRESSES
    if (isIPv6 && addresses.length > most) {
      const kind = group.authentication ? 'a group with authentication' : 'a group'
      refuse(['addresses'], `expected at most ${most} IPv6 addresses in ${kind}`)
    }
    const weights = [...(track?.interfaces ?? []), ...(track?.scripts ?? [])].map(({ weight }) => weight)
    if (group.priority === PRIORITY_OWNER && weights.some((weight) => weight !== 0)) {
      refuse(['track'], 'expected weight 0 throughout: priority 255 owns the addresses and does not change')
    }
    if (group.priority === PRIORITY_OWNER) {
      const because = 'priority 255 owns the addresses, and always takes them back (RFC 9568)'
      if (!group.preempt) refuse(['preempt'], `expected true: ${because}`)
      if (group.preemptDelayMs > 0) refuse(['preemptDelayMs'], `expected 0: ${because}`)
    }
    if (group.syncGroup !== undefined && weights.some((weight) => weight !== 0)) {
      refuse(['track'], 'expected weight 0 throughout: groups of a sync group keep one priority')
    }
    if (version === 2 && isIPv6) refuse(['version'], 'expected 3: version 2 of VRRP is of IPv4 alone (RFC 3768)')
    if (version === 2 && advertisementIntervalMs % 1000 !== 0) {
      refuse(['advertisementIntervalMs'], 'expected a multiple of 1000: version 2 of VRRP counts in seconds (RFC 3768)')
    }
  })
  .transform((group) => ({
    ...group,
    advertisementIntervalMs: group.advertisementIntervalMs ?? (group.version === 2 ? 1000 : 50),
  }))

export const vipsSchema = z
  .array(vip)
  .max(32)
  .default([])
  .superRefine((groups, context) => {
    const keys = groups.map(({ vrid, addresses }) => `${vrid} ${isIPv6Text(addresses[0] ?? '')}`)
    const again = keys.findIndex((key, index) => keys.indexOf(key) < index)
    if (again >= 0) {
      const message = `expected another vrid: two groups of one address family have ${groups[again].vrid}`
      context.addIssue({ code: 'custom', path: [again, 'vrid'], message })
    }
    const places = new Map<string, string>()
    for (const { address, path } of groups.flatMap(placesOf)) {
      const place = ['vips', ...path].join('.')
      const other = places.get(address)
      const message = `expected another address: ${address} is ${other} already`
      if (other === undefined) places.set(address, place)
      else context.addIssue({ code: 'custom', path, message })
    }
    for (const [index, group] of groups.entries()) {
      if (group.syncGroup === undefined) continue
      const refuse = (message: string) => context.addIssue({ code: 'custom', path: [index, 'syncGroup'], message })
      const members = groups.filter(({ syncGroup }) => syncGroup === group.syncGroup)
      if (members.length === 1)
        refuse('expected another group with the same syncGroup: one alone has nobody to move with')
      const standings = members.map(
        ({ priority, preempt, preemptDelayMs }) => `${priority} ${preempt} ${preemptDelayMs}`,
      )
      if (new Set(standings).size > 1) {
        refuse('expected one priority, preempt and preemptDelayMs in a sync group: else its groups pull apart')
      }
    }
    // A raw IPv6 socket is for the group or for named peers, and speaks from one address (vip/vrrp-socket-ipv6.ts).
    const first = groups.find(({ addresses }) => isIPv6Text(addresses[0] ?? ''))
    for (const [index, { addresses, unicastPeers }] of groups.entries()) {
      if (!isIPv6Text(addresses[0] ?? '')) continue
      const kinds = [first?.unicastPeers?.slice(0, 1), unicastPeers].map(kindsOf)
      if (new Set(kinds.flat()).size === 1) continue
      const message = 'expected all IPv6 groups to have the same kind of peers: none named, link-local ones or others'
      context.addIssue({ code: 'custom', path: [index, 'unicastPeers'], message })
    }
  })

/** Where a group has which address. */
function placesOf({ addresses, gateway }: z.infer<typeof vip>, group: number) {
  const places = addresses.map((address, index) => ({ address, path: [group, 'addresses', index] }))
  return gateway === undefined ? places : [...places, { address: gateway, path: [group, 'gateway'] }]
}

function kindsOf(unicastPeers: readonly string[] | undefined): string[] {
  return unicastPeers?.map((peer) => (isLinkLocal(peer) ? 'link-local' : 'global')) ?? ['group']
}

export type VipConfig = z.infer<typeof vip>
export type TrackConfig = NonNullable<VipConfig['track']>
