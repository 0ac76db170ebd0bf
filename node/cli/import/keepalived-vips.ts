/**
 * keepalived's VRRP instances as the `vips` of a director's own configuration file: each director has priorities of its own, so
 * they do not belong to the pool.
 *
 * An instance of keepalived speaks VRRP on an interface of its own, and its addresses may be on any. Here all groups speak on
 * `interfaces.outside`, and what they have on `interfaces.inside` is one address, their `gateway`. So of the usual pair, an
 * instance outside and one inside that a vrrp_sync_group keeps together, one group becomes, with its gateway.
 *
 * Source: keepalived.conf(5) of keepalived 2.2.7, "vrrp_instance" and "vrrp_sync_group".
 */
import { canonicalAddress, isIPv6Text } from '../../../protocol/packet/ipv6-address.ts'
import type { VrrpVersion } from '../../../protocol/packet/vrrp.ts'
import { vipsSchema } from '../../director/vip/vip-config.ts'
import { Instance, type InstanceAddress, type Vip } from './keepalived-instance.ts'
import type { Statement } from './keepalived-syntax.ts'
import { NO_COUNTERPART, type Omissions } from './omissions.ts'

const COMPARED =
  'keepalived compares what it hears with what it would send: it would not yield to a director, and both would hold all addresses'
const EXCLUDED =
  'advertised like the others here, and keepalived drops advertisements of other addresses than it would send: it would not yield to a director, and both would hold all of them. For as long as both run, write these to a group of their own with a free `vrid`, and give both groups one `syncGroup`'
const NOTIFIED = 'write a program for all states to `onStatus` of its groups'
const TRACKED = 'write it to `track` of one of its groups, without a weight'
const WHY_NOT: Readonly<Record<string, string>> = {
  notify: NOTIFIED,
  notify_master: NOTIFIED,
  notify_backup: NOTIFIED,
  notify_fault: NOTIFIED,
  notify_stop: NOTIFIED,
  track_interface: TRACKED,
  track_script: TRACKED,
}

interface SyncGroup {
  readonly statement: Statement
  readonly members: readonly { readonly name: string; readonly line: number }[]
}

/** What else is in the file. */
export interface Surroundings {
  /** That IPv4 has unless an instance says otherwise. */
  readonly version: VrrpVersion
  /** Addresses of virtual servers. */
  readonly served: readonly string[]
}

export function importVrrpInstances(
  statements: readonly Statement[],
  { version, served }: Surroundings,
  omissions: Omissions,
): Vip[] {
  const instances = new Map<string, Instance>()
  for (const statement of statements) {
    const { line, words } = statement
    if (words[0] !== 'vrrp_instance') continue
    const instance = new Instance(statement, version, omissions)
    if (instances.has(instance.name)) omissions.add(line, words, 'there is an instance of this name already')
    else instances.set(instance.name, instance)
  }
  const groups = new Groups([...instances.values()], served, omissions)
  const syncGroups = readSyncGroups(statements, omissions)
  groups.setGateways(syncGroups)
  for (const syncGroup of syncGroups) groups.join(syncGroup)
  groups.joinFamilies()
  return groups.vips
}

/** Of several with one name keepalived takes the first. */
function readSyncGroups(statements: readonly Statement[], omissions: Omissions): SyncGroup[] {
  const known = new Set<string>()
  return statements.flatMap((statement) => {
    const { line, words } = statement
    const [keyword, name] = words
    if (keyword !== 'vrrp_sync_group') return []
    if (known.has(name)) {
      omissions.add(line, words, 'there is a vrrp_sync_group of this name already')
      return []
    }
    if (name !== undefined) known.add(name)
    return readSyncGroup(statement)
  })
}

function readSyncGroup(statement: Statement): SyncGroup {
  const lists = (statement.block ?? []).filter(({ words }) => words[0] === 'group').flatMap(({ block = [] }) => block)
  return { statement, members: lists.flatMap(({ line, words }) => words.map((name) => ({ name, line }))) }
}

class Groups {
  readonly vips: Vip[] = []
  readonly #instances: readonly Instance[]
  readonly #omissions: Omissions
  readonly #outside: string | undefined
  /** By the name of their instance. */
  readonly #byName = new Map<string, readonly Vip[]>()
  /** Instances that have become the gateway of others' groups. */
  readonly #gateways = new Set<string>()

