/**
 * Persistence templates: what remembers for a service which server a client was given, so that its next connections go there too.
 *
 * A template stands in the connection table among the connections, under a protocol number that no packet has: those that IP has
 * not assigned, one for each transport protocol and two for firewall marks, whose packets may be of any. Its client is the
 * client's address under the service's mask, its client port 0.
 *
 * Where clients are told apart by their calls (--pe sip), a template is a call's, under numbers of its own: in the place of the
 * client's address it has the hash of that address and the Call-ID, in four words whatever the family (calls.ts).
 *
 * Source: Linux net/netfilter/ipvs/ip_vs_core.c ip_vs_sched_persist(); ip_vs_conn.c ip_vs_ct_in_get().
 */
import { PROTOCOL_SCTP, PROTOCOL_TCP, PROTOCOL_UDP } from '../../protocol/packet/ipv4.ts'

/** Templates' protocols are from here on. */
export const TEMPLATE_TCP = 200
export const TEMPLATE_UDP = 201
export const TEMPLATE_SCTP = 202
/** Of a firewall mark, by family: the mark stands in the place of the virtual address, and does not tell the families apart. */
export const TEMPLATE_ANY = 203
export const TEMPLATE_ANY6 = 204
/** Of a call. */
export const TEMPLATE_CALL = 205
export const TEMPLATE_CALL_ANY = 206
export const TEMPLATE_CALL_ANY6 = 207
/** The last one. */
export const TEMPLATE_HIGHEST = TEMPLATE_CALL_ANY6

export const TEMPLATE_STATE = { NONE: 0, ASSURED: 1 } as const
/** By state, as IPVS prints them: assured is what has led to an established connection. */
export const TEMPLATE_STATE_NAMES = ['NONE', 'ASSURED'] as const

/** A template that made connections which live on is kept so long at a time, as is a control connection of FTP. */
export const REARM_S = 60

const templateProtocols: Readonly<Record<number, number>> = {
  [PROTOCOL_TCP]: TEMPLATE_TCP,
  [PROTOCOL_UDP]: TEMPLATE_UDP,
  [PROTOCOL_SCTP]: TEMPLATE_SCTP,
}
const names = ['tcp', 'udp', 'sctp', 'ip', 'ip', 'udp', 'ip', 'ip'] as const

export function isTemplate(protocol: number): boolean {
  return protocol >= TEMPLATE_TCP && protocol <= TEMPLATE_HIGHEST
}

/** Whether it is the protocol of a firewall mark's templates. */
export function isTemplateOfMark(protocol: number): boolean {
  if (protocol === TEMPLATE_ANY || protocol === TEMPLATE_ANY6) return true
  return protocol === TEMPLATE_CALL_ANY || protocol === TEMPLATE_CALL_ANY6
}

/** Whether it is the protocol of calls' templates. */
export function isTemplateOfCall(protocol: number): boolean {
  return protocol >= TEMPLATE_CALL && protocol <= TEMPLATE_HIGHEST
}

/** The protocol number of templates for a transport protocol's connections. */
export function templateProtocol(protocol: number): number {
  return templateProtocols[protocol]
}

/** The transport protocol of a template's connections; 0 for a firewall mark's. */
export function protocolOfTemplate(template: number): number {
  if (isTemplateOfMark(template)) return 0
  if (template === TEMPLATE_TCP) return PROTOCOL_TCP
  return template === TEMPLATE_SCTP ? PROTOCOL_SCTP : PROTOCOL_UDP
}

/** The port of a template's server as IPVS has it: what is for several ports, of FTP, of every port or of a firewall mark, leads to none. */
export function templateServerPort(virtualPort: number, serverPort: number): number {
  return virtualPort === 0 ? 0 : serverPort
}

export function templateProtocolName(template: number): (typeof names)[number] {
  return names[template - TEMPLATE_TCP]
}
