/**
 * Firewall marks: the director's own rules put a mark on the first packet of a connection, and a service may be for all packets of
 * a mark. What iptables' MARK target does for IPVS on the kernel's way, which our packets do not go.
 *
 * The first rule that matches counts. Established connections are found without any. Addresses are four words (see Flow in
 * scheduler/scheduler.ts), so that a rule is for either family.
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
  }

  /** The mark of a packet of a client, as 32 bits signed; 0: none. */
  find(link: number, protocol: number, source: number, destination: number, port: number): number {
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
        return rule.mark
      }
    }
    return 0
  }
}
