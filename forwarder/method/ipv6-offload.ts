/** What a network card would have done with an IPv6 frame: as offload.ts, where the protocol and the header's length differ. */

import * as ethernet from '../../protocol/packet/ethernet.ts'
import * as ipv4 from '../../protocol/packet/ipv4.ts'
import { tcpHeaderLength } from '../../protocol/packet/tcp.ts'
import * as udp from '../../protocol/packet/udp.ts'
import type { Frame } from '../link/link.ts'
import * as offload from './offload.ts'

// Names of this module's own, for speed: see engine.ts.
const { ETHERNET_HEADER_LENGTH } = ethernet
const { PROTOCOL_TCP } = ipv4
const { UDP_HEADER_LENGTH } = udp
const { segmentSize } = offload

/**
 * IP length of what will be on the wire: the packet, or one segment when it is to be cut.
 * @param headerLength of the IPv6 header and its extension headers
 */
export function wireLength6(frame: Frame, headerLength: number, protocol: number): number {
  const size = segmentSize(frame)
  if (size === 0) return frame.length - ETHERNET_HEADER_LENGTH
  const transport = frame.start + ETHERNET_HEADER_LENGTH + headerLength
  const isTcp = protocol === PROTOCOL_TCP
  return headerLength + (isTcp ? tcpHeaderLength(frame.memory.bytes, transport) : UDP_HEADER_LENGTH) + size
}
