/**
 * Gratuitous ARP and unsolicited neighbour advertisements: they tell every neighbour that an address is now at this director's
 * MAC (RFC 5227 section 2.3, RFC 5944 section 4.6; RFC 4861 section 7.2.6, RFC 9568 section 6.4.2).
 *
 * ARP is sent in both forms, since some stacks learn only from requests and some only from replies. With a virtual router MAC neighbours have
 * nothing to learn, but switches have: on which port it is, from the frame's source.
 */
import { ARP_FRAME_LENGTH, ARP_REPLY, ARP_REQUEST, writeArpFrame } from '../../../protocol/packet/arp.ts'
import { parseIPv4 } from '../../../protocol/packet/bytes.ts'
import { BROADCAST_MAC } from '../../../protocol/packet/ethernet.ts'
import { isIPv6Text, parseIPv6 } from '../../../protocol/packet/ipv6-address.ts'
import { unsolicitedAdvertisement } from '../../../protocol/packet/neighbour-discovery.ts'

/**
 * The first ends the pause, so it goes at once. What is sent to all is easily lost while a switch is busy with the same failure,
 * hence four more with growing distance; all within the time in which a client may notice nothing.
 */
const BURST_MS = [0, 20, 50, 100, 200]
/** And the whole again, for neighbours whose port or whose switch was not up yet; keepalived's default delay. */
const REPEAT_AFTER_MS = 5000
/** From then on once every so often: a neighbour that a rival has misled, unheard by us, is put right (keepalived: garp_master_refresh). */
const REFRESH_MS = 5000

/** When the announcement of this number, from 0 on, is due: in milliseconds after the takeover. */
export function announcementTime(number: number): number {
  const rounds = BURST_MS.length
  if (number < rounds) return BURST_MS[number]
  if (number < 2 * rounds) return REPEAT_AFTER_MS + BURST_MS[number - rounds]
  return REPEAT_AFTER_MS + (number - 2 * rounds + 1) * REFRESH_MS
}
/** How long after a takeover the neighbours may still be learning of it. */
export const BURST_LENGTH_MS = BURST_MS[BURST_MS.length - 1]

const UNKNOWN_MAC = new Uint8Array(6)

/** The Ethernet frames of one announcement of `address` at `mac`. */
export function announcementFrames(address: string, mac: Uint8Array): Uint8Array[] {
  if (isIPv6Text(address)) return [unsolicitedAdvertisement(parseIPv6(address), mac)]
  const value = parseIPv4(address)
  return [
    { operation: ARP_REQUEST, targetMac: UNKNOWN_MAC },
    { operation: ARP_REPLY, targetMac: mac },
  ].map(({ operation, targetMac }) => {
    const frame = new Uint8Array(ARP_FRAME_LENGTH)
    const message = { operation, senderMac: mac, senderAddress: value, targetMac, targetAddress: value }
    writeArpFrame(frame, 0, BROADCAST_MAC, message)
    return frame
  })
}
