/**
 * Carries out a parsed request against the control socket, and turns its errors into ipvsadm's.
 */
import { DirectorError } from '../../../protocol/errors.ts'
import type { ConnectionListing, ServiceListing } from '../../director/control/answers.ts'
import type { ServiceInput, TableEdit } from '../../director/control/api.ts'
import type { Timeouts } from './facility-listing.ts'
import type { CommandName, OptionName } from './grammar.ts'
import { formatServices, LISTING_VERSION, type ListingFormat, type ListingKind } from './listing.ts'
import { type Label, namedLabel, numericLabel } from './names.ts'
import { type Dialect, type Request, type SyncDaemon, UsageError } from './request.ts'

export interface Director {
  /**
   * One request to a director; the answer's body.
   * @throws DirectorError with the code that the director answered, or DIRECTOR_UNREACHABLE
   */
  control(method: 'GET' | 'POST' | 'PUT' | 'DELETE', path: string, body?: unknown): Promise<unknown>
  /** All of the changes, or none. @throws ChangeRefused, or DirectorError DIRECTOR_UNREACHABLE */
  change(edits: readonly TableEdit[]): Promise<unknown>
}

/** Does what is asked for. Resolves to what belongs on stdout. @throws UsageError */
export async function execute(request: Request, director: Director, dialect: Dialect): Promise<string> {
  const { command } = request
  if (command === 'help' || command === 'version') {
    const { helpText, versionText } = await import('./help.ts')
    return (command === 'help' ? helpText : versionText)(dialect.program, dialect.strict)
  }
  try {
    if (request.command === 'list') return await list(request, director, dialect)
    if (request.command === 'save') return await listServices(request, 'rule', director, dialect)
    await change(request, director)
    return ''
  } catch (error) {
    throw error instanceof DirectorError ? asUsageError(error, request, dialect) : error
  }
}

/** The change that a request makes to the table; undefined for one that makes none. */
export function editOf({ command, service, server }: Request): TableEdit | undefined {
  if (command === 'flush') return { do: 'clear' }
  if (command === 'add-service' && service) return { do: command, service }
  if (command === 'edit-service' && service) return { do: command, service }
  if (command === 'delete-service' && service) return { do: command, service: addressOf(service) }
  if (command === 'add-server' && server) return { do: command, server }
  if (command === 'edit-server' && server) return { do: command, server }
  if (command === 'delete-server' && server) {
    const { service, address, port } = server
    return { do: command, server: { service, address, port } }
  }
  return undefined
}

/** The command that makes a change. */
export function commandOf(edit: TableEdit): CommandName {
  return edit.do === 'clear' ? 'flush' : edit.do
}

async function change(request: Request, { change, control }: Director): Promise<void> {
  const edit = editOf(request)
  const { command, service, timeouts, daemon } = request
  if (edit) await change([edit])
  else if (command === 'zero') await control('POST', '/zero', service ? addressOf(service) : {})
  else if (command === 'start-daemon') await control('POST', '/sync-daemons', daemon)
  else if (command === 'stop-daemon') await control('DELETE', '/sync-daemons', { state: daemon.state })
  else if (command === 'set') {
    const [timeoutTcpS, timeoutTcpFinS, timeoutUdpS] = timeouts
    await control('PUT', '/settings', { timeoutTcpS, timeoutTcpFinS, timeoutUdpS })
  }
}

async function list(request: Request, director: Director, dialect: Dialect): Promise<string> {
  const { options, service } = request
  const { control } = director
  if (options.has('connection')) {
    const { formatConnections, splitEndpoint } = await import('./connection-listing.ts')
    const connections = (await control('GET', '/connections')) as ConnectionListing[]
    const endpoints = connections.flatMap(({ client, virtual, server }) => [client, virtual, server])
    const label = await chooseLabel(
      request,
      dialect,
      endpoints.map((endpoint) => splitEndpoint(endpoint)[0]),
    )
    return formatConnections(connections, label, options.has('persistent-conn'))
  }
  // Of several kinds the first in this order is printed.
  const kinds: (ListingKind & OptionName)[] = ['stats', 'rate', 'thresholds', 'persistent-conn', 'tun-info']
  const kind = kinds.find((each) => options.has(each)) ?? 'plain'
  if (service) return listServices(request, kind, director, dialect)
  if (options.has('timeout') || options.has('daemon')) {
    const { formatDaemons, formatTimeouts } = await import('./facility-listing.ts')
    if (options.has('timeout')) return formatTimeouts((await control('GET', '/settings')) as Timeouts)
    return formatDaemons((await control('GET', '/sync-daemons')) as SyncDaemon[])
  }
  return LISTING_VERSION + (await listServices(request, kind, director, dialect))
}

