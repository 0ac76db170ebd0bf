/**
 * Firewall marks: the director's own rules put a mark on the first packet of a connection, and a service may be for all packets of
 * a mark. What iptables' and ip6tables' MARK target does for IPVS on the kernel's way, which our packets do not go.
 *
 * The first rule that matches counts. Established connections are found without any.
 */
import { type Prefix, parsePrefix } from '../../protocol/packet/prefix.ts'
import type { Flow } from '../../scheduler/scheduler.ts'
import type { MarkRule } from '../service.ts'
import { protocolNumber } from './protocols/registry.ts'

/** Of both families. */
const EVERYTHING = parsePrefix('::/0')

interface Rule {
  readonly mark: number
  /** 0: any. */
  readonly protocol: number
  readonly source: Prefix
  readonly destination: Prefix
  readonly firstPort: number
  readonly lastPort: number
  /** -1: any. */
  readonly link: number
}

export class Marks {
  #ipv4 = new FamilyMarks([])
  #ipv6 = new FamilyMarks([])

  /** The rules for packets of one family. */
  of(isIPv6: boolean): FamilyMarks {
    return isIPv6 ? this.#ipv6 : this.#ipv4
  }

  /**
   * @param links names by number
   * A rule for a link that is not ours matches nothing and is left out. One that names no prefix is for both families.
   */
  replace(rules: readonly MarkRule[], links: readonly string[]): void {
    const ours = rules.filter(({ link }) => link === undefined || links.includes(link))
    const ofFamily = (isIPv6: boolean) =>
      ours.flatMap((rule): Rule[] => {
        const source = rule.source === undefined ? undefined : parsePrefix(rule.source)
        const destination = rule.destination === undefined ? undefined : parsePrefix(rule.destination)
        if ((source ?? destination)?.isIPv6 === !isIPv6 || destination?.isIPv6 === !isIPv6) return []
        return [
          {
            mark: rule.mark | 0,
            protocol: rule.protocol === undefined ? 0 : protocolNumber(rule.protocol),
            source: source ?? EVERYTHING,
            destination: destination ?? EVERYTHING,
            firstPort: rule.firstPort ?? 0,
            lastPort: rule.lastPort ?? rule.firstPort ?? 0xffff,
            link: rule.link === undefined ? -1 : links.indexOf(rule.link),
          },
        ]
      })
    this.#ipv4 = new FamilyMarks(ofFamily(false))
    this.#ipv6 = new FamilyMarks(ofFamily(true))
  }
}

export class FamilyMarks {
  readonly #rules: readonly Rule[]
  /** Whether a rule does, so that packets to others than our addresses may be for a service. */
  readonly namesDestinations: boolean

  constructor(rules: readonly Rule[]) {
    this.#rules = rules
    this.namesDestinations = rules.some(namesDestination)
  }

  /** The mark of a packet of a client, as 32 bits signed; 0: none. */
  find(link: number, protocol: number, flow: Flow): number {
    const rule = this.#match(link, protocol, flow)
    return rule === undefined ? 0 : rule.mark
  }

  /** The same, unless the rule that matches leaves open which destinations it is for. */
  findNaming(link: number, protocol: number, flow: Flow): number {
    const rule = this.#match(link, protocol, flow)
    return rule === undefined || !namesDestination(rule) ? 0 : rule.mark
  }

  #match(link: number, protocol: number, { source, destination, destinationPort }: Flow): Rule | undefined {
    const rules = this.#rules
    for (let i = 0; i < rules.length; i++) {
      const rule = rules[i]
      if (
        (rule.protocol === 0 || rule.protocol === protocol) &&
        (rule.link < 0 || rule.link === link) &&
        destinationPort >= rule.firstPort &&
        destinationPort <= rule.lastPort &&
        isWithin(destination, rule.destination) &&
        isWithin(source, rule.source)
      ) {
        return rule
      }
    }
    return undefined
  }
}

function isWithin(address: Int32Array, { network, mask }: Prefix): boolean {
  return (
    (address[0] & mask[0]) === network[0] &&
    (address[1] & mask[1]) === network[1] &&
    (address[2] & mask[2]) === network[2] &&
    (address[3] & mask[3]) === network[3]
  )
}

function namesDestination(rule: Rule): boolean {
  return rule.destination.mask[0] !== 0
}
