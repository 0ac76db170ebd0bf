/** Every kind of tunnel around every family of packet, and a director that uses one. */
import type { ServiceProtocol, TunnelSpec } from '../../forwarder/service.ts'
import type { DirectorBench } from './director-bench.ts'
import { SERVER1_ADDRESS6, scene6, service6, VIP6 } from './ipv6-scene.ts'
import { OUTSIDE, SERVER1_ADDRESS, service, VIP } from './scene.ts'

export const GUE_PORT = 6080

export type Family = 4 | 6

/** A tunnel, the family of the packet in it, and that of the outer header. */
export interface TunnelKind extends TunnelSpec {
  inner: Family
  outer: Family
}

export const tunnelSpecs: readonly TunnelSpec[] = [
  { type: 'ipip', port: 0, checksum: 'none' },
  { type: 'gre', port: 0, checksum: 'none' },
  { type: 'gre', port: 0, checksum: 'plain' },
  { type: 'gue', port: GUE_PORT, checksum: 'none' },
  { type: 'gue', port: GUE_PORT, checksum: 'plain' },
  { type: 'gue', port: GUE_PORT, checksum: 'remote' },
]

const FAMILIES: Family[] = [4, 6]

export const tunnelKinds: readonly TunnelKind[] = tunnelSpecs.flatMap((spec) =>
  FAMILIES.flatMap((inner) => FAMILIES.map((outer) => ({ ...spec, inner, outer }))),
)

export const nameOf = ({ inner, outer, type, checksum }: TunnelKind) =>
  `IPv${inner} in IPv${outer} by ${type} (${checksum})`

export const outerLength = ({ outer }: TunnelKind) => (outer === 6 ? 40 : 20)

/** A director with one service of the inner family, whose one server of the outer family is at the end of the tunnel. */
export function tunnelBench({ inner, outer, ...tunnel }: TunnelKind, protocol: ServiceProtocol): DirectorBench {
  const spec = inner === 6 ? service6({ method: 'tun', protocol }) : service({ method: 'tun', protocol })
  const address = outer === 6 ? SERVER1_ADDRESS6 : SERVER1_ADDRESS
  return scene6({
    services: [{ ...spec, servers: [{ address, port: 80, method: 'tun', weight: 1, tunnel }] }],
    addresses: [{ address: inner === 6 ? VIP6 : VIP, link: OUTSIDE, state: 'active' }],
  })
}
