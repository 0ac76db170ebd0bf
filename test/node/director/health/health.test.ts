/** Checks and verdict together, against a real server. */
import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import { setImmediate as turn } from 'node:timers/promises'
import { test } from 'tap'
import { Health } from '../../../../node/director/health/health.ts'
import type { HealthState } from '../../../../node/director/health/rise-fall.ts'
import type { CheckResult } from '../../../../node/director/health/tcp-check.ts'

const transport = { broadcast: () => {}, send: async () => {}, onMessage: () => {}, onPeer: () => {} }

test('a server that lives and then dies is noticed', async (t) => {
  const listens = createServer((socket) => socket.on('error', () => {}))
  listens.listen(0, '127.0.0.1')
  await once(listens, 'listening')
  const { port } = listens.address() as AddressInfo
  const verdicts: [string, HealthState][] = []
  let next = Promise.withResolvers<void>()
  const health = new Health({
    health: { intervalMs: 10, timeoutMs: 1000, rise: 1, fall: 2 },
    transport,
    onChange: (key, verdict) => {
      verdicts.push([key, verdict])
      next.resolve()
    },
  })
  t.teardown(() => health.stop())
  health.use({ address: '127.0.0.1', port })
  health.start()
  await next.promise
  t.equal(health.verdict(`127.0.0.1:${port}`), 'up')
  next = Promise.withResolvers<void>()
  listens.close()
  await next.promise
  t.equal(health.verdict(`127.0.0.1:${port}`), 'down')
  t.same(verdicts, [
    [`127.0.0.1:${port}`, 'up'],
    [`127.0.0.1:${port}`, 'down'],
  ])
})

test('a server that two services name is checked once, until neither does', async (t) => {
  const checked: string[] = []
  let now = 0
  const health = new Health({
    health: { intervalMs: 1000, timeoutMs: 1000, rise: 1, fall: 1 },
    transport,
    onChange: () => {},
    monotonicMs: () => now,
    check: async (address, port) => {
      checked.push(`${address}:${port}`)
      return { outcome: 'success' }
    },
  })
  const [first, second] = ['10.0.0.1', '10.0.0.2'].map((address) => ({ address, port: 80 }))
  for (const server of [first, second, first]) health.use(server)
  const checkedBy = async (ms: number) => {
    now = ms
    health.tick()
    await turn()
    return checked.splice(0).toSorted()
  }
  t.same(await checkedBy(1000), ['10.0.0.1:80', '10.0.0.2:80'])
  t.equal(health.verdict('10.0.0.1:80'), 'up')
  health.release(first)
  t.same(await checkedBy(3000), ['10.0.0.1:80', '10.0.0.2:80'])
  health.release(first)
  t.same(await checkedBy(5000), ['10.0.0.2:80'])
  t.equal(health.verdict('10.0.0.1:80'), 'unknown', 'what was known of it is forgotten')
})

test('all ports of a server together cannot be checked', async (t) => {
  const health = new Health({
    health: { intervalMs: 1000, timeoutMs: 1000, rise: 1, fall: 1 },
    transport,
    onChange: () => t.fail('there is a verdict'),
    monotonicMs: () => 0,
    check: async () => t.fail('it is checked') as never,
  })
  health.use({ address: '10.0.0.1', port: 0 })
  health.tick()
  await turn()
  t.equal(health.verdict('10.0.0.1:0'), 'unknown')
  health.release({ address: '10.0.0.1', port: 0 })
})

test('a server that was dead when it was last named is unknown again, for whoever names it otherwise', async (t) => {
  let now = 0
  const verdicts: HealthState[] = []
  const health = new Health({
    health: { intervalMs: 1000, timeoutMs: 1000, rise: 1, fall: 1 },
    transport,
    onChange: (_, verdict) => verdicts.push(verdict),
    monotonicMs: () => now,
    check: async (address) =>
      address === '10.0.0.1' ? { outcome: 'failure', reason: 'refused' } : { outcome: 'success' },
  })
  const servers = ['10.0.0.1', '10.0.0.2'].map((address) => ({ address, port: 53 }))
  for (const server of servers) health.use(server)
  now = 1000
  health.tick()
  await turn()
  t.same(verdicts.toSorted(), ['down', 'up'])
  for (const server of servers) health.release(server)
  t.same(verdicts.slice(2), ['unknown'], 'to have forgotten that the other one was well is no news')
})

test('failures while an interface is at fault say nothing of the servers, and the log has one line of it', async (t) => {
  let now = 0
  let result: CheckResult = { outcome: 'success' }
  const opinions: [string, HealthState, string | undefined][] = []
  const warnings: string[] = []
  const health = new Health({
    health: { intervalMs: 1000, timeoutMs: 1000, rise: 1, fall: 2 },
    transport,
    onChange: () => {},
    onOpinion: (...opinion) => opinions.push(opinion),
    warn: (message) => warnings.push(message),
    random: () => 0.5,
    monotonicMs: () => now,
    check: async () => result,
  })
  const checked = async (times: number) => {
    for (let time = 0; time < times; time++) {
      now += 1000
      health.tick()
      await turn()
    }
    return opinions.splice(0).map(([, state, reason]) => `${state} ${reason}`)
  }
  for (const address of ['10.0.0.1', '10.0.0.2']) health.use({ address, port: 80 })
  t.same(await checked(1), ['up undefined', 'up undefined'])
  health.setFault('eth1', 'eth1 has no carrier')
  t.same(await checked(3), [], 'a success is one all the same')
  result = { outcome: 'failure', reason: 'EHOSTUNREACH' }
  t.same(await checked(3), ['unknown eth1 has no carrier', 'unknown eth1 has no carrier'])
  t.equal(health.verdict('10.0.0.1:80'), 'up')
  t.same(warnings, ['10.0.0.1:80, and maybe others, cannot be checked: eth1 has no carrier'])
  health.setFault('eth1', undefined)
  t.same(await checked(2), ['down EHOSTUNREACH', 'down EHOSTUNREACH'])
})
