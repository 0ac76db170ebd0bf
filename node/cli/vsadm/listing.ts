/**
 * ipvsadm's listings, byte for byte: trailing blanks are real, and so are the widths that long names overflow.
 * Pure: the labels (addresses and ports, with names or without) come in as a function. Source: recordings of ipvsadm 1.31.
 */
import type { ForwardingMethod } from '../../../forwarder/service.ts'
import type { ConnectionListing, ServerListing, ServiceListing, TrafficStatistics } from '../../director/control/api.ts'
import type { Label } from './names.ts'

/** IPVS's version and the size of its hash table, which scripts look for in the first line. */
export const LISTING_VERSION = 'IP Virtual Server version 1.2.1 (size=4096)\n'

const NAME_WIDTH = 28

export type ListingKind = 'plain' | 'rule' | 'stats' | 'rate' | 'thresholds' | 'persistent-conn' | 'tun-info'

export interface ListingFormat {
  readonly kind: ListingKind
  readonly sort: boolean
  /** All digits instead of 125936K. */
  readonly exact: boolean
  readonly label: Label
}

interface Layout {
  readonly title: string
  service(service: ServiceListing, name: string, format: ListingFormat): string
  server(server: ServerListing, name: string, format: ListingFormat, service: ServiceListing): string
}

const forwardName: Record<ForwardingMethod, string> = {
  nat: 'Masq',
  tun: 'Tunnel',
  dr: 'Route',
  local: 'Local',
}
const forwardOption: Record<ForwardingMethod, string> = { nat: '-m', tun: '-i', dr: '-g', local: '-g' }
const protocolOrder = ['tcp', 'udp']

const titleStart = 'Prot LocalAddress:Port'.padEnd(33)
const serverTitle = '  -> RemoteAddress:Port'
const serviceLine = (service: ServiceListing, name: string) => `${protocolName(service)}  ${name} ${service.scheduler}`
const serverStart = (name: string) => `  -> ${name.padEnd(NAME_WIDTH)} `
const columns = (...fields: [value: unknown, width: number][]) =>
  fields.map(([value, width]) => String(value).padEnd(width)).join(' ')

const layouts: Record<ListingKind, Layout> = {
  plain: {
    title: `Prot LocalAddress:Port Scheduler Flags\n${serverTitle}           Forward Weight ActiveConn InActConn\n`,
    service: serviceLine,
    server: (server, name) =>
      serverStart(name) +
      columns(
        [forwardName[server.method], 7],
        [server.weight, 6],
        [server.activeConnections, 10],
        [server.inactiveConnections, 10],
      ),
  },
  'tun-info': {
    title: `Prot LocalAddress:Port Scheduler Flags\n${serverTitle}           Forward TunnelInfo    Weight ActiveConn InActConn\n`,
    service: serviceLine,
    server: (server, name) =>
      serverStart(name) +
      columns(
        [forwardName[server.method], 7],
        [server.method === 'tun' ? 'ipip' : 'n/a', 13],
        [server.weight, 6],
        [server.activeConnections, 10],
        [server.inactiveConnections, 10],
      ),
  },
  thresholds: {
    title: `${titleStart} Uthreshold Lthreshold ActiveConn InActConn \n${serverTitle}\n`,
    service: serviceLine,
    // The pool has no thresholds; 0 is how IPVS shows that.
    server: (server, name) =>
      serverStart(name) + columns([0, 10], [0, 10], [server.activeConnections, 10], [server.inactiveConnections, 10]),
  },
  'persistent-conn': {
    title: `${titleStart} Weight    PersistConn ActiveConn InActConn \n${serverTitle}\n`,
    service: serviceLine,
    server: (server, name) =>
      serverStart(name) +
      columns([server.weight, 9], [0, 11], [server.activeConnections, 10], [server.inactiveConnections, 10]),
  },
  stats: countersLayout(['Conns', 'InPkts', 'OutPkts', 'InBytes', 'OutBytes'], (counted) => [
    counted.connections,
    counted.inPackets,
    counted.outPackets,
    counted.inBytes,
    counted.outBytes,
  ]),
  rate: countersLayout(['CPS', 'InPPS', 'OutPPS', 'InBPS', 'OutBPS'], (counted) => [
    counted.connectionsPerSecond,
    counted.inPacketsPerSecond,
    counted.outPacketsPerSecond,
    counted.inBytesPerSecond,
    counted.outBytesPerSecond,
  ]),
  rule: {
    title: '',
    service: (service, name) => `-A ${serviceOption(service)} ${name} -s ${service.scheduler}`,
    server: (server, name, { label }, service) =>
      `-a ${serviceOption(service)} ${label(service.address, service.port, service.protocol)} -r ${name} ` +
      `${forwardOption[server.method]} -w ${server.weight}${server.method === 'tun' ? ' --tun-type ipip' : ''}`,
  },
}

