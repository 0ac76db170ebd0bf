/**
 * Where everything is: clients behind two routers on the outside, directors between, real servers on the inside. One virtual
 * address leads to its servers by NAT, with a gateway address that moves along; the other by direct routing.
 */
import type { Route } from '../../forwarder/commands.ts'
import type { ForwardingMethod } from '../../forwarder/service.ts'
import { parseIPv4 } from '../../protocol/packet/bytes.ts'

export const OUTSIDE = 'outside'
export const INSIDE = 'inside'
/** Where nothing of the simulation goes; a director without it takes no part in elections. */
export const UPLINK = 'uplink'

export interface SimulatedService {
  readonly vrid: number
  readonly address: string
  readonly gateway: string | undefined
  readonly method: ForwardingMethod
  readonly port: number
  readonly servers: readonly string[]
  readonly serverPort: number
}

export const SERVICES: readonly SimulatedService[] = [
  {
    vrid: 51,
    address: '10.0.0.101',
    gateway: '10.1.0.254',
    method: 'nat',
    port: 80,
    servers: ['10.1.0.11', '10.1.0.12', '10.1.0.13'],
    serverPort: 8000,
  },
  {
    vrid: 52,
    address: '10.0.0.102',
    gateway: undefined,
    method: 'dr',
    port: 80,
    servers: ['10.1.0.21', '10.1.0.22', '10.1.0.23'],
    serverPort: 80,
  },
]

export const ROUTERS: readonly string[] = ['10.0.0.251', '10.0.0.252']

/** From 1 on. */
export const directorName = (number: number) => `d${number}`
export const outsideAddress = (number: number) => `10.0.0.${number}`
export const insideAddress = (number: number) => `10.1.0.${number}`

/** Every station's MAC is made of its address. */
export function macOf(address: string): string {
  const bytes = address.split('.').map((part) => Number(part).toString(16).padStart(2, '0'))
  return `02:00:${bytes.join(':')}`
}

export function routesOf(number: number): Route[] {
  const outside = { link: OUTSIDE, source: outsideAddress(number) }
  const inside = { link: INSIDE, source: insideAddress(number) }
  return [
    { ...outside, destination: '0.0.0.0', prefixLength: 0, gateway: ROUTERS[0] },
    { ...outside, destination: '10.0.0.0', prefixLength: 24 },
    { ...inside, destination: '10.1.0.0', prefixLength: 24 },
  ]
}

/** A number for an address and a port together. */
export function endpoint(address: string, port: number): number {
  return (parseIPv4(address) >>> 0) * 65536 + port
}
