/**
 * Carries out a parsed request against the control socket, and turns its errors into ipvsadm's.
 */
import { DirectorError } from '../../../protocol/errors.ts'
import type { ConnectionListing, ServerAddress, ServiceListing } from '../../director/control/api.ts'
import type { OptionName } from './grammar.ts'
import {
  formatConnections,
  formatServices,
  LISTING_VERSION,
  type ListingFormat,
  type ListingKind,
  splitEndpoint,
} from './listing.ts'
import { type Label, type NameDatabase, namedLabel, numericLabel } from './names.ts'
import { type Request, UsageError } from './parse.ts'

/**
 * One request to a director; the answer's body.
 * @throws DirectorError with the code that the director answered, or DIRECTOR_UNREACHABLE
 */
export type Control = (method: 'GET' | 'POST' | 'PUT' | 'DELETE', path: string, body?: unknown) => Promise<unknown>

/** Does what is asked for. Resolves to what belongs on stdout. @throws UsageError */
export async function execute(request: Request, control: Control, names: NameDatabase): Promise<string> {
  try {
    if (request.command === 'list') return await list(request, control, names)
    if (request.command === 'save') return await listServices(request, 'rule', undefined, control, names)
    await change(request, control)
    return ''
  } catch (error) {
    throw error instanceof DirectorError ? asUsageError(error, request) : error
  }
}

async function change(request: Request, control: Control): Promise<void> {
  const { command, options, scheduler, method, weight } = request
  switch (command) {
    case 'flush':
      await control('POST', '/clear')
      return
    case 'zero':
      await control('POST', '/zero', request.service ? serviceAddress(request) : {})
      return
    case 'delete-service':
      await control('DELETE', '/services', serviceAddress(request))
      return
    case 'add-service':
    case 'edit-service': {
      refuse(options, ['persistent', 'netmask', 'ops', 'pe', 'sched-flags'])
      const body = { ...serviceAddress(request), scheduler }
      await control(command === 'add-service' ? 'POST' : 'PUT', '/services', body)
      return
    }
    case 'delete-server':
      await control('DELETE', '/servers', serverAddress(request))
      return
    case 'add-server':
    case 'edit-server': {
      refuse(options, ['u-threshold', 'l-threshold'])
      if (request.tunnelType !== 'ipip') throw unsupported(`the '${request.tunnelType}' tunnel type`)
      const body = { ...serverAddress(request), method, weight }
      await control(command === 'add-server' ? 'POST' : 'PUT', '/servers', body)
      return
    }
    default:
      throw unsupported(`the '${command}' command`)
  }
}

async function list(request: Request, control: Control, names: NameDatabase): Promise<string> {
  const { options, service } = request
  refuse(options, ['timeout', 'daemon'])
  if (options.has('connection')) {
    const connections = (await control('GET', '/connections')) as ConnectionListing[]
    const endpoints = connections.flatMap(({ client, virtual, server }) => [client, virtual, server])
    const addresses = endpoints.map((endpoint) => splitEndpoint(endpoint)[0])
    return formatConnections(connections, await chooseLabel(options, names, addresses), options.has('persistent-conn'))
  }
  // Of several kinds the first in this order is printed.
  const kinds: (ListingKind & OptionName)[] = ['stats', 'rate', 'thresholds', 'persistent-conn', 'tun-info']
  const kind = kinds.find((each) => options.has(each)) ?? 'plain'
  const text = await listServices(request, kind, service, control, names)
  return service ? text : LISTING_VERSION + text
}

async function listServices(
  { options }: Request,
  kind: ListingKind,
  only: Request['service'],
  control: Control,
  names: NameDatabase,
): Promise<string> {
  const all = (await control('GET', '/services')) as ServiceListing[]
  const services = only
    ? all.filter((each) => each.protocol === only.protocol && each.address === only.address && each.port === only.port)
    : all
  if (only && services.length === 0) throw new UsageError('No such service', 1)
  const addresses = services.flatMap(({ address, servers }) => [address, ...servers.map((server) => server.address)])
  const format: ListingFormat = {
    kind,
    sort: !options.has('nosort'),
    exact: options.has('exact'),
    label: await chooseLabel(options, names, addresses),
  }
  return formatServices(services, format)
}

function chooseLabel(options: Request['options'], names: NameDatabase, addresses: string[]): Label | Promise<Label> {
  return options.has('numeric') ? numericLabel : namedLabel(names, addresses)
}

/** The service as the pool knows services; one of a kind that the pool has not got cannot be there. */
function serviceAddress(request: Request): ServerAddress['service'] {
  const service = request.service as NonNullable<Request['service']>
  const { protocol, family, address, port, firewallMark } = service
  const kind = firewallMark
    ? 'a firewall mark'
    : family === 6
      ? 'an IPv6 address'
      : protocol === 'sctp'
        ? 'SCTP'
        : port === 0
          ? 'every port of an address'
          : undefined
  if (protocol !== 'sctp' && kind === undefined) return { protocol, address, port }
  if (request.command === 'add-service') throw unsupported(`a service for ${kind}`)
  throw new DirectorError('SERVICE_MISSING', 'no such service')
}

function serverAddress(request: Request): ServerAddress {
  const service = serviceAddress(request)
  const { family, address, port } = request.server as NonNullable<Request['server']>
  if (family === 6) throw unsupported('a real server with an IPv6 address')
  if (port === 0) throw new UsageError('illegal real server address[:port] specified')
  return { service, address, port }
}

function refuse(options: Request['options'], names: readonly OptionName[]): void {
  const name = names.find((each) => options.has(each))
  if (name) throw unsupported(`the '${name}' option`)
}

/** What ipvsadm can do and the pool cannot: nothing is changed. */
function unsupported(what: string): UsageError {
  return new UsageError(`${what} is not supported by this pool`)
}

function asUsageError(error: DirectorError, { command }: Request): UsageError {
  const aboutServer = command.endsWith('-server')
  switch (error.code) {
    case 'SERVICE_EXISTS':
      return new UsageError('Service already exists', 255)
    case 'SERVICE_MISSING':
      return new UsageError(aboutServer ? 'Service not defined' : 'No such service', 255)
    case 'SERVER_EXISTS':
      return new UsageError('Destination already exists', 255)
    case 'SERVER_MISSING':
      return new UsageError('No such destination', 255)
    case 'SCHEDULER_UNKNOWN':
      return new UsageError('Scheduler or persistence engine not found', 255)
    case 'DIRECTOR_UNREACHABLE':
      return new UsageError(error.message)
    default:
      return new UsageError(error.message, 255)
  }
}
