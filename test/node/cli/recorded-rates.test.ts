/**
 * The listings of rates in test/reference/traffic.jsonl, to the last digit. They depend on when the kernel looked: each server's
 * numbers say how often it had estimated since that server's traffic.
 */
import { readFileSync } from 'node:fs'
import { test } from 'tap'
import type { ServerCounters } from '../../../forwarder/forwarder.ts'
import { type ServiceAddress, serverKey, serviceKey } from '../../../forwarder/service.ts'
import { formatServices, LISTING_VERSION } from '../../../node/cli/vsadm/listing.ts'
import { numericLabel } from '../../../node/cli/vsadm/names.ts'
import { type ListingSources, listService } from '../../../node/director/control/service-listing.ts'
import { TrafficStatisticsBook } from '../../../node/director/control/statistics.ts'
import type { PoolService } from '../../../node/director/pool/pool-entry.ts'

interface Recording {
  case: string
  cmd?: string
  stdout?: string
}

const recordings = readFileSync(new URL('../../reference/traffic.jsonl', import.meta.url), 'utf8')
  .trimEnd()
  .split('\n')
  .map((line) => JSON.parse(line) as Recording)

const recorded = (name: string) =>
  recordings.find((line) => line.case === name && line.cmd === 'ipvsadm -L -n --rate')?.stdout

class Traffic {
  readonly #counters = new Map<string, ServerCounters>()
  readonly #services: PoolService[]
  readonly #book = new TrafficStatisticsBook({
    serviceCounters: (service) => this.#at(serviceKey(service)),
    serverCounters: (service, server) => this.#at(serviceKey(service) + serverKey(server)),
  })

  constructor(services: PoolService[]) {
    this.#services = services
    for (const service of services) this.#book.setService(service)
  }

  count(service: ServiceAddress, server: PoolService['servers'][number], counted: readonly number[]): void {
    for (const key of [serviceKey(service), serviceKey(service) + serverKey(server)]) {
      const counters = this.#at(key)
      counters.connections += counted[0]
      counters.inPackets += counted[1]
      counters.outPackets += counted[2]
      counters.inBytes += counted[3]
      counters.outBytes += counted[4]
    }
  }

  async estimate(times: number): Promise<void> {
    for (let i = 0; i < times; i++) await this.#book.tick()
  }

  listing(): string {
    const sources: ListingSources = {
      conditions: { health: () => 'up', loadFactor: () => 1, isLocal: () => false },
      load: () => null,
      counters: { serverCounters: () => this.#at('') },
      statistics: this.#book,
    }
    const listings = this.#services.map((service) => listService(service, sources, 'snapshot'))
    const format = { kind: 'rate', strict: true, sort: true, exact: false, label: numericLabel } as const
    return LISTING_VERSION + formatServices(listings, format)
  }

  #at(key: string): ServerCounters {
    const none = { connections: 0, inPackets: 0, outPackets: 0, inBytes: 0, outBytes: 0 }
    const nobody = { activeConnections: 0, inactiveConnections: 0, persistentConnections: 0 }
    if (!this.#counters.has(key)) this.#counters.set(key, { ...none, ...nobody })
    return this.#counters.get(key) as ServerCounters
  }
}

function service(address: string, port: number, servers: readonly string[]): PoolService {
  return {
    protocol: 'tcp',
    address,
    port,
    scheduler: 'wrr',
    servers: servers.map((address) => ({ address, port, method: 'nat', weight: 1 })),
  }
}

test('six fetched pages of either family: four, and two after another estimate', async (t) => {
  const families = [
    { web: service('10.1.0.100', 80, ['10.2.0.11', '10.2.0.12', '10.2.0.13']), page: [1, 5, 5, 342, 355] },
    { web: service('fd00:1::100', 80, ['fd00:2::11', 'fd00:2::12', 'fd00:2::13']), page: [1, 5, 5, 445, 455] },
  ]
  const [version4, version6] = families
  const traffic = new Traffic([version4.web, version6.web])
  const fetch = ({ web, page }: (typeof families)[number], ...servers: number[]) => {
    for (const server of servers) traffic.count(web, web.servers[server], page)
  }
  fetch(version4, 2, 1, 0, 0)
  await traffic.estimate(1)
  fetch(version4, 1, 0)
  fetch(version6, 2, 1, 0, 0, 1, 0)
  await traffic.estimate(3)
  t.equal(traffic.listing(), recorded('nat-curl-http'))
})

test('120 MiB, two estimates ago', async (t) => {
  const [silent, bulk] = [8080, 8090].map((port) => service('10.1.0.100', port, ['10.2.0.11']))
  const traffic = new Traffic([silent, bulk])
  traffic.count(bulk, bulk.servers[0], [1, 2073, 1553, 125_936_924, 80_764])
  await traffic.estimate(2)
  t.equal(traffic.listing(), recorded('nat-stats-large'))
})
