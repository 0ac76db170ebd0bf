/**
 * ipvsadm's listings of services, byte for byte: trailing blanks are real, and so are the widths that long names overflow.
 * Pure: the labels (addresses and ports, with names or without) come in as a function. Source: recordings of ipvsadm 1.31.
 */
import type { ForwardingMethod } from '../../../forwarder/service.ts'
import type { ServerListing, ServiceListing } from '../../director/control/answers.ts'
import { type Counters, counterTitles, largeNumber, rates, totals } from './counters.ts'
import type { Label } from './names.ts'
import { compareNumbers, compareWrapping, sortServers, sortServices } from './order.ts'
import { showSchedulerFlags } from './scheduler-flags.ts'

/** IPVS's version and the size of its hash table, which scripts look for in the first line. */
export const LISTING_VERSION = 'IP Virtual Server version 1.2.1 (size=4096)\n'

const NAME_WIDTH = 28
const SERVICE_WIDTH = 33

export type ListingKind = 'plain' | 'rule' | 'stats' | 'rate' | 'thresholds' | 'persistent-conn' | 'tun-info'

export interface ListingFormat {
  readonly kind: ListingKind
  /** To the letter: marks as signed numbers, rules without thresholds and what ipvsadm has no option for, servers that are the director itself not told apart. */
  readonly strict: boolean
  readonly sort: boolean
  /** All digits instead of 125936K. */
  readonly exact: boolean
  readonly label: Label
}

interface Layout {
  readonly title: string
  service(service: ServiceListing, name: string, format: ListingFormat): string
  server(server: ServerListing, name: string, format: ListingFormat, service: string): string
}

const forwardName: Record<ForwardingMethod, string> = {
  nat: 'Masq',
  tun: 'Tunnel',
  dr: 'Route',
  local: 'Local',
}
const forwardOption: Record<ForwardingMethod, string> = { nat: '-m', tun: '-i', dr: '-g', local: '-g' }
const serviceOption: Readonly<Record<string, string>> = { tcp: '-t', udp: '-u', sctp: '--sctp-service', fwm: '-f' }
const checksumName = { none: '-c', plain: '+c', remote: 'r+c' } as const
const checksumOption = { none: '--tun-nocsum', plain: '--tun-csum', remote: '--tun-remcsum' } as const

const titleStart = 'Prot LocalAddress:Port'.padEnd(SERVICE_WIDTH)
const serverTitle = '  -> RemoteAddress:Port'
const serverStart = (name: string) => `  -> ${name.padEnd(NAME_WIDTH)} `
const columns = (...fields: [value: unknown, width: number][]) =>
  fields.map(([value, width]) => String(value).padEnd(width)).join(' ')

const layouts: Record<ListingKind, Layout> = {
  plain: {
    title: `Prot LocalAddress:Port Scheduler Flags\n${serverTitle}           Forward Weight ActiveConn InActConn\n`,
    service: describe,
    server: (server, name, format) =>
      serverStart(name) +
      columns(
        [forwardOf(server, format), 7],
        [server.weight, 6],
        [server.activeConnections, 10],
        [server.inactiveConnections, 10],
      ),
  },
  'tun-info': {
    title: `Prot LocalAddress:Port Scheduler Flags\n${serverTitle}           Forward TunnelInfo    Weight ActiveConn InActConn\n`,
    service: describe,
    server: (server, name, format) =>
      serverStart(name) +
      columns(
        [forwardOf(server, format), 7],
        [server.method === 'tun' ? tunnelInfo(server) : 'n/a', 13],
        [server.weight, 6],
        [server.activeConnections, 10],
        [server.inactiveConnections, 10],
      ),
  },
  thresholds: {
    title: `${titleStart} Uthreshold Lthreshold ActiveConn InActConn \n${serverTitle}\n`,
    service: describe,
    server: (server, name) =>
      serverStart(name) +
      columns(
        [server.upperThreshold, 10],
        [server.lowerThreshold, 10],
        [server.activeConnections, 10],
        [server.inactiveConnections, 10],
      ),
  },
  'persistent-conn': {
    title: `${titleStart} Weight    PersistConn ActiveConn InActConn \n${serverTitle}\n`,
    service: describe,
    server: (server, name) =>
      serverStart(name) +
      columns(
        [server.weight, 9],
        [server.persistentConnections, 11],
        [server.activeConnections, 10],
        [server.inactiveConnections, 10],
      ),
  },
  stats: {
    title: `${titleStart} ${counterTitles(['Conns', 'InPkts', 'OutPkts', 'InBytes', 'OutBytes'])}\n${serverTitle}\n`,
    service: ({ statistics }, name, { exact }) => name.padEnd(SERVICE_WIDTH) + numbers(totals(statistics), exact),
    server: ({ statistics }, name, { exact }) => `  -> ${name.padEnd(NAME_WIDTH)}${numbers(totals(statistics), exact)}`,
  },
  rate: {
    title: `${titleStart} ${counterTitles(['CPS', 'InPPS', 'OutPPS', 'InBPS', 'OutBPS'])}\n${serverTitle}\n`,
    service: ({ statistics }, name, { exact }) => name.padEnd(SERVICE_WIDTH) + numbers(rates(statistics), exact),
    // Of a server, ipvsadm shortens the bytes alone.
    server: ({ statistics }, name, { exact }) => {
      const [connections, inPackets, outPackets, ...bytes] = rates(statistics)
      const whole = [connections, inPackets, outPackets].map((rate) => String(Math.floor(rate)).padStart(8)).join(' ')
      return serverStart(name) + whole + numbers(bytes, exact)
    },
  },
  rule: {
    title: '',
    service: (service, name, { strict }) => `-A ${name} -s ${service.scheduler}${ruleOptions(service, strict)}`,
    server: (server, name, format, service) =>
      `-a ${service} -r ${name} ${forwardOption[server.method]} -w ${server.weight}${serverOptions(server, format)}`,
  },
}

