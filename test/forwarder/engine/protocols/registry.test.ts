/** What is known of each protocol, by its number and its states. */
import { test } from 'tap'
import { NOT_HALF_OPEN } from '../../../../forwarder/engine/protocols/protocol.ts'
import {
  halfOpenQueueOf,
  isActiveState,
  isProtocolState,
  protocolByNumber,
  protocolNumber,
  protocols,
  stateName,
} from '../../../../forwarder/engine/protocols/registry.ts'

test('protocols are found by name and by number', async (t) => {
  t.same(
    (['tcp', 'udp', 'sctp', 'fwm'] as const).map((name) => protocolNumber(name)),
    [6, 17, 132, 0],
  )
  for (const protocol of protocols) t.equal(protocolByNumber(protocol.number), protocol)
  t.equal(protocolByNumber(50), undefined)
})

test('only states that a protocol has are its states', async (t) => {
  for (const { number, states } of protocols) {
    t.ok(isProtocolState(number, 0) && isProtocolState(number, states.length - 1))
    t.notOk(isProtocolState(number, states.length))
    t.equal(stateName(number, states.length), 'NONE')
  }
  t.notOk(isProtocolState(50, 0))
})

test('what counts as active and what is half open', async (t) => {
  const names = (holds: (protocol: number, state: number) => boolean) =>
    protocols.flatMap(({ number, name, states }) =>
      states.filter((_, state) => holds(number, state)).map((state) => `${name} ${state.name}`),
    )
  t.same(names(isActiveState), ['tcp ESTABLISHED', 'tcp SYN_SENT', 'tcp SYN_RECV', 'tcp SYNACK', 'sctp ESTABLISHED'])
  t.same(
    names((protocol, state) => halfOpenQueueOf(protocol, state) !== NOT_HALF_OPEN),
    ['tcp NONE', 'tcp SYN_RECV', 'tcp SYNACK', 'sctp INIT1', 'sctp INIT', 'sctp C-SENT'],
  )
})

test('states that share a queue of half-open connections have the same timeout, so that it is sorted', async (t) => {
  const timeouts = new Map<number, number>()
  for (const { states } of protocols) {
    for (const { halfOpenQueue, timeoutS } of states) {
      if (halfOpenQueue === undefined) continue
      t.equal(timeouts.get(halfOpenQueue) ?? timeoutS, timeoutS)
      timeouts.set(halfOpenQueue, timeoutS)
    }
  }
  t.equal(timeouts.size, 5)
})
