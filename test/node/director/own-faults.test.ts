/** For which faults of its own a director gives its addresses up, for how long, and which of them end it. */
import { test } from 'tap'
import { giveUpOnFaults } from '../../../node/director/own-faults.ts'
import { VirtualClock } from '../../../node/director/virtual-clock.ts'

const LIMIT_MS = 500

class Parts {
  readonly clock = new VirtualClock()
  /** What was done for the faults, in its order. */
  readonly done: string[] = []
  breathedMs = 0
  failForwarder: (error: Error) => void = () => {}
  failCluster: (error: Error) => void = () => {}
  failSocket: (error: Error) => void = () => {}
  /** Why the socket cannot join its groups. */
  deafness: string | undefined
  readonly faults

  constructor() {
    const parts = this
    const doing = (what: string) => (subject: string, fault: string | undefined) =>
      void this.done.push(`${what} ${subject}: ${fault ?? 'well'}`)
    const silent = () => {}
    this.faults = giveUpOnFaults({
      forwarder: {
        get silentForMs() {
          return parts.clock.now() - parts.breathedMs
        },
        answerFor: silent,
        onFailure: (handler) => {
          this.failForwarder = handler
        },
      },
      cluster: {
        onFailure: (handler) => {
          this.failCluster = handler
        },
        doubt: (reason) => void this.done.push(`doubt: ${reason}`),
      },
      vip: { setFault: doing('vip'), setLink: doing('tracking') },
      sockets: [
        {
          address: '10.0.0.1',
          joinAgain: () => {
            if (this.deafness !== undefined) throw new Error(this.deafness)
          },
          onFailure: (handler) => {
            this.failSocket = handler
          },
        },
      ],
      health: { setFault: doing('health') },
      log: { info: silent, warn: silent, error: silent, fatal: silent },
      interfaces: ['outside', 'inside'],
      silenceLimitMs: LIMIT_MS,
      clock: this.clock,
      onFatal: ({ message }) => void this.done.push(`fatal: ${message}`),
    })
  }

  /** What was done since the last call. */
  get news(): string[] {
    return this.done.splice(0)
  }
}

test('a director whose forwarder or cluster thread has died, or whose socket, gives up before it ends', async (t) => {
  const parts = new Parts()
  parts.failForwarder(new Error('the forwarder has died'))
  t.same(parts.news, ['vip director: the forwarder has died', 'fatal: the forwarder has died'])
  parts.failCluster(new Error('the cluster thread has died'))
  t.same(parts.news, ['vip director: the cluster thread has died', 'fatal: the cluster thread has died'])
  parts.failSocket(new Error('the socket has died'))
  t.same(parts.news, ['vip director: the socket has died', 'fatal: the socket has died'])
})

test('a director whose forwarder hangs gives up until it breathes again', async (t) => {
  const parts = new Parts()
  await parts.clock.advance(2 * LIMIT_MS)
  t.match(parts.news, [/^vip forwarder: the forwarding thread has stood still for \d+ ms$/])
  parts.breathedMs = parts.clock.now()
  await parts.clock.advance(LIMIT_MS / 2)
  t.same(parts.news, ['vip forwarder: well'])
  parts.faults.stop()
  await parts.clock.advance(10 * LIMIT_MS)
  t.same(parts.news, [], 'it is not watched any more')
})

test('a director whose interface fails gives up, and so do its health checks, until it is well: then it may have missed something', async (t) => {
  const parts = new Parts()
  parts.faults.links.onFault({ name: 'inside' }, 'has no carrier')
  t.same(parts.news, ['tracking inside: has no carrier', 'vip inside: has no carrier', 'health inside: has no carrier'])
  parts.faults.links.onFault({ name: 'inside' }, undefined)
  t.same(parts.news, [
    'doubt: a link was down',
    'tracking inside: well',
    'vip the socket of 10.0.0.1: well',
    'vip inside: well',
    'health inside: well',
  ])
})

test('a director gives up when it has lost the address that it speaks from, and the interface is well', async (t) => {
  const parts = new Parts()
  parts.faults.links.onFault({ name: 'outside', address: '10.0.0.1' }, 'is gone')
  t.same(parts.news, ['vip 10.0.0.1: is gone', 'health 10.0.0.1: is gone'])
  parts.faults.links.onFault({ name: 'outside', address: '10.0.0.1' }, undefined)
  t.same(parts.news, [
    'doubt: a link was down',
    'vip the socket of 10.0.0.1: well',
    'vip 10.0.0.1: well',
    'health 10.0.0.1: well',
  ])
})

test('a director whose socket cannot join its groups again when an interface is well is not well before it can', async (t) => {
  const parts = new Parts()
  const { onFault } = parts.faults.links
  onFault({ name: 'outside' }, 'is down')
  parts.deafness = 'no such device'
  onFault({ name: 'outside' }, undefined)
  t.same(parts.news.slice(3), [
    'doubt: a link was down',
    'tracking outside: well',
    'vip the socket of 10.0.0.1: no such device',
    'vip outside: well',
    'health outside: well',
  ])
  await parts.clock.advance(1000)
  t.ok(parts.news.includes('vip the socket of 10.0.0.1: no such device'), 'it is tried again')
  parts.deafness = undefined
  await parts.clock.advance(1000)
  t.ok(parts.news.includes('vip the socket of 10.0.0.1: well'))
  await parts.clock.advance(5000)
  t.notOk(
    parts.news.some((each) => each.includes('the socket')),
    'once is enough',
  )
})

test('an interface that is only tracked is a matter of the groups that track it', async (t) => {
  const parts = new Parts()
  parts.faults.links.onFault({ name: 'uplink' }, 'has no carrier')
  t.same(parts.news, ['tracking uplink: has no carrier'])
})

test('a director whose interface was replaced gives up and ends', async (t) => {
  const parts = new Parts()
  parts.faults.links.onReplaced({ name: 'outside' }, 'outside was made anew')
  t.same(parts.news, ['vip director: outside was made anew', 'fatal: outside was made anew'])
})
