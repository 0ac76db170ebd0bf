/**
 * Firewall marks: the director's own rules put a mark on the first packet of a connection, and a service may be for all packets of
 * a mark. What iptables' MARK target does for IPVS on the kernel's way, which our packets do not go.
 *
 * The first rule that matches counts. Established connections are found without any.
 */
import { type Prefix, parsePrefix } from '../../protocol/packet/prefix.ts'
import type { MarkRule } from '../service.ts'
import { protocolNumber } from './protocols/registry.ts'

const EVERYTHING = '0.0.0.0/0'

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
  #rules: readonly Rule[] = []
  isEmpty = true
  /** Whether a rule does, so that packets to others than our addresses may be for a service. */
  namesDestinations = false

  /**
   * @param links names by number
   * A rule for a link that is not ours matches nothing and is left out.
   */
  replace(rules: readonly MarkRule[], links: readonly string[]): void {
    this.#rules = rules
      .filter((rule) => rule.link === undefined || links.includes(rule.link))
      .map((rule) => ({
        mark: rule.mark | 0,
        protocol: rule.protocol === undefined ? 0 : protocolNumber(rule.protocol),
        source: parsePrefix(rule.source ?? EVERYTHING),
        destination: parsePrefix(rule.destination ?? EVERYTHING),
        firstPort: rule.firstPort ?? 0,
        lastPort: rule.lastPort ?? rule.firstPort ?? 0xffff,
        link: rule.link === undefined ? -1 : links.indexOf(rule.link),
      }))
    this.isEmpty = this.#rules.length === 0
    this.namesDestinations = this.#rules.some(namesDestination)
  }

  /** The mark of a packet of a client, as 32 bits signed; 0: none. */
  find(link: number, protocol: number, source: number, destination: number, port: number): number {
    const rule = this.#match(link, protocol, source, destination, port)
    return rule === undefined ? 0 : rule.mark
  }

  /** The same, unless the rule that matches leaves open which destinations it is for. */
  findNaming(link: number, protocol: number, source: number, destination: number, port: number): number {
    const rule = this.#match(link, protocol, source, destination, port)
    return rule === undefined || !namesDestination(rule) ? 0 : rule.mark
  }

  #match(link: number, protocol: number, source: number, destination: number, port: number): Rule | undefined {
    const rules = this.#rules
    for (let i = 0; i < rules.length; i++) {
      const rule = rules[i]
      if (
        (rule.protocol === 0 || rule.protocol === protocol) &&
        (rule.link < 0 || rule.link === link) &&
        port >= rule.firstPort &&
        port <= rule.lastPort &&
        (destination & rule.destination.mask) === rule.destination.network &&
        (source & rule.source.mask) === rule.source.network
      ) {
        return rule
      }
    }
    return undefined
  }
}

function namesDestination(rule: Rule): boolean {
  return rule.destination.mask !== 0
}
