/** A large change lets others work between its pieces: VRRP's timers run on the same thread. */
import { syncBuiltinESMExports } from 'node:module'
import zlib from 'node:zlib'
import { test } from 'tap'
import { CountedEntries } from '../../../../node/director/pool/counted-entries.ts'
import { PoolOfDirectors } from './pool-of-directors.ts'

/** More than a slice (pace.ts). */
const PIECE_MS = 6
const SERVICES = 3
/** So many that each service is deflated, to see whether it can be told. */
const SERVERS = 1200

const servers = Array.from({ length: SERVERS }, (_, index) => {
  const address = `10.1.${index >> 8}.${index & 0xff}`
  return { address, port: 80, method: 'nat', weight: 1 } as const
})

/** @returns the turns of the event loop in which the first calls of a function that takes its time were made, while the change was */
async function turnsOf(patch: (slow: <T>(result: T) => T) => () => void): Promise<number[]> {
  const { configuration } = await new PoolOfDirectors(['a']).start('a')
  let turn = 0
  let next = setImmediate(function count() {
    turn++
    next = setImmediate(count)
  })
  const turns: number[] = []
  const restore = patch((result) => {
    turns.push(turn)
    for (const end = performance.now() + PIECE_MS; performance.now() < end; );
    return result
  })
  try {
    await configuration.edit(
      Array.from({ length: SERVICES }, (_, index) => ({
        do: 'replace-service',
        service: { protocol: 'tcp', address: '10.0.0.100', port: 80 + index, scheduler: 'rr', servers },
      })),
    )
  } finally {
    restore()
    clearImmediate(next)
  }
  return turns.slice(0, SERVICES)
}

test('the weights of the entries of a change are taken with pauses between', async (t) => {
  const { weightAt } = CountedEntries.prototype
  const turns = await turnsOf((slow) => {
    CountedEntries.prototype.weightAt = function (key) {
      return slow(weightAt.call(this, key))
    }
    return () => {
      CountedEntries.prototype.weightAt = weightAt
    }
  })
  t.equal(new Set(turns).size, SERVICES)
})

test('large entries of a change are deflated with pauses between', async (t) => {
  const { deflateRawSync } = zlib
  const turns = await turnsOf((slow) => {
    zlib.deflateRawSync = (...given) => slow(deflateRawSync(...given))
    syncBuiltinESMExports()
    return () => {
      zlib.deflateRawSync = deflateRawSync
      syncBuiltinESMExports()
    }
  })
  t.equal(new Set(turns).size, SERVICES)
})
