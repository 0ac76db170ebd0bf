/** A few addresses of either family, for packets to be looked up in. */
import { parseIPv4 } from '../protocol/packet/bytes.ts'
import { ADDRESS_WORDS, isIPv6Text, parseIPv6 } from '../protocol/packet/ipv6-address.ts'

export class AddressSet {
  readonly #ipv4: ReadonlySet<number>
  readonly #ipv6: Int32Array

  constructor(addresses: readonly string[]) {
    this.#ipv4 = new Set(addresses.filter((text) => !isIPv6Text(text)).map(parseIPv4))
    this.#ipv6 = Int32Array.from(addresses.filter(isIPv6Text).flatMap((text) => [...parseIPv6(text)]))
  }

  /** Whether the four bytes at `at` are one of them. */
  hasIPv4(view: DataView, at: number): boolean {
    return this.#ipv4.has(view.getInt32(at))
  }

  /** Whether the sixteen bytes at `at` are one of them. */
  hasIPv6(view: DataView, at: number): boolean {
    const words = this.#ipv6
    for (let word = 0; word < words.length; word += ADDRESS_WORDS) {
      if (
        words[word] === view.getInt32(at) &&
        words[word + 1] === view.getInt32(at + 4) &&
        words[word + 2] === view.getInt32(at + 8) &&
        words[word + 3] === view.getInt32(at + 12)
      ) {
        return true
      }
    }
    return false
  }
}
