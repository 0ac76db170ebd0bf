/**
 * Virtual services and real servers as the forwarder is told of them: plain data that crosses threads.
 *
 * The pool's configuration, the health checks and the agents' reports are folded into these before they come here:
 * `weight` is already the effective weight, and a dead server arrives with weight 0.
 */

export type ServiceProtocol = 'tcp' | 'udp'
/** How a frame reaches a real server: ipvsadm's -m, -i and -g. */
export type ForwardingMethod = 'nat' | 'tun' | 'dr'

export interface ServiceAddress {
  readonly protocol: ServiceProtocol
  /** IPv4 address in dotted form. */
  readonly address: string
  /** 1 to 65535. */
  readonly port: number
}

export interface RealServerSpec {
  readonly address: string
  readonly port: number
  readonly method: ForwardingMethod
  /** Effective weight, an integer >= 0. */
  readonly weight: number
}

export interface ServiceSpec extends ServiceAddress {
  /** A name in the scheduler registry. */
  readonly scheduler: string
  /** In the order in which they were added, oldest first. */
  readonly servers: readonly RealServerSpec[]
}

/** "tcp 10.0.0.100:80": identifies a service in maps, messages and logs. */
export function serviceKey(service: ServiceAddress): string {
  return `${service.protocol} ${service.address}:${service.port}`
}

/** "10.0.0.1:80": identifies a real server within its service. */
export function serverKey(server: { readonly address: string; readonly port: number }): string {
  return `${server.address}:${server.port}`
}
