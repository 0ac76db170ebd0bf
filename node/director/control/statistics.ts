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
}

export class TrafficStatisticsBook {
  readonly #counters: Counters
  readonly #meters = new TrafficMeters()
  readonly #services = new Map<string, MeteredService>()

  constructor(counters: Counters) {
    this.#counters = counters
  }

  /** Begins to count what is new, from 0, and forgets what is gone. The forwarder must know the service already. */
  setService(service: ServiceAddress & { readonly servers: readonly ServerAddress[] }): void {
    const counters = this.#counters
    const key = serviceKey(service)
    let metered = this.#services.get(key)
    if (!metered) {
      const { protocol, address, port, mark } = service
      const meter = this.#meters.begin(counters.serviceCounters(service))
      metered = { service: { protocol, address, port, ...(mark && { mark }) }, meter, servers: new Map() }
      this.#services.set(key, metered)
    }
    const before = metered.servers
    const after = new Map<string, MeteredServer>()
    for (const server of service.servers) {
      const known = before.get(serverKey(server))
      const meter = known?.meter ?? this.#meters.begin(counters.serverCounters(service, server))
      after.set(serverKey(server), { server, meter })
    }
    for (const [server, { meter }] of before) if (!after.has(server)) this.#meters.end(meter)
    metered.servers = after
  }

  removeService(service: ServiceAddress): void {
    const metered = this.#services.get(serviceKey(service))
    if (!metered) return
    this.#services.delete(serviceKey(service))
    this.#meters.end(metered.meter)
    for (const { meter } of metered.servers.values()) this.#meters.end(meter)
  }

  /** To be called every ESTIMATION_INTERVAL_MS. With many servers it takes its time, as the kernel does. */
  tick(): Promise<void> {
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