async function listServices(
  request: Request,
  kind: ListingKind,
  { control }: Director,
  dialect: Dialect,
): Promise<string> {
  const { options, service } = request
  const query = new URLSearchParams({
    ...(service && wordsOf(service)),
    ...(dialect.strict && { counters: 'snapshot' }),
    ...(kind !== 'stats' && kind !== 'rate' && { counters: 'none' }),
  })
  const services = (await control('GET', query.size > 0 ? `/services?${query}` : '/services')) as ServiceListing[]
  const addresses = services.flatMap(({ address, servers }) => [address, ...servers.map((server) => server.address)])
  // A name is read back as the address of IPv4 that it has: in rules IPv6 stays a number.
  const named = kind === 'rule' && !dialect.strict ? addresses.filter((address) => !address.includes(':')) : addresses
  const format: ListingFormat = {
    kind,
    strict: dialect.strict,
    sort: !options.has('nosort'),
    exact: options.has('exact'),
    label: await chooseLabel(request, dialect, named),
  }
  return formatServices(services, format)
}

function chooseLabel({ options }: Request, { names, strict }: Dialect, addresses: string[]): Label | Promise<Label> {
  return options.has('numeric') ? numericLabel : namedLabel(names, addresses, strict)
}

function addressOf({ protocol, address, port, mark }: ServiceInput) {
  return { protocol, address, port, ...(mark !== undefined && { mark }) }
}

function wordsOf(service: ServiceInput): Record<string, string> {
  return Object.fromEntries(Object.entries(addressOf(service)).map(([name, value]) => [name, String(value)]))
}

/** A director's error in ipvsadm's words and with its status. */
export function asUsageError(
  error: DirectorError,
  { command }: Pick<Request, 'command'>,
  dialect: Dialect,
): UsageError {
  const aboutServer = command.endsWith('-server')
  switch (error.code) {
    case 'SERVICE_EXISTS':
      return new UsageError('Service already exists', 255)
    case 'SERVICE_MISSING':
      return new UsageError(aboutServer ? 'Service not defined' : 'No such service', command === 'list' ? 1 : 255)
    case 'SERVER_EXISTS':
      return new UsageError('Destination already exists', 255)
    case 'SERVER_MISSING':
      return new UsageError('No such destination', 255)
    case 'SCHEDULER_UNKNOWN':
      return new UsageError('Scheduler or persistence engine not found', 255)
    case 'THRESHOLDS_INVALID':
      return new UsageError('Numerical result out of range', 255)
    case 'ADDRESS_INVALID':
      return new UsageError('Invalid operation.  Possibly wrong module version, address not unicast, ...', 255)
    case 'DAEMON_RUNNING':
      return new UsageError('Daemon has already run', 255)
    case 'DAEMON_MISSING':
      return new UsageError('No daemon is running', 255)
    case 'INTERFACE_MISSING':
      return new UsageError('No such device', 255)
    case 'DIRECTOR_UNREACHABLE':
      return new UsageError(dialect.strict && isRefused(error) ? NOT_ROOT : error.message)
    default:
      return new UsageError(error.message, 255)
  }
}

const NOT_ROOT =
  "Can't initialize ipvs: Permission denied (you must be root)\n" +
  'Are you sure that IP Virtual Server is built in the kernel or as module?'

function isRefused({ cause }: DirectorError): boolean {
  return (cause as NodeJS.ErrnoException | undefined)?.code === 'EACCES'
}
