/**
 * Names for addresses and ports, in both directions: hosts as the system resolves them (getaddrinfo, getnameinfo: also
 * /etc/hosts), services from /etc/services, whose format is services(5).
 */

export interface NameDatabase {
  /** IPv4 address of a host name. */
  addressOf(host: string): Promise<string | undefined>
  hostOf(address: string): Promise<string | undefined>
  portOf(service: string, protocol: string): number | undefined
  serviceOf(port: number, protocol: string): string | undefined
}

interface Service {
  readonly names: readonly string[]
  readonly port: number
  readonly protocol: string
}

export function parseServices(text: string): Service[] {
  const services: Service[] = []
  for (const line of text.split('\n')) {
    const [name, portAndProtocol, ...aliases] = line.replace(/#.*/, '').trim().split(/\s+/)
    const match = /^(\d+)\/(\w+)$/.exec(portAndProtocol ?? '')
    if (match) services.push({ names: [name, ...aliases], port: Number(match[1]), protocol: match[2] })
  }
  return services
}

/**
 * Loaded when a name is asked for: most listings are of numbers, and loading is what they wait for. An import of node:fs takes
 * milliseconds, since it brings all that the module has.
 */
const resolver = () => import('node:dns/promises')
const files = () => process.getBuiltinModule('node:fs')

/** The names this system knows. The file is read when the first name of a service is asked for. */
export function systemNames(servicesFile = '/etc/services'): NameDatabase {
  let services: Service[] | undefined
  const load = () => {
    services ??= parseServices(readIfThere(servicesFile))
    return services
  }
  return {
    async addressOf(host) {
      if (host === '') return undefined
      try {
        return (await (await resolver()).lookup(host, { family: 4 })).address
      } catch {
        return undefined
      }
    },
    async hostOf(address) {
      try {
        return (await (await resolver()).lookupService(address, 0)).hostname
      } catch {
        return undefined
      }
    },
    portOf: (name, protocol) => load().find((each) => each.protocol === protocol && each.names.includes(name))?.port,
    serviceOf: (port, protocol) => load().find((each) => each.protocol === protocol && each.port === port)?.names[0],
  }
}

/** A system without the file has no names for ports, which is no error. */
function readIfThere(file: string): string {
  try {
    return files().readFileSync(file, 'utf8')
  } catch {
    return ''
  }
}

export type Label = (address: string, port: number, protocol: string) => string

export const numericLabel: Label = (address, port) => endpoint(address, address, port)

/** What ipvsadm has room for, the port included. Source: ipvsadm.c, addrport_to_anyname(). */
const STRICT_LENGTH = 59

/**
 * A label that prints names where there are any; the addresses are looked up beforehand, side by side.
 * @param strict cut where ipvsadm cuts it
 */
export async function namedLabel(names: NameDatabase, addresses: Iterable<string>, strict: boolean): Promise<Label> {
  const hosts = new Map<string, string>()
  await Promise.all(
    [...new Set(addresses)].map(async (address) => {
      const host = await names.hostOf(address)
      if (host !== undefined) hosts.set(address, host)
    }),
  )
  const longest = strict ? STRICT_LENGTH : undefined
  return (address, port, protocol) =>
    endpoint(address, hosts.get(address) ?? address, names.serviceOf(port, protocol) ?? port).slice(0, longest)
}

/** What stands for an IPv6 address is in brackets, a name too. */
function endpoint(address: string, host: string, port: number | string): string {
  return `${address.includes(':') ? `[${host === address ? asPrinted(address) : host}]` : host}:${port}`
}

/** As inet_ntop(3) writes an IPv6 address, which differs from RFC 5952 where there are only 32 bits at its end: they look like IPv4. */
function asPrinted(address: string): string {
  return address.replace(/^::([\da-f]{1,4}):([\da-f]{1,4})$/, (_, high: string, low: string) => {
    const bits = Number.parseInt(high, 16) * 2 ** 16 + Number.parseInt(low, 16)
    return `::${[24, 16, 8, 0].map((shift) => (bits >>> shift) & 255).join('.')}`
  })
}
