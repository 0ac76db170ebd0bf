/** Who says a message, and whether it can be read here: by its first byte (protocol/wire/format-version.ts). */
import { isLater, isReadable } from '../../../../protocol/wire/format-version.ts'
import type { PeerName } from '../transport.ts'
import type { ReplicationCounters } from './counters.ts'
import type { SenderView } from './sender-view.ts'

export class Speakers {
  readonly #views: ReadonlyMap<PeerName, SenderView>
  readonly #counters: ReplicationCounters

  constructor(views: ReadonlyMap<PeerName, SenderView>, counters: ReplicationCounters) {
    this.#views = views
    this.#counters = counters
  }

  /**
   * What a peer says. Whatever cannot be read is counted, and that is all.
   * @param parse undefined for what is not understood
   */
  read<T>(
    from: PeerName,
    message: Uint8Array,
    parse: (bytes: Uint8Array) => T | undefined,
  ): { view: SenderView; said: T } | undefined {
    const view = this.#views.get(from)
    if (!view || message.length === 0) {
      this.#counters.malformedMessages++
      return undefined
    }
    const version = message[0]
    view.formatVersion = version
    if (!isReadable(version)) {
      view.unreadableMessages++
      this.#counters.unreadableMessages++
      return undefined
    }
    const said = parse(message)
    if (said !== undefined) return { view, said }
    // Only later versions may have it.
    if (isLater(version)) this.#counters.passedOverMessages++
    else this.#counters.malformedMessages++
    return undefined
  }
}
