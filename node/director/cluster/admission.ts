/**
 * Strangers who show a token (protocol/wire/join-token.ts): which of them are let in. It runs in the cluster thread, so that a flood of forged
 * tokens costs the thread that speaks VRRP nothing; that one is asked only about those that the pool's key has signed.
 */
import type { KeyObject } from 'node:crypto'
import { DirectorError } from '../../../protocol/errors.ts'
import { type JoinToken, joinTokenBytes, readJoinToken } from '../../../protocol/wire/join-token.ts'
import { MAX_DRIFT_MS } from '../pool/hybrid-logical-clock.ts'

/** As docs/commands/status.md explains them. */
export const TOKEN_REFUSALS = [
  'length',
  'version',
  'body',
  'signature',
  'peer',
  'clock',
  'expired',
  'revoked',
  'name',
  'full',
  'store',
] as const
export type TokenRefusal = (typeof TOKEN_REFUSALS)[number]

export interface AdmissionOptions {
  /** Of the pool. */
  readonly keys: readonly KeyObject[]
  /** Milliseconds since 1970. */
  readonly wallClockMs: () => number
  /** Whether it is let in already, so that there is nobody to refuse. */
  readonly isPeer: (id: string) => boolean
  /** Lets in whoever has shown this, and resolves when that is done, or with why it is not. */
  readonly admit: (token: Uint8Array) => Promise<TokenRefusal | undefined>
  readonly onRefused: (id: string, reason: TokenRefusal) => void
}

export class Admission {
  /** Tokens that did not let in, by reason. */
  readonly refused = Object.fromEntries(TOKEN_REFUSALS.map((reason) => [reason, 0])) as Record<TokenRefusal, number>
  readonly #options: AdmissionOptions

  constructor(options: AdmissionOptions) {
    this.#options = options
  }

  /** @param id the identity that whoever shows it has proved */
  async show(token: Uint8Array, id: string): Promise<void> {
    const { admit, isPeer, onRefused } = this.#options
    const reason = this.#judge(token, id) ?? (await admit(token))
    if (reason === undefined || isPeer(id)) return
    this.refused[reason]++
    onRefused(id, reason)
  }

  #judge(bytes: Uint8Array, id: string): TokenRefusal | undefined {
    const { keys, wallClockMs } = this.#options
    const token = readJoinToken(bytes, keys)
    if (typeof token === 'string') return token
    const now = wallClockMs()
    if (token.peer !== id) return 'peer'
    if (token.issuedMs - now > MAX_DRIFT_MS) return 'clock'
    return token.expiresMs <= now ? 'expired' : undefined
  }
}

/**
 * The token of a director's own configuration.
 * @throws DirectorError CONFIG_INVALID when it is not signed by one of the keys, or for another director
 */
export function readOwnToken(
  text: string,
  self: { readonly name: string; readonly id: string },
  keys: readonly KeyObject[],
): { readonly bytes: Uint8Array; readonly token: JoinToken } {
  const bytes = joinTokenBytes(text)
  const token = bytes && readJoinToken(bytes, keys)
  if (token === 'signature') throw invalid('is signed by none of cluster.poolKeys: ask for one of this pool')
  if (!bytes || typeof token !== 'object') throw invalid('is damaged: copy it again, whole')
  if (token.peer !== self.id) throw invalid(`is for the director ${token.peer}, and this one is ${self.id}`)
  if (token.name !== self.name) throw invalid(`is for the name ${token.name}, and this director is named ${self.name}`)
  return { bytes, token }
}

function invalid(what: string): DirectorError {
  return new DirectorError('CONFIG_INVALID', `cluster.token: ${what}`)
}
