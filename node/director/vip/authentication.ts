/**
 * Advertisements between directors that share a key: what a group sends is signed, and what is not is not believed. The trailer:
 * protocol/packet/vrrp-trailer.ts. RFC 9568 has no authentication; why we do: docs/divergence.md, VRRP.
 */
import { randomBytes } from 'node:crypto'
import type { VrrpDatagram, VrrpRefusal } from '../../../protocol/packet/vrrp.ts'
import {
  SEQUENCE_PER_MS,
  type Stamp,
  signVrrpMessage,
  verifyVrrpMessage,
} from '../../../protocol/packet/vrrp-trailer.ts'
import type { SharedKey } from '../../../protocol/shared-key.ts'
import type { Clock } from '../clock.ts'
import { RareNotes } from '../rare-notes.ts'
import { AdvertisementGuard } from './advertisement-guard.ts'

/** Of a peer, by its address. */
const NOTES = {
  unsigned: 'does not sign its advertisements: they are not believed',
  key: 'signs with a key that is not in the key file here: it is not believed',
  signature:
    'is said to have sent an advertisement that is not signed under the key which it names: it is not believed',
  replay: 'is heard with an advertisement that was heard before: it is not believed',
  clock: 'is heard with an advertisement that is not of the last 30 s by the clock here: it is not believed',
} as const
const TOLERATED = 'does not sign its advertisements: they are believed, since authentication is not required here yet'

export interface AuthenticationComponents {
  readonly clock: Clock
  /** Milliseconds since 1970. */
  readonly wallClockMs: () => number
  readonly note: (message: string) => void
}

export class Authentication {
  readonly #isRequired: boolean
  readonly #components: AuthenticationComponents
  readonly #guard = new AdvertisementGuard()
  readonly #run = randomBytes(8).toString('hex')
  readonly #startedMs: number
  readonly #notes: RareNotes
  #keys: readonly SharedKey[]
  #sequence = 0

  /**
   * @param keys those that are believed; the first one signs
   * @param isRequired false: those who sign nothing are believed too, while a pool is being changed over
   */
  constructor(keys: readonly SharedKey[], isRequired: boolean, components: AuthenticationComponents) {
    this.#keys = keys
    this.#isRequired = isRequired
    this.#components = components
    this.#startedMs = components.clock.now()
    this.#notes = new RareNotes(components.clock, components.note)
  }

  /** From now on these count and no others; what is known of the peers is kept. */
  setKeys(keys: readonly SharedKey[]): void {
    this.#keys = keys
  }

  /** The message as it goes out. */
  sign(message: Uint8Array, source: string, destination: string): Uint8Array {
    return signVrrpMessage(message, source, destination, this.#keys[0], this.#stamp())
  }

  /** Why a datagram is not believed; undefined: it is, and counts as heard. */
  refusalOf(datagram: VrrpDatagram, isSigned: boolean): VrrpRefusal | undefined {
    const refusal = isSigned ? this.#doubt(datagram) : 'unsigned'
    if (refusal === undefined) return undefined
    const isTolerated = refusal === 'unsigned' && !this.#isRequired
    this.#notes.tell(refusal, `${datagram.source} ${isTolerated ? TOLERATED : NOTES[refusal]}`)
    return isTolerated ? undefined : refusal
  }

  #doubt({ message, source, destination }: VrrpDatagram): keyof typeof NOTES | undefined {
    const stamp = verifyVrrpMessage(message, source, destination, (id) => this.#keys.find((key) => key.id === id))
    if (typeof stamp === 'string') return stamp
    const { clock, wallClockMs } = this.#components
    return this.#guard.check(stamp, clock.now(), wallClockMs())
  }

  #stamp(): Stamp {
    const { clock, wallClockMs } = this.#components
    const elapsed = Math.floor((clock.now() - this.#startedMs) * SEQUENCE_PER_MS)
    this.#sequence = Math.max(this.#sequence + 1, elapsed)
    return { run: this.#run, sequence: this.#sequence, sentAtMs: Math.floor(wallClockMs()) }
  }
}
