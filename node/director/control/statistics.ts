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
import type { CounterView, TrafficStatistics } from './api.ts'
import { FRACTION_BITS, FRACTION_BITS_OF_BYTES, RateEstimator } from './rate-estimator.ts'

type Counters = Pick<Forwarder, 'serviceCounters' | 'serverCounters'>
type ServerAddress = Pick<RealServerSpec, 'address' | 'port'>

class TrafficMeter {
  readonly #read: () => ServerCounters
  #baseline: ServerCounters
  #rates: ReturnType<typeof estimatorsFrom>

  constructor(read: () => ServerCounters) {
    this.#read = read
    this.#baseline = { ...read() }
    this.#rates = estimatorsFrom(this.#baseline)
  }

  zero(): void {
    this.#baseline = { ...this.#read() }
    this.#rates = estimatorsFrom(this.#baseline)
  }

  tick(): void {
    const counters = this.#read()
    for (const name of COUNTED) this.#rates[name].tick(counters[name])
  }

  statistics(view: CounterView): TrafficStatistics {
    const counters = view === 'now' ? this.#read() : undefined
    const since = (name: Counted) => (counters?.[name] ?? this.#rates[name].total) - this.#baseline[name]
    return {
      connections: since('connections'),
      inPackets: since('inPackets'),
      outPackets: since('outPackets'),
      inBytes: since('inBytes'),
      outBytes: since('outBytes'),
      connectionsPerSecond: this.#rates.connections.perSecond,
      inPacketsPerSecond: this.#rates.inPackets.perSecond,
      outPacketsPerSecond: this.#rates.outPackets.perSecond,
      inBytesPerSecond: this.#rates.inBytes.perSecond,
      outBytesPerSecond: this.#rates.outBytes.perSecond,
    }
  }
}

const COUNTED = ['connections', 'inPackets', 'outPackets', 'inBytes', 'outBytes'] as const
type Counted = (typeof COUNTED)[number]

function estimatorsFrom(counters: ServerCounters): Record<Counted, RateEstimator> {
  return {
    connections: new RateEstimator(counters.connections, FRACTION_BITS),
    inPackets: new RateEstimator(counters.inPackets, FRACTION_BITS),
    outPackets: new RateEstimator(counters.outPackets, FRACTION_BITS),
    inBytes: new RateEstimator(counters.inBytes, FRACTION_BITS_OF_BYTES),
    outBytes: new RateEstimator(counters.outBytes, FRACTION_BITS_OF_BYTES),
  }
}

interface ServiceMeters {
  readonly own: TrafficMeter
  servers: Map<string, TrafficMeter>
}

export class TrafficStatisticsBook {
  readonly #counters: Counters
  readonly #services = new Map<string, ServiceMeters>()

  constructor(counters: Counters) {
    this.#counters = counters
  }

  /** Begins to count what is new, from 0, and forgets what is gone. The forwarder must know the service already. */
  setService(service: ServiceAddress & { readonly servers: readonly ServerAddress[] }): void {
    const meters = this.#services.get(serviceKey(service)) ?? {
      own: new TrafficMeter(() => this.#counters.serviceCounters(service)),
      servers: new Map<string, TrafficMeter>(),
    }
    meters.servers = new Map(
      service.servers.map((server) => [
        serverKey(server),
        meters.servers.get(serverKey(server)) ?? new TrafficMeter(() => this.#counters.serverCounters(service, server)),
      ]),
    )
    this.#services.set(serviceKey(service), meters)
  }

  removeService(service: ServiceAddress): void {
    this.#services.delete(serviceKey(service))
  }

  /** To be called every ESTIMATION_INTERVAL_MS. With many servers it takes its time, as the kernel does. */
  async tick(): Promise<void> {
    const pace = startPace()
    for (const meters of this.#services.values()) {
      for (const meter of metersOf(meters)) meter.tick()
      const turn = pace()
      if (turn) await turn
    }
  }

  /** One service, with its servers, or all. */
  async zero(service?: ServiceAddress): Promise<void> {
    const pace = startPace()
    const wanted = service ? [this.#services.get(serviceKey(service))] : this.#services.values()
    for (const meters of wanted) {
      for (const meter of metersOf(meters)) meter.zero()
      const turn = pace()
      if (turn) await turn
    }
  }

  /** @throws Error for a service that was not set */
  service(service: ServiceAddress, view: CounterView = 'now'): TrafficStatistics {
    return this.#metersOf(service).own.statistics(view)
  }

  /** @throws Error for a server that was not set */
  server(service: ServiceAddress, server: ServerAddress, view: CounterView = 'now'): TrafficStatistics {
    const meter = this.#metersOf(service).servers.get(serverKey(server))
    if (!meter) throw new Error(`no statistics of ${serverKey(server)} in ${serviceKey(service)}`)
    return meter.statistics(view)
  }

  #metersOf(service: ServiceAddress): ServiceMeters {
    const meters = this.#services.get(serviceKey(service))
    if (!meters) throw new Error(`no statistics of ${serviceKey(service)}`)
    return meters
  }
}

function metersOf(meters: ServiceMeters | undefined): TrafficMeter[] {
  return meters ? [meters.own, ...meters.servers.values()] : []
}
