/** The VRRP sockets that the configured groups need: one for each address family among them, on the outside interface. */
import { DirectorError } from '../../../protocol/errors.ts'
import { isIPv6Text } from '../../../protocol/packet/ipv6-address.ts'
import { isLinkLocal } from '../host/host-addresses.ts'
import { globalIPv6Address, type HostInterface, linkLocalAddress, primaryIPv4Address } from '../host/network.ts'
import type { VipConfig } from './vip-config.ts'
import { openVrrpSocket, type VrrpSocket } from './vrrp-socket.ts'

/**
 * @param warn a line for the log: what cannot be sent
 * @throws DirectorError INTERFACE_MISSING when the outside has no address to speak from, CONFIG_INVALID when a group names no peer but
 *   this director, and as openVrrpSocket(); nothing is left open then
 */
export async function openVrrpTransports(
  vips: readonly Pick<VipConfig, 'addresses' | 'gateway' | 'unicastPeers'>[],
  outside: HostInterface,
  inside: HostInterface,
  warn: (message: string) => void,
): Promise<VrrpSocket[]> {
  const groups = vips.filter(({ addresses }) => isIPv6Text(addresses[0]))
  const groups4 = vips.filter((vip) => !groups.includes(vip))
  const virtualAddresses = groups.flatMap(({ addresses, gateway }) => [
    ...addresses.map((address) => ({ address, interfaceIndex: outside.index })),
    ...(gateway === undefined ? [] : [{ address: gateway, interfaceIndex: inside.index }]),
  ])
  const { name: interfaceName, index: interfaceIndex } = outside
  const common = { interfaceName, interfaceIndex, warn }
  const opened: VrrpSocket[] = []
  try {
    if (groups4.length > 0) {
      const sourceAddress = demandAddress(primaryIPv4Address(outside), outside, groups4[0], {
        kind: 'IPv4 address',
        example: 'ADDRESS/LENGTH',
      })
      demandPeers(groups4, sourceAddress)
      opened.push(await openVrrpSocket({ ...common, sourceAddress }))
    }
    if (groups.length > 0) {
      // The configuration sees to it that all groups of IPv6 have the same kind of peers.
      const [{ unicastPeers }] = groups
      const sourceAddress =
        unicastPeers === undefined || isLinkLocal(unicastPeers[0])
          ? demandAddress(linkLocalAddress(outside), outside, groups[0], {
              kind: 'usable link-local IPv6 address',
              example: 'fe80::1/64',
            })
          : demandAddress(globalIPv6Address(outside), outside, groups[0], {
              kind: 'global IPv6 address',
              example: '2001:db8::1/64',
            })
      demandPeers(groups, sourceAddress)
      const isUnicast = unicastPeers !== undefined
      opened.push(await openVrrpSocket({ ...common, sourceAddress, isUnicast, virtualAddresses }))
    }
    return opened
  } catch (error) {
    for (const socket of opened) socket.close()
    throw error
  }
}

function demandAddress(
  address: string | undefined,
  { name }: HostInterface,
  { addresses }: Pick<VipConfig, 'addresses'>,
  { kind, example }: { kind: string; example: string },
): string {
  if (address !== undefined) return address
  throw new DirectorError(
    'INTERFACE_MISSING',
    `${name}: has no ${kind}, from which VRRP would speak for ${addresses[0]}: ip address add ${example} dev ${name}`,
  )
}

/** A list that all directors have may name this one too, but it alone would speak to nobody and hear nobody. */
function demandPeers(groups: readonly Pick<VipConfig, 'addresses' | 'unicastPeers'>[], sourceAddress: string): void {
  const lonely = groups.find(({ unicastPeers }) => unicastPeers?.every((peer) => peer === sourceAddress))
  if (!lonely) return
  throw new DirectorError(
    'CONFIG_INVALID',
    `vips: the group of ${lonely.addresses[0]} has unicastPeers with nobody but this director (${sourceAddress}): name the others, by the addresses that they speak from`,
  )
}
