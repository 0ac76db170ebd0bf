/**
 * Directors that share a configuration over the memory network and a virtual clock, for the tests of this folder.
 */
import type { KeyObject } from 'node:crypto'
import type { MarkRule } from '../../../../forwarder/service.ts'
import { Admission } from '../../../../node/director/cluster/admission.ts'
import { peerIdOfPublicKey } from '../../../../node/director/cluster/identity.ts'
import { MemoryNetwork } from '../../../../node/director/cluster/memory-transport.ts'
import type { Peer, Transport } from '../../../../node/director/cluster/transport.ts'
import { hostAddresses } from '../../../../node/director/host/host-addresses.ts'
import { untilDone } from '../../../../node/director/pace.ts'
import { demandAcquaintance, letIn } from '../../../../node/director/pool/admissions.ts'
import { Membership } from '../../../../node/director/pool/membership.ts'
import { type PoolChange, PoolConfiguration } from '../../../../node/director/pool/pool-configuration.ts'
import type { SettingValues } from '../../../../node/director/pool/setting-changes.ts'
import { MemoryStore } from '../../../../node/director/store/memory-store.ts'
import type { Store, StoreOperation } from '../../../../node/director/store/store.ts'
import { VirtualClock } from '../../../../node/director/virtual-clock.ts'
import { DirectorError } from '../../../../protocol/errors.ts'
import { type JoinToken, readJoinToken } from '../../../../protocol/wire/join-token.ts'

/** 2026-01-01, where the directors' wall clocks stand at the virtual clock's 0. */
export const START_MS = Date.UTC(2026, 0, 1)

/** The host on which the recordings of ipvsadm were made. */
export const recordingHost = hostAddresses([
  { address: '192.0.2.254', netmask: '255.255.255.0', family: 'IPv4' },
  { address: '2001:db8::fe', netmask: 'ffff:ffff:ffff:ffff::', family: 'IPv6' },
  { address: '::1', netmask: 'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff', family: 'IPv6' },
])

/** Of a director by its name of one letter. */
export function peerIdOf(name: string): string {
  return peerIdOfPublicKey(Buffer.alloc(32, name))
}

function peersOf(names: readonly string[]): Peer[] {
  return names.map((name) => ({ name, id: peerIdOf(name), address: '192.0.2.1:7946' }))
}

export interface TestDirector {
  readonly name: string
  readonly store: Store
  readonly transport: Transport
  readonly configuration: PoolConfiguration
  readonly changes: PoolChange[]
  /** The settings as they were told, one after the other. */
  readonly settings: SettingValues[]
  /** The mark rules, likewise. */
  readonly marks: (readonly MarkRule[])[]
  /** What was changed at the same time as peers' changes, as it was reported. */
  readonly beside: string[]
  /** What peers' changes have overridden, as it was reported. */
  readonly overridden: string[]
  readonly storeFailures: Error[]
  /** How many of its changes were made anew, each time. */
  readonly corrected: number[]
  /** Peer ids, as they were told last. */
  readonly revoked: { current: ReadonlySet<string> }
  readonly membership: Membership
  readonly admission: Admission
  /** Added to the wall clock. */
  skewMs: number
}

/** A store that can be told to refuse what is written. */
export class FullStore extends MemoryStore {
  isFull = false
  override async batch(operations: readonly StoreOperation[]): Promise<void> {
    if (this.isFull) throw new DirectorError('STORE_FAILED', 'no space left')
    await super.batch(operations)
  }
}

export class PoolOfDirectors {
  readonly clock = new VirtualClock()
  readonly network: MemoryNetwork
  readonly names: readonly string[]
  readonly directors = new Map<string, TestDirector>()
  /** Of the tokens by which others than `names` may join. */
  poolKeys: readonly KeyObject[] = []
  /** Of the configuration, in bytes of memory; undefined: as much as ever. */
  weightMax: number | undefined

  constructor(names: readonly string[], random: () => number = () => 0.5, loss = 0) {
    this.names = names
    this.network = new MemoryNetwork({ clock: this.clock, random, loss, jitterMs: 5, duplication: loss / 2 })
  }

  /**
   * Starts a director, with an empty store unless it is given the one that it had before.
   * @param newcomer knows these alone, and has a token
   */
  async start(
    name: string,
    store: Store = new MemoryStore(),
    skewMs = 0,
    newcomer?: { readonly knows: readonly string[]; readonly token: Uint8Array },
  ): Promise<TestDirector> {
    const configured = newcomer?.knows ?? this.names
    const token = newcomer?.token
    const wallClockMs = () => START_MS + this.clock.now() + director.skewMs
    const membership = new Membership(
      { name, id: peerIdOf(name) },
      peersOf(configured.filter((other) => other !== name)),
    )
    const admission = new Admission({
      keys: this.poolKeys,
      wallClockMs,
      isPeer: (id) => membership.peers.some((peer) => peer.id === id),
      admit: (bytes) => letIn(bytes, membership, configuration.members),
      onRefused: () => {},
    })
    const transport = this.network.join(name, configured, {
      token,
      onToken: (bytes, from) => admission.show(bytes, peerIdOf(from)),
    })
    const changes: PoolChange[] = []
    const settings: SettingValues[] = []
    const marks: (readonly MarkRule[])[] = []
    const beside: string[] = []
    const overridden: string[] = []
    const storeFailures: Error[] = []
    const corrected: number[] = []
    const revoked: TestDirector['revoked'] = { current: new Set() }
    const configuration = new PoolConfiguration({
      store,
      transport,
      wallClockMs,
      poolKeys: this.poolKeys,
      weightMax: this.weightMax,
      isUnicast: () => recordingHost.isUnicast,
      onChange: (change) => changes.push(change),
      onSettings: (values) => settings.push(values),
      onMarks: (rules) => marks.push(rules),
      onMembers: (members) => {
        revoked.current = members.revoked
        membership.setMembers(members)
        transport.setPeers(membership.peers)
      },
      membership,
      onBeside: (what, by) => beside.push(...what.map((each) => `${each} <- ${by.director}`)),
      onOverridden: (what, by) => overridden.push(...what.map((each) => `${each} <- ${by.director}`)),
      onStoreFailure: (error) => storeFailures.push(error),
      onCorrected: (changes) => corrected.push(changes),
    })
    const director: TestDirector = {
      name,
      store,
      transport,
      configuration,
      changes,
      settings,
      marks,
      beside,
      overridden,
      storeFailures,
      corrected,
      revoked,
      membership,
      admission,
      skewMs,
    }
    await store.open()
    await configuration.load()
    if (token) {
      const own = readJoinToken(token, undefined) as JoinToken
      demandAcquaintance(own, membership)
      await configuration.members.admit(own, token)
    }
    await transport.start()
    this.directors.set(name, director)
    return director
  }

  async stop(name: string): Promise<void> {
    const director = this.directors.get(name) as TestDirector
    this.directors.delete(name)
    await director.transport.stop()
    await director.configuration.close()
    await director.store.close()
  }

  /** Time passes, and what is done in slices of the real time is done. */
  async advance(ms: number): Promise<void> {
    await this.clock.advance(ms)
    await untilDone()
  }

  /** Lets the time pass in which everybody has announced a few times. */
  async settle(rounds = 4): Promise<void> {
    for (let round = 0; round < rounds; round++) {
      await this.advance(1000)
      for (const { configuration } of this.directors.values()) configuration.announce()
    }
    await this.advance(1000)
  }
}