/** The services, sorted by mark, IP version, protocol, address and port; in every kind but `rule` under their titles. */
export function formatServices(services: readonly ServiceListing[], format: ListingFormat): string {
  const layout = layouts[format.kind]
  const compare = format.strict ? compareWrapping : compareNumbers
  const parts = [layout.title]
  for (const service of format.sort ? sortServices(services, compare) : services) {
    const name = serviceName(service, format)
    parts.push(layout.service(service, name, format), '\n')
    // IPVS has them newest first.
    const newestFirst = service.servers.toReversed()
    for (const server of format.sort ? sortServers(newestFirst, compare) : newestFirst)
      parts.push(layout.server(server, serverName(server, service, format), format, name), '\n')
  }
  return parts.join('')
}

/** "TCP  10.0.0.1:80", or in rules "-t 10.0.0.1:80". Names longer than their column are cut, except in rules, which are read back. */
function serviceName(service: ServiceListing, { kind, strict, label }: ListingFormat): string {
  const { protocol, address, port, mark } = service
  const isIPv6 = address.includes(':')
  if (mark !== undefined) {
    const shown = strict ? mark | 0 : mark
    return kind === 'rule' ? `-f ${shown}${isIPv6 ? ' -6' : ''}` : `FWM  ${shown}${isIPv6 ? ' IPv6' : ''}`
  }
  const name = label(address, port, protocol)
  if (kind === 'rule') return `${serviceOption[protocol]} ${name}`
  const whole = `${protocol.toUpperCase().padEnd(4)} ${name}`
  return isIPv6 ? whole : whole.slice(0, SERVICE_WIDTH)
}

function serverName({ address, port }: ServerListing, { protocol }: ServiceListing, format: ListingFormat): string {
  const name = format.label(address, port, protocol)
  return format.kind === 'rule' || address.includes(':') ? name : name.slice(0, NAME_WIDTH)
}

function describe(service: ServiceListing, name: string): string {
  const { scheduler, schedulerFlags, persistence, persistenceEngine, onePacket } = service
  const parts = [name, scheduler]
  if (schedulerFlags.length > 0) parts.push(`(${showSchedulerFlags(schedulerFlags, scheduler)})`)
  if (persistence) {
    parts.push(`persistent ${persistence.timeoutS}`)
    if (!coversOneClient(persistence.netmask)) parts.push(`mask ${persistence.netmask}`)
    if (persistenceEngine) parts.push(`pe ${persistenceEngine}`)
  }
  if (onePacket) parts.push('ops')
  return parts.join(' ')
}

function ruleOptions(service: ServiceListing, strict: boolean): string {
  const { scheduler, schedulerFlags, persistence, persistenceEngine, onePacket, mss, sync } = service
  let text = ''
  if (persistence) {
    text += ` -p ${persistence.timeoutS}`
    if (!coversOneClient(persistence.netmask)) text += ` -M ${persistence.netmask}`
  }
  if (persistenceEngine) text += ` --pe ${persistenceEngine}`
  if (onePacket) text += ' -o'
  const flags = strict ? showSchedulerFlags(schedulerFlags, scheduler) : schedulerFlags.join(',')
  if (schedulerFlags.length > 0) text += ` -b ${flags}`
  // Options that ipvsadm does not have: it would refuse the whole line.
  if (strict) return text
  if (mss) text += ` --mss ${mss}`
  return sync ? `${text} --sync ${sync}` : text
}

function serverOptions(
  { method, tunnel, upperThreshold, lowerThreshold }: ServerListing,
  format: ListingFormat,
): string {
  let text = ''
  if (!format.strict && upperThreshold > 0) text += ` -x ${upperThreshold}`
  if (!format.strict && lowerThreshold > 0) text += ` -y ${lowerThreshold}`
  if (method !== 'tun') return text
  text += ` --tun-type ${tunnel?.type ?? 'ipip'}`
  if (!tunnel || tunnel.type === 'ipip') return text
  if (tunnel.type === 'gue') text += ` --tun-port ${tunnel.port}`
  return `${text} ${checksumOption[tunnel.checksum]}`
}

function tunnelInfo({ tunnel }: ServerListing): string {
  if (!tunnel || tunnel.type === 'ipip') return 'ipip'
  const port = tunnel.type === 'gue' ? `:${tunnel.port}` : ''
  return `${tunnel.type}${port}:${checksumName[tunnel.checksum]}`
}

function forwardOf({ method, isLocal }: ServerListing, { strict }: ListingFormat): string {
  return forwardName[isLocal && !strict ? 'local' : method]
}

function coversOneClient(netmask: string): boolean {
  return netmask === '255.255.255.255' || netmask === '128'
}

function numbers(counters: Counters, exact: boolean): string {
  return counters.map((value) => largeNumber(value, exact)).join('')
}
