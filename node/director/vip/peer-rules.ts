/**
 * What a group's peers must have in common with it to be believed, and what they ought to have: RFC 9568 section 7.1, RFC 3768
 * section 7.1.
 */
import type { Advertisement, DecodedAdvertisement, VrrpDatagram, VrrpRefusal } from '../../../protocol/packet/vrrp.ts'
import type { Authentication } from './authentication.ts'
import type { VipConfig } from './vip-config.ts'

/** What is told once is remembered; whoever sends from ever other addresses fills neither the memory nor the log. */
const MOST_TOLD = 64

export class PeerRules {
  readonly #config: VipConfig
  readonly #address: string
  readonly #authentication: Authentication | undefined
  readonly #note: (message: string) => void
  readonly #told = new Set<string>()

  /**
   * @param address what unicast messages come to
   * @param authentication undefined: everybody is believed
   */
  constructor(
    config: VipConfig,
    address: string,
    authentication: Authentication | undefined,
    note: (message: string) => void,
  ) {
    this.#config = config
    this.#address = address
    this.#authentication = authentication
    this.#note = note
  }

  /** Why an advertisement is not believed; undefined: it is. */
  refusalOf(datagram: VrrpDatagram, { advertisement, isSigned }: DecodedAdvertisement): VrrpRefusal | undefined {
    return (
      this.#misdirection(datagram) ??
      this.#authentication?.refusalOf(datagram, isSigned) ??
      this.#disagreement(datagram.source, advertisement)
    )
  }

  /** A group with named peers hears those alone, and only what they send to itself. */
  #misdirection({ source, destination }: VrrpDatagram): VrrpRefusal | undefined {
    const { unicastPeers } = this.#config
    const isUnicast = destination === this.#address
    if (isUnicast !== (unicastPeers !== undefined)) return 'destination'
    return unicastPeers?.includes(source) === false ? 'source' : undefined
  }

  /** The interval counts in version 2 alone, where it cannot be learned (RFC 3768 section 7.1). */
  #disagreement(from: string, { version, intervalMs }: Advertisement): VrrpRefusal | undefined {
    const { version: ownVersion, advertisementIntervalMs: ownIntervalMs } = this.#config
    if (version !== ownVersion) {
      this.#tellOnce(`${from} speaks version ${version} of VRRP, here ${ownVersion}: it is not believed`)
      return 'version'
    }
    if (version === 2 && intervalMs !== ownIntervalMs) {
      const here = `here ${ownIntervalMs} ms`
      this.#tellOnce(
        `${from} advertises interval ${intervalMs} ms, ${here}: version 2 wants the same, it is not believed`,
      )
      return 'interval'
    }
    return undefined
  }

  /** A peer that is set up differently is obeyed as the RFC says, but an operator wants to know (RFC 9568 section 7.1). */
  compare(from: string, advertisement: Advertisement): void {
    const differences: string[] = []
    if (advertisement.intervalMs !== this.#config.advertisementIntervalMs) {
      differences.push(`interval ${advertisement.intervalMs} ms, here ${this.#config.advertisementIntervalMs} ms`)
    }
    const addresses = [...advertisement.addresses].sort().join(' ')
    const own = [...this.#config.addresses].sort().join(' ')
    if (addresses !== own) differences.push(`addresses ${addresses}, here ${own}`)
    if (differences.length > 0) this.#tellOnce(`${from} advertises other ${differences.join('; ')}`)
  }

  #tellOnce(message: string): void {
    if (this.#told.has(message) || this.#told.size >= MOST_TOLD) return
    this.#told.add(message)
    this.#note(message)
  }
}