  constructor(instances: readonly Instance[], served: readonly string[], omissions: Omissions) {
    this.#instances = instances
    this.#omissions = omissions
    this.#outside = outsideOf(instances, served)
    const networks = new Set(instances.flatMap(({ addresses }) => addresses.map(({ network }) => network)))
    for (const instance of instances) {
      this.#tellInterface(instance, networks.size > 1)
      this.#byName.set(instance.name, this.#groupsOf(instance))
    }
  }

  /** Addresses on the inside become the gateway of their instance's group, or of the one that a sync group keeps with it. */
  setGateways(syncGroups: readonly SyncGroup[]): void {
    for (const instance of this.#instances) {
      const own = this.#byName.get(instance.name) ?? []
      const partners = syncGroups
        .filter(({ members }) => members.some(({ name }) => name === instance.name))
        .flatMap(({ members }) => members.flatMap(({ name }) => this.#byName.get(name) ?? []))
      const inside = instance.addresses.filter((address) => this.#isInside(address))
      for (const address of inside) {
        const rivals = inside.filter(({ isIPv6 }) => isIPv6 === address.isIPv6)
        const candidates = (own.length > 0 ? own : partners).filter(
          ({ addresses, gateway }) => isIPv6Text(addresses[0]) === address.isIPv6 && gateway === undefined,
        )
        if (rivals.length === 1 && candidates.length === 1) this.#setGateway(candidates[0], address, instance)
        else this.#omit(address.statement, this.#whyNoGateway(address))
      }
    }
  }

  #setGateway(vip: Vip, { text, network, statement }: InstanceAddress, { name }: Instance): void {
    const addresses = vip.addresses.filter((address) => address !== text)
    const isAdvertised = addresses.length < vip.addresses.length
    const fault = faultOf(this.vips.map((each) => (each === vip ? { ...vip, addresses, gateway: text } : each)))
    if (fault !== undefined) {
      this.#omit(statement, `on ${network}, the inside, but no gateway of ${addresses[0]}: ${fault}`)
      return
    }
    Object.assign(vip, { addresses, gateway: text })
    this.#gateways.add(name)
    const where = `on ${network}, the inside: it becomes the \`gateway\` of ${addresses[0]}, with which it moves`
    this.#omit(statement, isAdvertised ? `${where}, and is not advertised any more. ${COMPARED}` : where)
  }

  #whyNoGateway({ network }: InstanceAddress): string {
    return `on ${network}, and the addresses of a group are on \`interfaces.outside\`, here ${this.#outside}. If it is the real servers' default gateway, write it as \`gateway\` to the group that it is to move with`
  }

  /** Instances of a sync group move together, if a sync group here can be like that. */
  join({ statement, members }: SyncGroup): void {
    const joined: Vip[] = []
    for (const { name, line } of members) {
      const groups = this.#byName.get(name) ?? []
      if (groups.some(({ syncGroup }) => syncGroup !== undefined)) {
        this.#omissions.add(line, [name], 'is in another vrrp_sync_group already')
      } else if (groups.length === 0 && !this.#gateways.has(name)) {
        this.#omissions.add(line, [name], 'is not here, and the others of its vrrp_sync_group move without it')
      } else joined.push(...groups)
    }
    for (const each of statement.block ?? []) {
      const [keyword] = each.words
      if (keyword !== 'group') this.#omit(each, Object.hasOwn(WHY_NOT, keyword) ? WHY_NOT[keyword] : NO_COUNTERPART)
    }
    const [, syncGroup] = statement.words
    if (joined.length === 0) this.#omit(statement, 'none of its instances is here')
    else if (syncGroup === undefined) this.#omit(statement, 'expected a name')
    // A group and its gateway move together without more.
    else if (joined.length > 1 || !members.some(({ name }) => this.#gateways.has(name))) {
      const fault = this.#joinAs(syncGroup, joined)
      if (fault !== undefined) this.#omit(statement, fault)
    }
  }

  /** What keepalived has in one instance moves together, and is two groups here if it is of two families. */
  joinFamilies(): void {
    for (const { name, statement } of this.#instances) {
      const groups = this.#byName.get(name) ?? []
      if (groups.length < 2 || groups[0].syncGroup !== undefined) continue
      const fault = this.#joinAs(this.#freeName(name), groups)
      if (fault !== undefined) this.#omit(statement, `its addresses of the two families move apart: ${fault}`)
    }
  }

  /** A sync group may have the name of an instance that is not in it. */
  #freeName(wanted: string): string {
    const isUsed = (name: string) => this.vips.some(({ syncGroup }) => syncGroup === name)
    let name = wanted
    for (let number = 2; isUsed(name); number++) name = `${wanted}-${number}`
    return name
  }

  #joinAs(syncGroup: string, vips: readonly Vip[]): string | undefined {
    for (const vip of vips) vip.syncGroup = syncGroup
    const fault = faultOf(this.vips)
    if (fault !== undefined) for (const vip of vips) delete vip.syncGroup
    return fault
  }

