/**
 * What operators read of traffic: counts since the last zero, and rates, for each service and each of its servers.
 *
 * The forwarder's counters only grow; zero is a line drawn here, and so costs the forwarding loop nothing.
 *
 * IPVS shows counters as they were when the rates were last estimated. That snapshot can be had here, and so can what has been
 * counted up to now.
 *
 * Source: Linux net/netfilter/ipvs/ip_vs_ctl.c, ip_vs_copy_stats(), ip_vs_zero_stats() (the rates begin again too).
 */
import type { Forwarder, ServerCounters } from '../../../forwarder/forwarder.ts'
import { type RealServerSpec, type ServiceAddress, serverKey, serviceKey } from '../../../forwarder/service.ts'
import { startPace } from '../pace.ts'
import type { TrafficStatistics } from './answers.ts'
import type { CounterView } from './api.ts'
import { type Meter, TrafficMeters } from './traffic-meters.ts'

type Counters = Pick<Forwarder, 'serviceCounters' | 'serverCounters'>
type ServerAddress = Pick<RealServerSpec, 'address' | 'port'>

interface MeteredServer {
  readonly server: ServerAddress
  readonly meter: Meter
}

interface MeteredService {
  readonly service: ServiceAddress
  readonly meter: Meter
  servers: ReadonlyMap<string, MeteredServer>
  /** Those that were taken out, for as long as the forwarder has connections of theirs. */
  readonly removed: Map<string, MeteredServer>
}

export class TrafficStatisticsBook {
  readonly #counters: Counters
  readonly #meters = new TrafficMeters()
  readonly #services = new Map<string, MeteredService>()
  readonly #withRemoved = new Set<MeteredService>()

  constructor(counters: Counters) {
    this.#counters = counters
  }

  /**
   * Begins to count what is new, from 0, and forgets what is gone. A server that comes back while it has connections goes on with what
   * it had (ip_vs_ctl.c, __ip_vs_update_dest()). The forwarder must know the service already.
   */
  setService(service: ServiceAddress & { readonly servers: readonly ServerAddress[] }): void {
    const counters = this.#counters
    const key = serviceKey(service)
    let metered = this.#services.get(key)
    if (!metered) {
      const { protocol, address, port, mark } = service
      const meter = this.#meters.begin(counters.serviceCounters(service))
      metered = {
        service: { protocol, address, port, ...(mark && { mark }) },
        meter,
        servers: new Map(),
        removed: new Map(),
      }
      this.#services.set(key, metered)
    }
    this.#forgetEnded(metered)
    const before = metered.servers
    const after = new Map<string, MeteredServer>()
    for (const server of service.servers) {
      const name = serverKey(server)
      const known = before.get(name) ?? metered.removed.get(name)
      const meter = known?.meter ?? this.#meters.begin(counters.serverCounters(service, server))
      metered.removed.delete(name)
      after.set(name, { server, meter })
    }
    for (const [key, server] of before) if (!after.has(key)) metered.removed.set(key, server)
    metered.servers = after
    this.#forgetEnded(metered)
  }

  removeService(service: ServiceAddress): void {
    const metered = this.#services.get(serviceKey(service))
    if (!metered) return
    this.#services.delete(serviceKey(service))
    this.#meters.end(metered.meter)
    this.#withRemoved.delete(metered)
    for (const { meter } of [...metered.servers.values(), ...metered.removed.values()]) this.#meters.end(meter)
  }

  /** To be called every ESTIMATION_INTERVAL_MS. With many servers it takes its time, as the kernel does. */
  tick(): Promise<void> {
    for (const metered of this.#withRemoved) this.#forgetEnded(metered)
    return this.#forEach(this.#services.values(), (meter, counters) => this.#meters.tick(meter, counters))
  }

  /** One service, with its servers, or all. */
  async zero(service?: ServiceAddress): Promise<void> {
    const one = service && this.#services.get(serviceKey(service))
    if (service && !one) return
    await this.#forEach(one ? [one] : this.#services.values(), (meter, counters) => this.#meters.zero(meter, counters))
  }

  /** @throws Error for a service that was not set */
  service(service: ServiceAddress, view: Exclude<CounterView, 'none'> = 'now'): TrafficStatistics {
    const { meter } = this.#metered(service)
    return this.#meters.statistics(meter, view === 'now' ? this.#counters.serviceCounters(service) : undefined)
  }

  /** @throws Error for a server that was not set */
  server(
    service: ServiceAddress,
    server: ServerAddress,
    view: Exclude<CounterView, 'none'> = 'now',
  ): TrafficStatistics {
    const metered = this.#metered(service).servers.get(serverKey(server))
    if (!metered) throw new Error(`no statistics of ${serverKey(server)} in ${serviceKey(service)}`)
    const counters = view === 'now' ? this.#counters.serverCounters(service, server) : undefined
    return this.#meters.statistics(metered.meter, counters)
  }

  /** Forgets the removed servers whose last connection has ended: the forwarder has begun to count anew, or counts nothing. */
  #forgetEnded(metered: MeteredService): void {
    const { service, removed } = metered
    for (const [key, { server, meter }] of removed) {
      if (!this.#meters.hasBegunAnew(meter, this.#counters.serverCounters(service, server))) continue
      removed.delete(key)
      this.#meters.end(meter)
    }
    if (removed.size > 0) this.#withRemoved.add(metered)
    else this.#withRemoved.delete(metered)
  }

  async #forEach(
    services: Iterable<MeteredService>,
    action: (meter: Meter, counters: ServerCounters) => void,
  ): Promise<void> {
    const pace = startPace()
    for (const { service, meter, servers } of services) {
      action(meter, this.#counters.serviceCounters(service))
      for (const { server, meter } of servers.values()) action(meter, this.#counters.serverCounters(service, server))
      const turn = pace()
      if (turn) await turn
    }
  }

  #metered(service: ServiceAddress): MeteredService {
    const metered = this.#services.get(serviceKey(service))
    if (!metered) throw new Error(`no statistics of ${serviceKey(service)}`)
    return metered
  }
}
