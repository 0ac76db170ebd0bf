/**
 * Real servers that are this director itself: which they are, and what the host has to be told so that it serves them.
 *
 * The forwarder writes clients' packets, with the server's address in the place of the VIP, into the TUN device HOST_DEVICE, and
 * takes the replies from it. For replies to go there rather than out by themselves, one routing rule a server (address, protocol,
 * port) leads to a table of our own, whose only route is the device; a local server of 127.0.0.0/8 needs route_localnet on the
 * device as well. For ::1 there is nothing like that: Linux takes no packet to it from a device (RFC 4291 section 2.5.3). The device
 * ends with the process, however that ends, and its route with it: rules that are left over lead nowhere, and the next start takes
 * them away. Rules that somebody else takes away, as systemd-networkd does with those that are not its own, are set again. Why so:
 * docs/decisions/local-node.md.
 */
import { writeFile } from 'node:fs/promises'
import { networkInterfaces } from 'node:os'
import { HOST_DEVICE } from '../../../forwarder/forwarder.ts'
import type { RealServerSpec, ServiceSpec } from '../../../forwarder/service.ts'
import { canonicalAddress, isIPv6Text } from '../../../protocol/packet/ipv6-address.ts'
import { type RunIp, runIp } from './ip-command.ts'

/** Number of the routing table, and preference of the rules: after the kernel's own table of local addresses, before main. */
const TABLE = '2160'

/** With less the kernel takes IPv6 from a device, and its routes with it (RFC 8200 section 5). */
const LEAST_MTU = 1280

/** EEXIST and ENOENT, as ip(8) reports what the kernel answers. */
const IS_SO_ALREADY = { add: /File exists/, del: /No such file or directory/ }

const LOOPBACK6 = '::1'
/** An interface's own link-local address is no place that clients' packets could be sent to. */
const LINK_LOCAL6 = /^fe[89ab]/i

/** Whether an address is a loopback address of IPv4, which is every host's own. */
export function isLoopback(address: string): boolean {
  return address.startsWith('127.')
}

/** The addresses of this host, those of loopback aside. */
export function readOwnAddresses(): ReadonlySet<string> {
  const all = Object.values(networkInterfaces()).flatMap((entries) => entries ?? [])
  const own = all.filter(({ address, internal }) => !internal && !LINK_LOCAL6.test(address))
  return new Set(own.map(({ address }) => canonicalAddress(address)))
}

type Served = Pick<ServiceSpec, 'protocol' | 'port'> & { servers: readonly Pick<RealServerSpec, 'address' | 'port'>[] }

/**
 * What `ip` is to be given for each local server, sorted: its family's option, then the rule. A firewall mark's service may be of
 * any protocol.
 */
export function rulesFor(services: readonly Served[], isLocal: (address: string) => boolean): string[] {
  const rules = services.flatMap(({ protocol, port: servicePort, servers }) =>
    servers
      .filter(({ address }) => isLocal(address))
      .map(({ address, port }) => {
        const served = port || servicePort
        // Nothing but a local server's reply is from a loopback address to somebody elsewhere: FTP's other ports too.
        const transport =
          protocol === 'fwm' || isLoopback(address)
            ? ''
            : ` ipproto ${protocol}${served === 0 ? '' : ` sport ${served}`}`
        return `${familyOption(address)} from ${address}${transport}`
      }),
  )
  return [...new Set(rules)].sort()
}

export interface LocalServersOptions {
  readonly forwarder: { openHostDevice(): Promise<void> }
  /** Of the device: what the used interfaces all carry. */
  readonly mtu: number
  /** Something does not work; what it is. */
  readonly warn: (error: unknown, message: string) => void
  readonly run?: RunIp
  readonly writeSetting?: (path: string, value: string) => Promise<void>
  readonly readAddresses?: () => ReadonlySet<string>
}

