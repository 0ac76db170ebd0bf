/** The transport protocols whose packets are balanced, and their properties by IP's number and by state, flat for the packet path. */
import type { ServiceProtocol } from '../../service.ts'
import { HALF_OPEN_QUEUES } from '../../table/timer-wheel.ts'
import { isTemplate, TEMPLATE_HIGHEST, TEMPLATE_STATE_NAMES, TEMPLATE_TCP } from '../templates.ts'
import { NOT_HALF_OPEN, type Protocol, STATES } from './protocol.ts'
import { sctpProtocol } from './sctp.ts'
import { tcpProtocol } from './tcp.ts'
import { udpProtocol } from './udp.ts'

export const protocols: readonly Protocol[] = [tcpProtocol, udpProtocol, sctpProtocol]

const PROTOCOL_NUMBERS = 256
/** By protocol * STATES + state. */
const activeStates = new Uint8Array(PROTOCOL_NUMBERS * STATES)
const overStates = new Uint8Array(PROTOCOL_NUMBERS * STATES)
const endingStates = new Uint8Array(PROTOCOL_NUMBERS * STATES)
const halfOpenQueues = new Int8Array(PROTOCOL_NUMBERS * STATES).fill(NOT_HALF_OPEN)
const stateCounts = new Uint8Array(PROTOCOL_NUMBERS)
/** By IP's number: see Protocol. */
export const headerLengths: Uint8Array = new Uint8Array(PROTOCOL_NUMBERS)
const byNumber = new Map<number, Protocol>()
const byName = new Map<string, Protocol>()

for (const protocol of protocols) {
  const { number, states } = protocol
  byNumber.set(number, protocol)
  byName.set(protocol.name, protocol)
  headerLengths[number] = protocol.headerLength
  stateCounts[number] = states.length
  for (const [state, { isActive, isOver, isEnding, halfOpenQueue }] of states.entries()) {
    const at = number * STATES + state
    activeStates[at] = isActive ? 1 : 0
    overStates[at] = isOver ? 1 : 0
    endingStates[at] = isOver || isEnding ? 1 : 0
    halfOpenQueues[at] = halfOpenQueue ?? NOT_HALF_OPEN
    if (halfOpenQueues[at] >= HALF_OPEN_QUEUES) throw new RangeError(`no such queue: ${halfOpenQueue}`)
  }
}

stateCounts.fill(TEMPLATE_STATE_NAMES.length, TEMPLATE_TCP, TEMPLATE_HIGHEST + 1)

/** Undefined for a protocol that has no connections. */
export function protocolByNumber(number: number): Protocol | undefined {
  return byNumber.get(number)
}

/** The IP protocol number of a service's protocol; 0 (IP itself) for a firewall mark's, which may be of any. */
export function protocolNumber(name: ServiceProtocol): number {
  return byName.get(name)?.number ?? 0
}

/** Whether the protocol has connections, or is that of templates, and this is one of their states. */
export function isProtocolState(protocol: number, state: number): boolean {
  return state < stateCounts[protocol]
}

/** Whether a connection in this state counts as active on its server; every other counts as inactive. */
export function isActiveState(protocol: number, state: number): boolean {
  return activeStates[protocol * STATES + state] === 1
}

/** Whether a connection in this state has ended, and the next one may begin between the same ports. */
export function isOverState(protocol: number, state: number): boolean {
  return overStates[protocol * STATES + state] === 1
}

/** Whether a connection in this state has ended, or is about to. */
export function isEndingState(protocol: number, state: number): boolean {
  return endingStates[protocol * STATES + state] === 1
}

/** The queue of half-open connections that one in this state belongs to; NOT_HALF_OPEN when it is not half open. */
export function halfOpenQueueOf(protocol: number, state: number): number {
  return halfOpenQueues[protocol * STATES + state]
}

/** As IPVS prints it; NONE for what is no state. */
export function stateName(protocol: number, state: number): string {
  if (isTemplate(protocol)) return TEMPLATE_STATE_NAMES[state] ?? 'NONE'
  return byNumber.get(protocol)?.states[state]?.name ?? 'NONE'
}
