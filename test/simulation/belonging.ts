/**
 * Who belongs to a simulated pool: all by their configurations, or, in some pools, the founders so and others by tokens. There a director
 * more has come in by a token, which has no addresses and is shut out later.
 */
import type { KeyObject } from 'node:crypto'
import { peerIdOfPublicKey } from '../../node/director/cluster/identity.ts'
import type { Peer } from '../../node/director/cluster/transport.ts'
import { createTestPoolKey } from '../support/join-tokens.ts'
import { directorName, outsideAddress } from './site.ts'

export interface Belonging {
  readonly id: string
  /** Of its configuration. */
  readonly peers: readonly Peer[]
  readonly poolKeys: readonly KeyObject[]
  readonly token: Uint8Array | undefined
}

/** The key's 32 bytes behind what makes it one (RFC 8410), since a token must be the same in each run. */
const PKCS8 = Buffer.concat([Buffer.from('302e020100300506032b657004220420', 'hex'), Buffer.alloc(32, 'pool')])
const poolKey = createTestPoolKey(
  `-----BEGIN PRIVATE KEY-----\n${PKCS8.toString('base64')}\n-----END PRIVATE KEY-----\n`,
)
const ISSUED_MS = Date.UTC(2025, 11, 1)
const EXPIRES_MS = Date.UTC(2030, 0, 1)

/** Whether some directors have tokens. */
export function hasTokens(seed: number): boolean {
  return seed % 11 === 4
}

/** Those that know each other by their configurations. */
const foundersOf = (directors: number) => Math.max(2, directors - 1)

export function peerIdOf(name: string): string {
  return peerIdOfPublicKey(Buffer.alloc(32, name))
}

/** @param number of a director, or one more: the one that is shut out */
export function belongingOf(seed: number, number: number, directors: number): Belonging {
  const id = peerIdOf(directorName(number))
  const founders = hasTokens(seed) ? foundersOf(directors) : directors
  const peers = Array.from({ length: founders }, (_, index) => index + 1)
    .filter((other) => other !== number)
    .map((other) => ({ name: directorName(other), id: peerIdOf(directorName(other)), address: addressOf(other) }))
  if (!hasTokens(seed)) return { id, peers, poolKeys: [], token: undefined }
  const name = directorName(number)
  const token = { peer: id, name, address: addressOf(number), issuedMs: ISSUED_MS, expiresMs: EXPIRES_MS }
  return { id, peers, poolKeys: [poolKey.publicKey], token: number > founders ? poolKey.sign(token) : undefined }
}

function addressOf(number: number): string {
  return `${outsideAddress(number)}:7946`
}
