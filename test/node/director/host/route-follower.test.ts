/** Routes as the forwarder has them follow the kernel's. */
import { test } from 'tap'
import type { HostNetwork } from '../../../../node/director/host/network.ts'
import { RouteFollower } from '../../../../node/director/host/route-follower.ts'

const network: HostNetwork = { interfaces: [], routes: [] }

function follow(...answers: (HostNetwork | Error)[]) {
  const told: string[] = []
  let reads = 0
  let wake = () => {}
  const follower = new RouteFollower({
    forwarder: { setRoutes: () => told.push('routes') },
    read: async () => {
      const answer = answers[reads++]
      if (answer instanceof Error) throw answer
      return answer
    },
    onRead: () => {
      told.push('read')
      wake()
    },
    warn: (_, message) => {
      told.push(message)
      wake()
    },
  })
  const next = () =>
    new Promise<void>((resolve) => {
      wake = resolve
    })
  return { follower, told, next, reads: () => reads }
}

test('changes that come together are read once', async (t) => {
  const { follower, told, next, reads } = follow(network, network)
  const read = next()
  for (let change = 0; change < 5; change++) follower.mayHaveChanged()
  await read
  t.same(told, ['routes', 'read'], 'the forwarder first')
  t.equal(reads(), 1)
  const again = next()
  follower.mayHaveChanged()
  await again
  t.equal(reads(), 2)
})

test('what cannot be read is told, and the next change is read again', async (t) => {
  const { follower, told, next } = follow(new Error('no'), network)
  for (let change = 0; change < 2; change++) {
    const read = next()
    follower.mayHaveChanged()
    await read
  }
  t.same(told, ['the routing table cannot be read: going on with the last one', 'routes', 'read'])
})

test('after its end nothing is read', async (t) => {
  const { follower, reads } = follow(network)
  follower.mayHaveChanged()
  follower.close()
  // Its timer is no more: one that is set now, and later than it, is the next to fire.
  await new Promise((resolve) => setTimeout(resolve, 250))
  t.equal(reads(), 0)
})