export class LocalServers {
  readonly #options: Required<LocalServersOptions>
  #own: ReadonlySet<string>
  /** That the device has, or is to have. */
  #mtu: number
  #isOpen = false
  /** Families, by ip's options, in which our table leads to the device. */
  readonly #routed = new Set<string>()
  #hasWarned = false
  /** Those that the host has. */
  readonly #rules = new Set<string>()
  /** One change of the host after the other. */
  #work: Promise<void>
  #isClosed = false

  constructor(options: LocalServersOptions) {
    this.#options = {
      run: runIp,
      writeSetting: (path, value) => writeFile(`/proc/sys/net/${path}`, value),
      readAddresses: readOwnAddresses,
      ...options,
    }
    this.#own = this.#options.readAddresses()
    this.#mtu = options.mtu
    this.#work = this.#removeLeftOver()
  }

  isLocal(address: string): boolean {
    return isLoopback(address) || this.#own.has(address)
  }

  /** Whether setServices() is to know of a service that has a server at this address. */
  concerns(address: string): boolean {
    return address === LOOPBACK6 || this.isLocal(address)
  }

  /** Looks which addresses the host has now; true when they are not what they were. */
  refresh(): boolean {
    const before = this.#own
    this.#own = this.#options.readAddresses()
    return before.size !== this.#own.size || [...before].some((address) => !this.#own.has(address))
  }

  /** All services with servers that are this host's concern. Resolves when the host serves the local ones among their servers, or cannot. */
  setServices(services: readonly Served[]): Promise<void> {
    if (this.#isClosed) return this.#work
    const rules = rulesFor(services, (address) => this.isLocal(address))
    this.#warnOfLoopback6(services)
    this.#work = this.#work.then(() => this.#apply(rules))
    return this.#work
  }

  /**
   * The used interfaces carry so much from now on: what local servers send is to fit, since nobody else on the host tells them. No more than
   * at the start, which the forwarder has made room for.
   */
  setMtu(carried: number): Promise<void> {
    const mtu = Math.max(LEAST_MTU, Math.min(this.#options.mtu, carried))
    if (mtu !== this.#mtu) {
      this.#mtu = mtu
      this.#work = this.#work.then(() => this.#applyMtu())
    }
    return this.#work
  }

  /** Something about the host's routing may be other than before: rules that somebody else has taken away are set again. */
  restore(): Promise<void> {
    this.#work = this.#work.then(() => this.#restore())
    return this.#work
  }

  /** What is told from now on changes nothing: services are told of a turn late (service-feed.ts), and no rule may stay behind. */
  close(): Promise<void> {
    const done = this.setServices([])
    this.#isClosed = true
    return done
  }

  /** What fails is tried again with the next change, and keeps nothing else from being done. */
  async #apply(rules: readonly string[]): Promise<void> {
    const isReady = await this.#prepare(rules)
    for (const rule of [...this.#rules]) {
      if (!rules.includes(rule) && (await this.#rule('del', rule))) this.#rules.delete(rule)
    }
    for (const rule of isReady ? rules : []) {
      if (!this.#rules.has(rule) && (await this.#rule('add', rule))) this.#rules.add(rule)
    }
  }

  /** They are counted: what ip(8) prints of a rule is not what it was given. */
  async #restore(): Promise<void> {
    const rules = [...this.#rules]
    for (const family of new Set(rules.map(familyOf))) {
      const own = rules.filter((rule) => familyOf(rule) === family)
      const missing = own.length - (await this.#countRules(family).catch(() => own.length))
      if (missing <= 0) continue
      const error = new Error(`${missing} of ${own.length} rules of preference ${TABLE} are gone`)
      this.#options.warn(error, 'somebody has removed routing rules of local servers: they are set again')
      for (const rule of own) this.#rules.delete(rule)
      // Whoever did so may have removed the route, too.
      this.#routed.delete(family)
    }
    if (this.#rules.size < rules.length) await this.#apply(rules)
  }

  /** Whether rules may lead to the device. */
  async #prepare(rules: readonly string[]): Promise<boolean> {
    try {
      if (rules.length > 0) await this.#open()
      for (const family of new Set(rules.map(familyOf))) await this.#route(family)
      return true
    } catch (error) {
      this.#options.warn(error, 'this host cannot be a real server: local servers get no packets')
      return false
    }
  }

  async #open(): Promise<void> {
    if (this.#isOpen) return
    const { forwarder, writeSetting } = this.#options
    await forwarder.openHostDevice()
    // No address of its own, no router asked for one; where the host has no IPv6 there is nothing to set.
    await writeSetting(`ipv6/conf/${HOST_DEVICE}/addr_gen_mode`, '1').catch(() => {})
    await writeSetting(`ipv6/conf/${HOST_DEVICE}/disable_ipv6`, '1').catch(() => {})
    await writeSetting(`ipv4/conf/${HOST_DEVICE}/route_localnet`, '1')
    await writeSetting(`ipv4/conf/${HOST_DEVICE}/rp_filter`, '2')
    await this.#setDeviceMtu()
    this.#isOpen = true
  }

  async #applyMtu(): Promise<void> {
    if (!this.#isOpen) return
    try {
      await this.#setDeviceMtu()
    } catch (error) {
      this.#options.warn(error, 'local servers may send more than the interfaces carry')
    }
  }

  async #setDeviceMtu(): Promise<void> {
    await this.#options.run(['link', 'set', 'dev', HOST_DEVICE, 'mtu', String(this.#mtu)])
  }

  /** Leads our table to the device, in one family: with the first local server of it. */
  async #route(family: string): Promise<void> {
    if (this.#routed.has(family)) return
    const { run, writeSetting } = this.#options
    if (family === '-6') await writeSetting(`ipv6/conf/${HOST_DEVICE}/disable_ipv6`, '0')
    await run([family, 'route', 'replace', 'default', 'dev', HOST_DEVICE, 'table', TABLE])
    this.#routed.add(family)
  }

  /** Whether it is as it should be by now, be it by somebody else's doing. */
  async #rule(verb: 'add' | 'del', rule: string): Promise<boolean> {
    const [family, ...words] = rule.split(' ')
    try {
      await this.#options.run([family, 'rule', verb, 'pref', TABLE, ...words, 'table', TABLE])
      return true
    } catch (error) {
      if (IS_SO_ALREADY[verb].test((error as Error).message)) return true
      const effect = verb === 'add' ? 'a local server gets no packets' : 'a routing rule is left over'
      this.#options.warn(error, `${effect}: ip ${family} rule ${verb} ${words.join(' ')} has failed`)
      return false
    }
  }

  #warnOfLoopback6(services: readonly Served[]): void {
    const isThere = services.some(({ servers }) => servers.some(({ address }) => address === LOOPBACK6))
    if (isThere && !this.#hasWarned) {
      const message = `real server ${LOOPBACK6} gets no packets: give an address of the director instead, or 127.0.0.1 for IPv4`
      this.#options.warn(new Error('Linux takes no packet to ::1 from a network'), message)
    }
    this.#hasWarned = isThere
  }

  /** A director that lost power leaves its rules behind. */
  async #removeLeftOver(): Promise<void> {
    for (const family of ['-4', '-6']) {
      try {
        for (let left = await this.#countRules(family); left > 0; left--)
          await this.#options.run([family, 'rule', 'del', 'pref', TABLE])
      } catch (error) {
        this.#options.warn(error, 'the routing rules of this host cannot be read')
      }
    }
  }

  async #countRules(family: string): Promise<number> {
    const rules = (await this.#options.run([family, 'rule', 'show'])) as { priority: number }[]
    return rules.filter(({ priority }) => String(priority) === TABLE).length
  }
}

function familyOf(rule: string): string {
  return rule.slice(0, 2)
}

function familyOption(address: string): '-4' | '-6' {
  return isIPv6Text(address) ? '-6' : '-4'
}
