/** Checks and verdict together, against a real server. */
import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import { test } from 'tap'
import { Health } from '../../../../node/director/health/health.ts'
import type { HealthState } from '../../../../node/director/health/rise-fall.ts'

const transport = { broadcast: () => {}, onMessage: () => {} }
const server = (address: string, port: number) => ({ address, port, method: 'nat', weight: 1 }) as const

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
  health.setServices([{ protocol: 'tcp', servers: [server('127.0.0.1', port)] }])
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

test('a server that two services name is checked once, one that only UDP names not at all', async (t) => {
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
  health.setServices([
    { protocol: 'tcp', servers: [server('10.0.0.1', 80), server('10.0.0.2', 80)] },
    { protocol: 'tcp', servers: [server('10.0.0.1', 80)] },
    { protocol: 'udp', servers: [server('10.0.0.1', 53)] },
  ])
  now = 1000
  health.tick()
  t.same(checked.toSorted(), ['10.0.0.1:80', '10.0.0.2:80'])
  t.equal(health.verdict('10.0.0.1:53'), 'unknown')
})
