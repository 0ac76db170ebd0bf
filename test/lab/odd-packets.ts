/** Packets that no well-behaved client sends, or that no tool here sends, for a director to answer or to pass on. */
import { randomBytes } from 'node:crypto'
import type { Lab } from '../../node/drill/lab.ts'
import { findActive } from '../../node/drill/lab-directors.ts'
import {
  addressOf,
  type Family,
  hostsOf,
  SESSION_PORT,
  VIRTUAL_ADDRESSES,
  WEB_PORT,
} from '../../node/drill/lab-plan.ts'
import { ICMP_CODE_PORT_UNREACHABLE, ICMP_ECHO_REQUEST, ICMP_UNREACHABLE } from '../../protocol/packet/icmp.ts'
import { ICMPV6_CODE_PORT_UNREACHABLE, ICMPV6_ECHO_REQUEST, ICMPV6_UNREACHABLE } from '../../protocol/packet/icmpv6.ts'
import { formatEndpoint } from '../../protocol/packet/ipv6-address.ts'
import { TCP_SYN } from '../../protocol/packet/tcp.ts'
import { icmpFrame, packetOf, tcpFrame, udpFrame } from '../support/frames.ts'
import { icmpFrame6, tcpFrame6, udpFrame6 } from '../support/ipv6-frames.ts'
import { macOf, SINK_PORT } from './lab-traffic.ts'

/** A port of the virtual address without a service, and one whose service has no server. */
export const REFUSED_PORT = 81
export const SERVERLESS_PORT = 82

const FRAMES = {
  ipv4: {
    tcp: (fields: Fields) => tcpFrame({ ...fields, flags: TCP_SYN }),
    udp: udpFrame,
    echoRequest: (fields: Fields) => icmpFrame({ ...fields, type: ICMP_ECHO_REQUEST }),
    portUnreachable: (fields: Fields) =>
      icmpFrame({ ...fields, type: ICMP_UNREACHABLE, code: ICMP_CODE_PORT_UNREACHABLE }),
    echoLengths: [0, 1, 56, 1001, 1472],
  },
  ipv6: {
    tcp: ({ ttl: hopLimit, ...fields }: Fields) => tcpFrame6({ ...fields, hopLimit, flags: TCP_SYN }),
    udp: ({ ttl: hopLimit, ...fields }: Fields) => udpFrame6({ ...fields, hopLimit }),
    echoRequest: (fields: Fields) => icmpFrame6({ ...fields, type: ICMPV6_ECHO_REQUEST }),
    portUnreachable: (fields: Fields) =>
      icmpFrame6({ ...fields, type: ICMPV6_UNREACHABLE, code: ICMPV6_CODE_PORT_UNREACHABLE }),
    echoLengths: [0, 1, 56, 1001, 1452],
  },
}
interface Fields {
  sourceMac?: string
  destinationMac?: string
  from: string
  to: string
  ttl?: number
  rest?: number
  payload?: Uint8Array
}

export async function oddPackets(lab: Lab, family: Family): Promise<Uint8Array[]> {
  const { tcp, udp, echoRequest, portUnreachable, echoLengths } = FRAMES[family]
  const destinationMac = await macOf(lab, await findActive(lab, family), 'outside')
  const sourceMac = await macOf(lab, 'c1', 'outside')
  const client = addressOf(hostsOf(lab.plan, 'client')[0].interfaces[0], family)
  const virtual = VIRTUAL_ADDRESSES[family]
  const from = (port: number, to: number) => ({
    ...{ sourceMac, destinationMac },
    ...{ from: formatEndpoint(client, port), to: formatEndpoint(virtual, to) },
  })
  // Short enough to be quoted whole.
  const payload = randomBytes(401)
  const echoed = udp({ from: formatEndpoint(virtual, SINK_PORT), to: formatEndpoint(client, 4007), payload })
  return [
    ...echoLengths.map((length) => echoRequest({ ...from(0, 0), rest: length, payload: randomBytes(length) })),
    tcp(from(4001, REFUSED_PORT)),
    udp({ ...from(4002, REFUSED_PORT), payload }),
    tcp(from(4003, SERVERLESS_PORT)),
    tcp({ ...from(4004, WEB_PORT), ttl: 1 }),
    udp({ ...from(4005, SINK_PORT), payload, ttl: 1 }),
    // The server's kernel refuses it.
    udp({ ...from(4006, SESSION_PORT), payload }),
    // No socket waits for the echo of these: the client's kernel refuses it, and so do we, for methods by which the server's
    // answer does not come from the virtual address.
    udp({ ...from(4007, SINK_PORT), payload }),
    // IPv6 has no datagram without a checksum.
    ...(family === 'ipv4' ? [udpFrame({ ...from(4008, SINK_PORT), payload, checksum: false })] : []),
    portUnreachable({ ...from(0, 0), payload: packetOf(echoed) }),
  ]
}
