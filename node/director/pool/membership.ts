/**
 * Who the peers of a director are: those of its configuration, and those that have shown a token, less those that are revoked. Every
 * director decides for itself, from what the pool has in common; so all decide alike where their configurations do not differ.
 */
import type { JoinToken } from '../../../protocol/wire/join-token.ts'
import type { TokenRefusal } from '../cluster/admission.ts'
import { PEERS_MAX, type Peer } from '../cluster/transport.ts'

/** What the pool's entries say of its directors. */
export interface PoolMembers {
  /** Peer ids that are shut out. */
  readonly revoked: ReadonlySet<string>
  /** Of each director that has shown one, the last. */
  readonly admitted: readonly JoinToken[]
}

/** What others need to know of it. */
export type PeerIds = Pick<Membership, 'idOf' | 'isPeer' | 'isConfigured'>

/** A director that is a peer, or was. */
export interface KnownPeer {
  readonly id: string
  /** Null: it is revoked, and nothing else is known of it. */
  readonly name: string | null
  readonly address: string | null
  readonly isRevoked: boolean
  readonly knownBy: 'configuration' | 'token' | null
}

export class Membership {
  readonly #self: Pick<Peer, 'name' | 'id'>
  readonly #configured: readonly Peer[]
  #members: PoolMembers = { revoked: new Set(), admitted: [] }
  #peers: readonly Peer[]

  constructor(self: Pick<Peer, 'name' | 'id'>, configured: readonly Peer[]) {
    this.#self = self
    this.#configured = configured
    this.#peers = configured
  }

  get peers(): readonly Peer[] {
    return this.#peers
  }

  setMembers(members: PoolMembers): void {
    this.#members = members
    this.#peers = this.#decide(members)
  }

  /** Of this director, or of the peer that has this name now. */
  idOf(name: string): string | undefined {
    return [this.#self, ...this.#peers].find((peer) => peer.name === name)?.id
  }

  isPeer(id: string): boolean {
    return this.#peers.some((peer) => peer.id === id)
  }

  /** Whether the configuration names it, revoked or not; or it is this director. */
  isConfigured(id: string): boolean {
    return [this.#self, ...this.#configured].some((peer) => peer.id === id)
  }

  /** Why a director would be no peer with this token; undefined: it would be one. */
  judge(token: JoinToken): Extract<TokenRefusal, 'revoked' | 'name' | 'full'> | undefined {
    const { revoked, admitted } = this.#members
    if (revoked.has(token.peer)) return 'revoked'
    const others = admitted.filter(({ peer }) => peer !== token.peer)
    const peers = this.#decide({ revoked, admitted: [...others, token] })
    if (peers.some(({ id }) => id === token.peer)) return undefined
    const isTaken = [this.#self, ...this.#peers].some(({ name }) => name === token.name)
    return isTaken ? 'name' : 'full'
  }

  known(): KnownPeer[] {
    const { revoked, admitted } = this.#members
    const known = new Map<string, KnownPeer>()
    const nothing = { name: null, address: null, knownBy: null }
    for (const id of revoked) known.set(id, { id, isRevoked: true, ...nothing })
    for (const { peer: id, name, address } of admitted)
      known.set(id, { id, name, address, isRevoked: revoked.has(id), knownBy: 'token' })
    for (const peer of this.#configured)
      known.set(peer.id, { ...peer, isRevoked: revoked.has(peer.id), knownBy: 'configuration' })
    if (!revoked.has(this.#self.id)) known.delete(this.#self.id)
    const order = ['configuration', 'token', null]
    return [...known.values()].sort((a, b) => order.indexOf(a.knownBy) - order.indexOf(b.knownBy))
  }

  /** A name is one director's: of the configuration first, else of the token issued last. If they are too many, the oldest stay. */
  #decide({ revoked, admitted }: PoolMembers): Peer[] {
    const peers = this.#configured.filter(({ id }) => !revoked.has(id))
    const names = new Set([this.#self.name, ...peers.map(({ name }) => name)])
    const ids = new Set([this.#self.id, ...peers.map(({ id }) => id)])
    const byName = new Map<string, JoinToken>()
    const inOrder = admitted.toSorted((a, b) => a.issuedMs - b.issuedMs || (a.peer < b.peer ? -1 : 1))
    for (const token of inOrder) {
      if (!revoked.has(token.peer) && !ids.has(token.peer) && !names.has(token.name)) byName.set(token.name, token)
    }
    const tokens = inOrder.filter((token) => byName.get(token.name) === token).slice(0, PEERS_MAX - peers.length)
    return [...peers, ...tokens.map(({ peer, name, address }) => ({ name, id: peer, address }))]
  }
}
