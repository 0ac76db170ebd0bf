/** ARP for the addresses that the forwarder owns, and what it learns of its neighbours from the ARP of others (RFC 826). */
import { ARP, ARP_FRAME_LENGTH, ARP_REPLY, ARP_REQUEST, isIPv4Arp, writeArpFrame } from '../../protocol/packet/arp.ts'
import { readInt32, readUint16 } from '../../protocol/packet/bytes.ts'
import { ETHERNET_HEADER_LENGTH } from '../../protocol/packet/ethernet.ts'
import type { Frame } from '../link/link.ts'
import { isIPv6Number } from '../table/address-book.ts'
import type { Neighbours } from './neighbours.ts'
import { TO_HOST, type Verdict } from './verdict.ts'
import type { VirtualAddresses } from './virtual-addresses.ts'

/**
 * Handles an ARP frame: a request for an active address of ours becomes the reply to it, in place.
 * @param mac our MAC on this link, for addresses without a virtual one
 */
export function handleArp(
  frame: Frame,
  link: number,
  mac: Uint8Array,
  addresses: VirtualAddresses,
  neighbours: Neighbours,
  nowMs: number,
): Verdict {
  const bytes = frame.memory.bytes
  const arp = frame.start + ETHERNET_HEADER_LENGTH
  if (!isIPv4Arp(bytes, arp, frame.length - ETHERNET_HEADER_LENGTH)) return TO_HOST
  const sender = readInt32(bytes, arp + ARP.senderAddress)
  const target = readInt32(bytes, arp + ARP.targetAddress)
  // No host's addresses: as numbers they would mean neighbours and virtual addresses of IPv6. A probe's sender, 0.0.0.0, means none.
  if (isIPv6Number(sender) || isIPv6Number(target)) return TO_HOST
  neighbours.learn(link, sender, bytes, arp + ARP.senderMac, true, nowMs)
  if (readUint16(bytes, arp + ARP.operation) !== ARP_REQUEST || target === sender) return TO_HOST
  if (!addresses.isAnsweredOn(target, link)) return TO_HOST
  const asker = bytes.slice(arp + ARP.senderMac, arp + ARP.senderMac + 6)
  writeArpFrame(bytes, frame.start, asker, {
    operation: ARP_REPLY,
    senderMac: addresses.macOf(target) ?? mac,
    senderAddress: target,
    targetMac: asker,
    targetAddress: sender,
  })
  frame.length = ARP_FRAME_LENGTH
  return link
}