  /** One for each family of its addresses; none if they are all on the inside. */
  #groupsOf(instance: Instance): Vip[] {
    const { addresses, statement, isIPv6 } = instance
    if (addresses.length === 0) this.#omit(statement, 'there is no group without addresses')
    const isOutside = (address: InstanceAddress) => !this.#isInside(address)
    const outside = addresses.filter(isOutside)
    for (const each of outside) {
      if (each.statement.words.length > 1) {
        this.#omit(each.statement, 'only the address is taken: here it is on no interface')
      }
    }
    if (outside.length === 0) return []
    // What keepalived advertises is advertised here too, wherever it is: keepalived compares.
    const main = addresses.filter((each) => each.isIPv6 === isIPv6 && (isOutside(each) || !each.isExcluded))
    const others = outside.filter((each) => each.isIPv6 !== isIPv6)
    this.#tellBlocks(
      main.filter(({ isExcluded }) => isExcluded),
      EXCLUDED,
    )
    this.#tellBlocks(
      others.filter(({ isExcluded }) => !isExcluded),
      'those of another family than the first are passed over by keepalived: here they are a group of their own',
    )
    return [main, others].flatMap((each) => (each.length > 0 ? this.#add(instance.group(each), statement) : []))
  }

  #add(vip: Vip, statement: Statement): Vip[] {
    const fault = faultOf([...this.vips, vip])
    if (fault === undefined) this.vips.push(vip)
    else this.#omit(statement, `${fault} (${vip.addresses[0]})`)
    return fault === undefined ? [vip] : []
  }

  #tellInterface(instance: Instance, isOneOfSeveral: boolean): void {
    const { addresses } = instance
    if (!instance.interface) return
    const { name, statement } = instance.interface
    const outside = this.#outside
    if (outside === undefined && isOneOfSeveral) {
      this.#omit(
        statement,
        'groups are on one interface, `interfaces.outside`, and which of those here that is cannot be seen from the virtual servers: take out the groups of the inside, and write their address as `gateway` to the group that it is to move with',
      )
    } else if (outside === undefined || outside === name) {
      this.#omit(
        statement,
        'a director has one interface for all groups: write it to `interfaces.outside` of its own file',
      )
    } else if (addresses.some((address) => !this.#isInside(address))) {
      this.#omit(
        statement,
        `write ${outside}, where the addresses are, to \`interfaces.outside\`: VRRP is spoken there. keepalived would not hear it on ${name}, and beside a director both would hold the addresses`,
      )
    } else
      this.#omit(statement, 'the inside: write it to `interfaces.inside` of its own file. VRRP is spoken outside alone')
  }

  #isInside({ network }: InstanceAddress): boolean {
    return this.#outside !== undefined && network !== undefined && network !== this.#outside
  }

  #tellBlocks(addresses: readonly InstanceAddress[], why: string): void {
    for (const block of new Set(addresses.map(({ block }) => block))) this.#omit(block, why)
  }

  #omit({ line, words }: Statement, why: string): void {
    this.#omissions.add(line, words, why)
  }
}

/** The interface that the addresses of virtual servers are on, or, if none are, the one that there is; undefined: who knows. */
function outsideOf(instances: readonly Instance[], served: readonly string[]): string | undefined {
  const virtual = new Set(served.map(canonicalAddress))
  const all = instances.flatMap(({ addresses }) => addresses)
  const serving = all.filter(({ text }) => virtual.has(text))
  const networks = new Set((serving.length > 0 ? serving : all).map(({ network }) => network))
  const [outside] = networks
  return networks.size === 1 ? outside : undefined
}

function faultOf(vips: readonly Vip[]): string | undefined {
  const { error } = vipsSchema.safeParse(vips)
  return error && `${error.issues[0].path.slice(1).join('.')}: ${error.issues[0].message}`
}