/** The services, sorted by protocol, address and port; in every kind but `rule` under their titles. */
export function formatServices(services: readonly ServiceListing[], format: ListingFormat): string {
  const layout = layouts[format.kind]
  const ordered = format.sort
    ? services.toSorted(
        (a, b) => protocolOrder.indexOf(a.protocol) - protocolOrder.indexOf(b.protocol) || compareEndpoints(a, b),
      )
    : services
  let text = layout.title
  for (const service of ordered) {
    text += `${layout.service(service, fitted(service, service.protocol), format)}\n`
    const servers = format.sort ? service.servers.toSorted(compareEndpoints) : service.servers.toReversed()
    for (const server of servers)
      text += `${layout.server(server, fitted(server, service.protocol), format, service)}\n`
  }
  return text

  /** Names longer than their column are cut, except in rules, which are read back. */
  function fitted({ address, port }: { address: string; port: number }, protocol: string): string {
    const name = format.label(address, port, protocol)
    return format.kind === 'rule' ? name : name.slice(0, NAME_WIDTH)
  }
}

export function formatConnections(
  connections: readonly ConnectionListing[],
  label: Label,
  withPersistenceData: boolean,
): string {
  let text = 'IPVS connection entries\npro expire state       source             virtual            '
  text += withPersistenceData ? 'destination        pe name          pe_data\n' : 'destination\n'
  for (const { protocol, expiresMs, state, client, virtual, server } of connections) {
    const seconds = Math.max(0, Math.floor(expiresMs / 1000))
    const expires = `${twoDigits(Math.floor(seconds / 60))}:${twoDigits(seconds % 60)}`
    const named = (endpoint: string) => label(...splitEndpoint(endpoint), protocol)
    text += columns(
      [protocol.toUpperCase(), 3],
      [expires, 6],
      [state, 11],
      [named(client), 18],
      [named(virtual), 18],
      [named(server), 0],
    )
    text += '\n'
  }
  return text
}

/** "10.0.0.1:80" as address and port. */
export function splitEndpoint(endpoint: string): [address: string, port: number] {
  const colon = endpoint.lastIndexOf(':')
  return [endpoint.slice(0, colon), Number(endpoint.slice(colon + 1))]
}

function countersLayout(titles: string[], values: (counted: TrafficStatistics) => number[]): Layout {
  const numbers = (counted: TrafficStatistics, exact: boolean) =>
    values(counted)
      .map((value) => largeNumber(value, exact))
      .join('')
  return {
    title: `${titleStart} ${titles.map((title) => title.padStart(8)).join(' ')}\n${serverTitle}\n`,
    service: (service, name, { exact }) =>
      `${protocolName(service)}  ${name}`.padEnd(33) + numbers(service.statistics, exact),
    server: (server, name, { exact }) => `  -> ${name.padEnd(NAME_WIDTH)}${numbers(server.statistics, exact)}`,
  }
}

/** Nine columns; from 100 million on in thousands, millions and so on. */
export function largeNumber(value: number, exact: boolean): string {
  const digits = String(Math.floor(value))
  if (exact) return digits.padStart(digits.length <= 8 ? 9 : digits.length + 1)
  const [unit, suffix] =
    value < 1e8
      ? [1, '']
      : value < 1e9
        ? [1e3, 'K']
        : value < 1e11
          ? [1e6, 'M']
          : value < 1e14
            ? [1e9, 'G']
            : [1e12, 'T']
  return `${Math.floor(value / unit)}${suffix}`.padStart(9)
}

function compareEndpoints(a: { address: string; port: number }, b: { address: string; port: number }): number {
  return addressNumber(a.address) - addressNumber(b.address) || a.port - b.port
}

function addressNumber(address: string): number {
  return address.split('.').reduce((sum, part) => sum * 256 + Number(part), 0)
}

function protocolName(service: ServiceListing): string {
  return service.protocol.toUpperCase()
}

function serviceOption(service: ServiceListing): string {
  return service.protocol === 'tcp' ? '-t' : '-u'
}

function twoDigits(number: number): string {
  return String(number).padStart(2, '0')
}
