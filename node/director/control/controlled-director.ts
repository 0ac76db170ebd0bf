/**
 * A director as its control socket sees it.
 */
import type { Explanation, Question } from '../../../forwarder/engine/explain.ts'
import type { ConnectionSnapshot } from '../../../forwarder/forwarder.ts'
import type { ServiceAddress } from '../../../forwarder/service.ts'
import type { MemberEntries } from '../pool/member-entries.ts'
import type { PoolConfiguration } from '../pool/pool-configuration.ts'
import type { SyncDaemons } from '../sync-daemon/sync-daemons.ts'
import type { DirectorEvent, DirectorStatus, HealthStatus, PeerListing, ServiceListing } from './answers.ts'
import type { CounterView } from './api.ts'

export interface ControlledDirector {
  readonly configuration: Pick<
    PoolConfiguration,
    | 'service'
    | 'edit'
    | 'settings'
    | 'setSettings'
    | 'marks'
    | 'addMark'
    | 'removeMark'
    | 'addService'
    | 'editService'
    | 'removeService'
    | 'clear'
    | 'addServer'
    | 'editServer'
    | 'removeServer'
    | 'preview'
    | 'rollback'
    | 'revision'
    | 'revisions'
    | 'stateAt'
    | 'difference'
  >
  readonly members: Pick<MemberEntries, 'setRevoked'>
  /** Of the kernel's sync protocol, at this director alone. */
  readonly syncDaemons: Pick<SyncDaemons, 'list' | 'start' | 'stop'>
  /** Those that are configured, and those that are revoked. */
  peers(): PeerListing[]
  /** All but the services, which may be many. */
  status(): Omit<DirectorStatus, 'services'>
  /** May be long, and each is made when it is asked for, as it is then; those that are gone by then are left out. */
  services(view: CounterView): Iterable<ServiceListing>
  /** @throws DirectorError SERVICE_MISSING */
  service(address: ServiceAddress, view: CounterView): ServiceListing
  /** May be long, and is read in pieces while the table changes. @param clientPort only those of this port */
  connections(clientPort?: number): Iterable<ConnectionSnapshot>
  /** Counters from 0 again: of one service, or of all. */
  zero(service?: ServiceAddress): Promise<void>
  /** What would become of a packet. Changes nothing. */
  explain(question: Question): Promise<Explanation>
  health(): HealthStatus
  /** Calls with the state of things, then with each change. Returns what ends that. */
  followEvents(handler: (event: DirectorEvent) => void): () => void
}
